//! A real nginx in front of upstreams of the test, and what its answers must look like.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::Value;
use stack::nginx::Nginx;
use stack::scratch::Scratch;
use stack::wait::PATIENCE;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Nobody listens there (it is a privileged port that no service uses).
pub(crate) const NOBODY: &str = "127.0.0.1:2";
pub(crate) const KOREAN_NOT_AVAILABLE: &str = "지금은 서비스를 이용할 수 없습니다. 잠시 후 다시 시도해 주세요.";

pub(crate) struct Edge {
    pub(crate) nginx: Nginx,
    pub(crate) prefix: Scratch,
    client: Client,
}

impl Edge {
    pub(crate) fn new(gateways: &[SocketAddr]) -> Result<Self> {
        Self::with(gateways, &[])
    }

    /// An nginx before `gateways`; `changes` to the variables of the template.
    pub(crate) fn with(gateways: &[SocketAddr], changes: &[(&'static str, &str)]) -> Result<Self> {
        let prefix = Scratch::new("edge")?;
        let nginx = Nginx::start_project(prefix.path(), &variables(gateways, changes))?;
        let client =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(PATIENCE).build()?;
        Ok(Self { nginx, prefix, client })
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.nginx.url()))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Sends bytes that no HTTP client would, and reads the one answer: its head in lower case and
    /// its body.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Result<(String, Value)> {
        let exchange = async {
            let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.nginx.port())).await?;
            stream.write_all(bytes).await?;
            let mut answer = Vec::new();
            // Not to the end of the stream: nginx waits some seconds for the rest of a broken request.
            loop {
                ensure!(stream.read_buf(&mut answer).await? > 0, "the answer ended early");
                if let Some((head, body)) = whole_answer(&answer)? {
                    return Ok((head, serde_json::from_str(&body).context(body)?));
                }
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await?
    }
}

/// The head, in lower case, and the body, once all of both is there.
pub(crate) fn whole_answer(bytes: &[u8]) -> Result<Option<(String, String)>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.context("no Content-Length")?.parse()?;
    Ok((body.len() >= length).then(|| (head, body.to_owned())))
}

pub(crate) fn variables(gateways: &[SocketAddr], changes: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
    let servers: Vec<_> = gateways.iter().map(|at| format!("server {at} max_fails=1 fail_timeout=1s;")).collect();
    let mut values = BTreeMap::from([
        ("GATEWAY_SERVERS", servers.join(" ")),
        ("MOCK_SERVER", NOBODY.to_owned()),
        ("RESOLVER", "127.0.0.1".to_owned()),
        ("REQUESTS_PER_SECOND", "20000".to_owned()),
        ("REQUESTS_BURST", "20000".to_owned()),
        ("CONNECTIONS_PER_ADDRESS", "20000".to_owned()),
        ("REAL_IP_FROM", "0.0.0.0/32".to_owned()),
        ("CACHE_DIR", "cache".to_owned()),
        ("ACCESS_LOG", "access.log".to_owned()),
    ]);
    values.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
    values
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// What the stub received, from its echo: every value of the header `name`.
pub(crate) fn received(echo: &Value, name: &str) -> Vec<String> {
    echo["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|header| header[0] == name)
        .filter_map(|header| header[1].as_str().map(ToOwned::to_owned))
        .collect()
}

/// Fails unless `body` is a whole problem of `status` and `error` with the id `request_id`.
pub(crate) fn check_problem(body: &Value, status: u16, error: &str, request_id: &str) {
    assert_eq!(body["type"], format!("urn:onsale:problem:{error}"), "{body}");
    assert_eq!(body["status"], status, "{body}");
    assert_eq!(body["code"], status, "{body}");
    assert_eq!(body["error"], error, "{body}");
    assert_eq!(body["message"], body["detail"], "{body}");
    assert_eq!(body["requestId"], request_id, "{body}");
    assert!(body["title"].as_str().is_some_and(|title| !title.is_empty()), "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{body}");
    assert_eq!(body.as_object().map_or(0, serde_json::Map::len), 8, "{body}");
}

/// [`check_problem`] on a whole answer, its head included.
pub(crate) async fn is_problem(response: Response, status: u16, error: &str) -> Value {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
    assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(&response, "server"), Some("nginx"), "no version");
    assert_eq!(response.headers().get_all("x-request-id").iter().count(), 1);
    let id = header(&response, "x-request-id").unwrap_or_default().to_owned();
    let advice = header(&response, "retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
    assert_eq!(advice.is_some(), matches!(status, 429 | 503), "Retry-After: {advice:?}");
    let body: Value = response.json().await.expect("the body of a problem is JSON");
    check_problem(&body, status, error, &id);
    body
}

/// Asks `probe` until it says yes; an error when it doesn't in time.
pub(crate) async fn eventually<F: Future<Output = Result<bool>>>(what: &str, probe: impl Fn() -> F) -> Result<()> {
    let started = Instant::now();
    while !probe().await? {
        ensure!(started.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
