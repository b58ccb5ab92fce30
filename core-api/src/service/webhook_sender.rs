//! Posting to whoever subscribed: over connections to addresses that were looked at, and with a limit on everything.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::ring;
use tower::Service;

use crate::domain::webhook_delivery::Outcome;
use crate::domain::webhook_target::TargetRules;

/// How long an attempt takes at most: name, connection and the head of the answer.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The same of the answer's body.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Shorter than servers keep idle connections, so that few are closed under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_CONNECTIONS: usize = 16;
/// The most of an answer's head, and of its body, which nobody looks at: it is read so that the connection can be used
/// again.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Posts to webhooks. Cloning it shares its connections.
#[derive(Debug, Clone)]
pub struct WebhookSender {
    client: Client<HttpsConnector<HttpConnector<CheckedResolver>>, Full<Bytes>>,
    rules: Arc<TargetRules>,
}

/// What is posted.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) url: String,
    pub(crate) id: String,
    pub(crate) timestamp: i64,
    pub(crate) signature: String,
    pub(crate) body: Vec<u8>,
}

impl WebhookSender {
    /// Which goes nowhere but where `rules` allow.
    pub fn new(rules: Arc<TargetRules>) -> anyhow::Result<Self> {
        let mut tcp = HttpConnector::new_with_resolver(CheckedResolver(Arc::clone(&rules)));
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(ring::default_provider())
            .context("TLS can't be set up")?
            // Which of them an URL may have is for the rules to say.
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .build(connector);
        Ok(Self { client, rules })
    }

    /// Posts once. Whatever the receiver does, this ends within [`ATTEMPT_TIMEOUT`] and [`BODY_TIMEOUT`].
    pub(crate) async fn post(&self, letter: Letter) -> Outcome {
        // Again: the rules may have changed since it was subscribed.
        let Ok(uri) = self.rules.read(&letter.url) else { return Outcome::Forbidden };
        let request = Request::post(uri)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "onsale-webhooks/1")
            .header("webhook-id", letter.id)
            .header("webhook-timestamp", letter.timestamp)
            .header("webhook-signature", letter.signature)
            .body(Full::new(Bytes::from(letter.body)));
        let Ok(request) = request else { return Outcome::Forbidden };
        match tokio::time::timeout(ATTEMPT_TIMEOUT, self.client.request(request)).await {
            Ok(Ok(answer)) => {
                let (head, body) = answer.into_parts();
                // What can't be read changes nothing: the head has said it. It costs the connection.
                let _ = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
                outcome_of(head.status)
            }
            Ok(Err(error)) => outcome_of_failure(&error),
            Err(_) => Outcome::TimedOut,
        }
    }
}

fn outcome_of(status: StatusCode) -> Outcome {
    match status {
        StatusCode::GONE => Outcome::Gone,
        status if status.is_success() => Outcome::Delivered,
        status => Outcome::Refused(status.as_u16()),
    }
}

fn outcome_of_failure(error: &(dyn Error + 'static)) -> Outcome {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<NoAllowedAddress>() {
            return Outcome::Forbidden;
        }
        cause = error.source();
    }
    Outcome::Unreachable
}

/// Resolves names, and hands on only those addresses that may be connected to: what was looked at is what is connected
/// to, whatever the name stands for a moment later.
#[derive(Debug, Clone)]
struct CheckedResolver(Arc<TargetRules>);

/// A name stands for no address that may be connected to.
#[derive(Debug)]
struct NoAllowedAddress;

impl fmt::Display for NoAllowedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the host has no address that may be connected to")
    }
}

impl Error for NoAllowedAddress {}

impl Service<Name> for CheckedResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let rules = Arc::clone(&self.0);
        Box::pin(async move {
            // The connector puts the port in.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| rules.allows(address.ip())).collect();
            if allowed.is_empty() { Err(NoAllowedAddress.into()) } else { Ok(allowed.into_iter()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(url: &str) -> Letter {
        let (id, signature) = ("id".to_owned(), "v1,".to_owned());
        Letter { url: url.to_owned(), id, timestamp: 1, signature, body: b"{}".to_vec() }
    }

    #[tokio::test]
    async fn a_name_that_stands_for_a_private_address_is_not_connected_to() {
        // Whoever connects would be accepted here, and be told so.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let strict = WebhookSender::new(Arc::new(TargetRules::new(true, Vec::new()))).unwrap();
        assert_eq!(strict.post(letter(&url)).await, Outcome::Forbidden);
        let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(accepted.is_err(), "it was connected to");
    }

    #[tokio::test]
    async fn what_was_subscribed_under_other_rules_is_not_posted() {
        let strict = WebhookSender::new(Arc::new(TargetRules::new(false, Vec::new()))).unwrap();
        for url in ["http://hooks.example.com/", "https://127.0.0.1/", "https://[::1]/", "nonsense"] {
            assert_eq!(strict.post(letter(url)).await, Outcome::Forbidden, "{url}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_has_been_given() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 16]).await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            // Longer than is read, and for ever.
            while stream.write_all(b"1000\r\n").await.is_ok() && stream.write_all(&[b'x'; 0x1000]).await.is_ok() {
                let _ = stream.write_all(b"\r\n").await;
            }
        });
        let local = TargetRules::new(true, vec!["127.0.0.0/8".parse().unwrap()]);
        assert_eq!(WebhookSender::new(Arc::new(local)).unwrap().post(letter(&url)).await, Outcome::Delivered);
    }

    #[tokio::test]
    async fn https_to_who_speaks_none_is_no_delivery() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        });
        let local = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let sender = WebhookSender::new(Arc::new(TargetRules::new(false, local))).unwrap();
        assert_eq!(sender.post(letter(&url)).await, Outcome::Unreachable);
    }
}
