//! The project's nginx configuration, in a real nginx before stub upstreams.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::stub_upstream::{Dropper, EventSource, Stub};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use stack::nginx::Nginx;
use stack::scratch::Scratch;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEADLINE: Duration = Duration::from_secs(20);
/// Nobody listens there (it is a privileged port that no service uses).
const NOBODY: &str = "127.0.0.1:2";
const KOREAN_NOT_AVAILABLE: &str = "지금은 서비스를 이용할 수 없습니다. 잠시 후 다시 시도해 주세요.";

struct Edge {
    nginx: Nginx,
    prefix: Scratch,
    client: Client,
}

impl Edge {
    fn new(gateways: &[SocketAddr]) -> Result<Self> {
        Self::with(gateways, &[])
    }

    /// An nginx before `gateways`; `changes` to the variables of the template.
    fn with(gateways: &[SocketAddr], changes: &[(&'static str, &str)]) -> Result<Self> {
        let prefix = Scratch::new("edge")?;
        let nginx = Nginx::start_project(prefix.path(), &variables(gateways, changes))?;
        let client =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).timeout(DEADLINE).build()?;
        Ok(Self { nginx, prefix, client })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.nginx.url()))
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// Sends bytes that no HTTP client would, and reads the one answer: its head in lower case and
    /// its body.
    async fn raw(&self, bytes: &[u8]) -> Result<(String, Value)> {
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
        tokio::time::timeout(DEADLINE, exchange).await?
    }
}

/// The head, in lower case, and the body, once all of both is there.
fn whole_answer(bytes: &[u8]) -> Result<Option<(String, String)>> {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return Ok(None);
    };
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.context("no Content-Length")?.parse()?;
    Ok((body.len() >= length).then(|| (head, body.to_owned())))
}

fn variables(gateways: &[SocketAddr], changes: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
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

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).and_then(|value| value.to_str().ok())
}

/// What the stub received, from its echo: every value of the header `name`.
fn received(echo: &Value, name: &str) -> Vec<String> {
    echo["headers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|header| header[0] == name)
        .filter_map(|header| header[1].as_str().map(ToOwned::to_owned))
        .collect()
}

/// Fails unless `body` is a whole problem of `status` and `error` with the id `request_id`.
fn check_problem(body: &Value, status: u16, error: &str, request_id: &str) {
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
async fn is_problem(response: Response, status: u16, error: &str) -> Value {
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

/// The template's variables as `docker-compose.yml` gives them by default.
fn compose_variables() -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(stack::project_root().join("docker-compose.yml"))?;
    let compose: Value = serde_saphyr::from_str(&text)?;
    let given = compose["services"]["nginx"]["environment"].as_object().context("no environment")?;
    let plain = |value: &str| match value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
        Some(variable) => variable.split_once(":-").map(|(_, default)| default.to_owned()),
        None => Some(value.to_owned()),
    };
    given
        .iter()
        .map(|(name, value)| {
            let value = value.as_str().and_then(plain).with_context(|| format!("{name} has no default"))?;
            Ok((name.clone(), value))
        })
        .collect()
}

#[test]
fn nginx_accepts_the_configuration_inside_that_of_the_docker_image() -> Result<()> {
    let compose = compose_variables()?;
    let mut values: BTreeMap<_, _> = compose.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    // What exists only inside the container. The mock server's name stays: it may be unknown.
    let gateways = values["GATEWAY_SERVERS"].replace("gateway:", "127.0.0.1:");
    values.extend([
        ("GATEWAY_SERVERS", gateways),
        ("LISTEN", format!("127.0.0.1:{}", stack::ports::free_port()?)),
        ("CACHE_DIR", "cache".to_owned()),
        ("ACCESS_LOG", "access.log".to_owned()),
    ]);
    let template = stack::nginx::render(&stack::nginx::template()?, &values)?;
    // What the official image's `http` block says itself: nothing may be said twice.
    let http = format!(
        "log_format main '$remote_addr'; access_log main.log main; sendfile on; keepalive_timeout 65;\n{template}"
    );
    stack::nginx::check_configuration(Scratch::new("edge")?.path(), &http)
}

#[tokio::test]
async fn everything_goes_to_the_gateways() -> Result<()> {
    let (a, b) = (Stub::start("a")?, Stub::start("b")?);
    let edge = Edge::new(&[a.address(), b.address()])?;
    for (method, uri) in [
        (Method::GET, "/concerts?page=1&limit=2"),
        (Method::POST, "/reservation"),
        (Method::DELETE, "/queue/token"),
        (Method::PUT, "/admin/queues/x"),
        (Method::GET, "/.well-known/jwks.json"),
        (Method::GET, "/a%2Fb/../c%20d"),
        (Method::GET, "/mocked"),
    ] {
        let answer = edge.request(method.clone(), uri).body("{}").send().await?;
        assert_eq!(answer.status(), StatusCode::OK);
        let echo: Value = answer.json().await?;
        assert_eq!(echo["method"], method.as_str());
        assert_eq!(echo["bodyBytes"], 2);
        // The client library itself resolves dots; nginx passes on what it got.
        if !uri.contains("..") {
            assert_eq!(echo["uri"], uri);
        }
    }
    assert!(a.hits("/reservation") + b.hits("/reservation") == 1);
    Ok(())
}

#[tokio::test]
async fn the_mock_server_gets_its_paths_without_the_prefix() -> Result<()> {
    let (gateway, mock) = (Stub::start("gateway")?, Stub::start("mock")?);
    let at = mock.address().to_string();
    let edge = Edge::with(&[gateway.address()], &[("MOCK_SERVER", &at)])?;
    let echo: Value = edge.get("/mock/concerts?page=2").send().await?.json().await?;
    assert_eq!((&echo["stub"], &echo["uri"]), (&"mock".into(), &"/concerts?page=2".into()));
    let echo: Value = edge.get("/mock/").send().await?.json().await?;
    assert_eq!((&echo["stub"], &echo["uri"]), (&"mock".into(), &"/".into()));

    mock.kill()?;
    is_problem(edge.get("/mock/concerts").send().await?, 503, "service_unavailable").await;
    let echo: Value = edge.get("/concerts").send().await?.json().await?;
    assert_eq!(echo["stub"], "gateway", "the gateways don't mind");
    Ok(())
}

#[tokio::test]
async fn a_client_can_not_say_where_it_comes_from() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let forged = [
        ("x-forwarded-for", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=203.0.113.9"),
        ("x-client-ip", "203.0.113.9"),
        ("true-client-ip", "203.0.113.9"),
        ("cf-connecting-ip", "203.0.113.9"),
        ("proxy", "http://evil.example"),
        ("x_real_ip", "203.0.113.9"),
    ];
    for path in ["/concerts", "/queue/events", "/queue/1/frontier"] {
        let mut request = edge.get(path).header("x-real-ip", "203.0.113.9").header("x-real-ip", "203.0.113.8");
        for (name, value) in forged {
            request = request.header(name, value);
        }
        let answer = request.header("authorization", "Bearer t").header("cookie", "QueueToken=t").send().await?;
        if path == "/queue/events" {
            continue; // It doesn't echo; the two others show both kinds of location.
        }
        let echo: Value = answer.json().await?;
        assert_eq!(received(&echo, "x-real-ip"), ["127.0.0.1"]);
        for (name, _) in forged {
            assert_eq!(received(&echo, name), Vec::<String>::new(), "{name}");
        }
        assert_eq!(received(&echo, "authorization"), ["Bearer t"]);
        assert_eq!(received(&echo, "cookie"), ["QueueToken=t"]);
        assert_eq!(received(&echo, "host"), [format!("127.0.0.1:{}", edge.nginx.port())]);
    }
    Ok(())
}

#[tokio::test]
async fn only_a_trusted_balancer_names_the_client() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::with(&[stub.address()], &[("REAL_IP_FROM", "127.0.0.1/32")])?;
    // From the right, the first that is no balancer; what stands left of it was written by the client.
    let echo: Value =
        edge.get("/").header("x-forwarded-for", "198.51.100.1, 203.0.113.9, 127.0.0.1").send().await?.json().await?;
    assert_eq!(received(&echo, "x-real-ip"), ["203.0.113.9"]);
    assert_eq!(received(&echo, "x-forwarded-for"), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_request_has_one_id_on_all_its_way() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let longest = "x".repeat(128);
    let too_long = "x".repeat(129);
    for (sent, kept) in [
        (Some("abc-1.2_Z"), true),
        (Some(longest.as_str()), true),
        (Some(too_long.as_str()), false),
        (Some("has space"), false),
        (Some("quote\"and,comma"), false),
        (Some(""), false),
        (None, false),
    ] {
        let mut request = edge.get("/concerts");
        if let Some(id) = sent {
            request = request.header("x-request-id", id);
        }
        let answer = request.send().await?;
        let ids: Vec<_> = answer.headers().get_all("x-request-id").iter().cloned().collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        let returned = ids[0].to_str()?.to_owned();
        if kept {
            assert_eq!(Some(returned.as_str()), sent);
        } else {
            assert_eq!(returned.len(), 32, "made by nginx: {returned}");
        }
        let echo: Value = answer.json().await?;
        assert_eq!(received(&echo, "x-request-id"), [returned]);
    }
    Ok(())
}

#[tokio::test]
async fn too_many_requests_are_a_429_that_says_when_to_return() -> Result<()> {
    let stub = Stub::start("a")?;
    let limits = [("REQUESTS_PER_SECOND", "1"), ("REQUESTS_BURST", "2")];
    let edge = Edge::with(&[stub.address()], &limits)?;
    let mut refused = 0;
    for number in 0..10 {
        // Another address in a header is not another client.
        let forged = format!("203.0.113.{number}");
        let request = edge.get("/concerts").header("x-real-ip", &forged).header("x-forwarded-for", &forged);
        let answer = request.send().await?;
        if answer.status() != StatusCode::OK {
            is_problem(answer, 429, "too_many_requests").await;
            refused += 1;
        }
    }
    // One and a burst of two pass, and one more for each second that this loop took.
    assert!((4..=7).contains(&refused), "{refused} of 10 refused");
    Ok(())
}

#[tokio::test]
async fn event_streams_count_as_connections_of_their_address() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::with(&[stub.address()], &[("CONNECTIONS_PER_ADDRESS", "2")])?;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut answer = edge.get("/queue/events").send().await?;
        answer.chunk().await?;
        streams.push(answer);
    }
    is_problem(edge.get("/concerts").send().await?, 429, "too_many_requests").await;
    drop(streams);
    eventually("a place is free again", || async { Ok(edge.get("/concerts").send().await?.status() == StatusCode::OK) })
        .await
}

#[tokio::test]
async fn a_dead_gateway_costs_nothing_and_no_gateway_is_a_503() -> Result<()> {
    let (a, b) = (Stub::start("a")?, Stub::start("b")?);
    let edge = Edge::new(&[a.address(), b.address()])?;
    let a = a.kill()?;
    for _ in 0..20 {
        let answer = edge.request(Method::POST, "/payment").body("{}").send().await?;
        assert_eq!(answer.status(), StatusCode::OK, "a refused connection had no byte of the POST");
    }
    assert_eq!(b.hits("/payment"), 20);

    b.kill()?;
    for method in [Method::GET, Method::POST] {
        let answer = edge.request(method, "/payment").send().await?;
        let body = is_problem(answer, 503, "service_unavailable").await;
        assert_eq!(body["detail"], KOREAN_NOT_AVAILABLE);
    }

    let a = Stub::start_at("a", a)?;
    eventually("the gateway that came back is used", || async {
        Ok(edge.request(Method::POST, "/payment").send().await?.status() == StatusCode::OK)
    })
    .await?;
    assert!(a.hits("/payment") > 0);
    Ok(())
}

/// As browsers ask when somebody goes to a page.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

/// Fails unless it is a whole page that tells a browser to come again; the page, and after how many seconds.
async fn is_page(response: Response, status: u16) -> (String, u64) {
    assert_eq!(response.status().as_u16(), status);
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("vary", "accept, accept-language, cookie"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("server", "nginx"),
    ] {
        assert_eq!(header(&response, name), Some(value), "{name}");
    }
    let policy = header(&response, "content-security-policy").unwrap_or_default();
    assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(header(&response, "permissions-policy").is_some_and(|policy| policy.contains("camera=()")));
    assert_eq!(response.headers().get_all("x-request-id").iter().count(), 1);
    let seconds =
        header(&response, "retry-after").and_then(|seconds| seconds.parse().ok()).expect("when to come again");
    assert!((2..=5).contains(&seconds), "{seconds}");
    let page = response.text().await.expect("a page is text");
    assert!(page.starts_with("<!doctype html>\n") && page.ends_with("</html>\n"), "{page}");
    for needless in ["<script", "<style", " style=", "src=", "$"] {
        assert!(!page.contains(needless), "{needless}: {page}");
    }
    (page, seconds)
}

#[tokio::test]
async fn a_browser_that_finds_no_gateway_is_told_by_a_page_that_comes_again() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let address = stub.kill()?;
    let ask =
        |language: &str| edge.get("/sale/<b>?x=<script>").header("accept", BROWSER).header("accept-language", language);
    let mut waits = std::collections::BTreeSet::new();
    for (language, tag, said) in [
        ("ko-KR,ko;q=0.9", "ko", KOREAN_NOT_AVAILABLE),
        ("en-US,en;q=0.9", "en", "The service is not available right now. Please try again in a moment."),
    ] {
        for _ in 0..16 {
            let (page, seconds) = is_page(ask(language).send().await?, 503).await;
            assert!(
                page.contains(&format!("<html lang=\"{tag}\">")) && page.contains(&format!("<p>{said}</p>")),
                "{page}"
            );
            assert!(page.contains(&format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">")), "{page}");
            assert!(!page.contains("<b>") && page.len() < 1_400, "nothing of what was asked: {page}");
            waits.insert(seconds);
        }
    }
    assert!(waits.len() > 1, "not all in the same second");
    let (switched, _) = is_page(ask("en").header("cookie", "a=b; Language=ko").send().await?, 503).await;
    assert!(switched.contains(KOREAN_NOT_AVAILABLE), "the language that was switched to: {switched}");

    // What a form sent may have been done: it is for its sender to send it again.
    let (sent, _) =
        is_page(edge.request(Method::POST, "/forms/login").header("accept", BROWSER).send().await?, 503).await;
    assert!(!sent.contains("http-equiv") && !sent.contains("<a ") && sent.contains("이전 페이지로 돌아가"), "{sent}");

    // Everybody else is told as before, whatever they say of HTML.
    for accept in ["*/*", "application/json", "application/json, text/html", "text/html;q=0.1, */*", "text/htmlx", ""] {
        let answer = edge.get("/sale/1").header("accept", accept).send().await?;
        is_problem(answer, 503, "service_unavailable").await;
    }
    let head = edge.request(Method::HEAD, "/").header("accept", BROWSER).send().await?;
    assert_eq!((head.status().as_u16(), header(&head, "content-type")), (503, Some("text/html; charset=utf-8")));

    let _back = Stub::start_at("a", address)?;
    eventually("the page is there again", || async { Ok(ask("en").send().await?.status() == StatusCode::OK) }).await
}

#[tokio::test]
async fn a_browser_that_asks_too_often_is_told_by_a_page_that_comes_again() -> Result<()> {
    let stub = Stub::start("a")?;
    for limits in [&[("REQUESTS_PER_SECOND", "1"), ("REQUESTS_BURST", "1")][..], &[("CONNECTIONS_PER_ADDRESS", "1")]] {
        let edge = Edge::with(&[stub.address()], limits)?;
        let mut stream = edge.get("/queue/events").send().await?;
        stream.chunk().await?;
        let ask = |path: &str| edge.get(path).header("accept", BROWSER).header("accept-language", "en");
        // The burst.
        ask("/").send().await?;
        let (page, seconds) = is_page(ask("/").send().await?, 429).await;
        assert!(page.contains("<p>Too many requests. Please try again in a moment.</p>"), "{page}");
        assert!(
            page.contains(&format!("content=\"{seconds}\"")) && page.contains("<a href=\"\">Try again now</a>"),
            "{page}"
        );
        let script = edge.get("/concerts").header("accept", "*/*").send().await?;
        is_problem(script, 429, "too_many_requests").await;
    }
    Ok(())
}

#[tokio::test]
async fn a_browser_whose_gateway_hangs_up_or_fails_is_told_by_whoever_failed() -> Result<()> {
    let dropper = Dropper::start()?;
    let edge = Edge::new(&[dropper.address()])?;
    is_page(edge.get("/").header("accept", BROWSER).send().await?, 503).await;
    // What a gateway says itself is its own affair.
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    for status in [429, 502, 503, 504] {
        let answer = edge.get(&format!("/status/{status}")).header("accept", BROWSER).send().await?;
        assert_eq!(answer.text().await?, r#"{"error":"made_by_the_gateway"}"#);
    }
    // What will not pass by itself is no page: nothing is gained by coming again.
    let trace = edge.request(Method::TRACE, "/").header("accept", BROWSER).send().await?;
    is_problem(trace, 405, "method_not_allowed").await;
    Ok(())
}

#[tokio::test]
async fn a_post_that_may_have_had_an_effect_is_not_repeated() -> Result<()> {
    let (a, b) = (Dropper::start()?, Dropper::start()?);
    let received = || a.received() + b.received();
    let edge = Edge::new(&[a.address(), b.address()])?;
    let answer = edge.request(Method::POST, "/payment").body("{}").send().await?;
    is_problem(answer, 503, "service_unavailable").await;
    assert_eq!(received(), 1);

    // A GET has none, and is: so two droppers are seen, once both are trusted again.
    let before = received();
    eventually("a GET is tried at both", || async {
        let seen = received();
        is_problem(edge.get("/concerts").send().await?, 503, "service_unavailable").await;
        Ok(received() - seen == 2)
    })
    .await?;
    assert!(received() > before);
    Ok(())
}

#[tokio::test]
async fn what_the_gateway_says_about_errors_passes_untouched() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    for status in [400, 404, 405, 413, 429, 500, 502, 503] {
        let answer = edge.get(&format!("/status/{status}")).send().await?;
        assert_eq!(answer.status().as_u16(), status);
        let advice: Vec<_> = answer.headers().get_all("retry-after").iter().cloned().collect();
        assert_eq!(advice, ["7"]);
        assert_eq!(answer.text().await?, r#"{"error":"made_by_the_gateway"}"#);
        assert_eq!(stub.hits(&format!("/status/{status}")), 1, "asked once");
    }
    Ok(())
}

#[tokio::test]
async fn events_arrive_while_their_stream_is_open() -> Result<()> {
    let source = EventSource::start()?;
    let edge = Edge::new(&[source.address()])?;
    for path in [
        "/queue/events",
        "/concerts/018f3f64-0000-7000-8000-000000000000/seats/events",
        "/admin/queues/018f3f64-0000-7000-8000-000000000000/live",
    ] {
        let mut answer = edge.get(path).header("accept-encoding", "gzip").send().await?;
        assert_eq!(header(&answer, "content-encoding"), None);
        // The source sends the second one only when told to: the first was not kept for it.
        assert_eq!(answer.chunk().await?.as_deref(), Some(b"data: first\n\n".as_slice()));
        source.send_event()?;
        assert_eq!(answer.chunk().await?.as_deref(), Some(b"data: second\n\n".as_slice()));
        assert_eq!(answer.chunk().await?, None);
    }
    Ok(())
}

#[tokio::test]
async fn the_frontier_is_asked_once_a_second_however_many_want_it() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let path = "/queue/118f3f64-0000-7000-8000-000000000000/frontier";
    let started = Instant::now();
    let burst = (0..40).map(|number| edge.get(&format!("{path}?bust={number}")).send());
    let mut ids = Vec::new();
    for answer in futures_util::future::join_all(burst).await {
        let answer = answer?;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "cache-control"), Some("public, max-age=1"));
        assert_eq!(answer.headers().get_all("x-request-id").iter().count(), 1);
        ids.push(header(&answer, "x-request-id").map(ToOwned::to_owned));
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 40, "an answer from the cache has the id of its own request");
    let seconds = usize::try_from(started.elapsed().as_secs())?;
    assert!(stub.hits(path) <= 1 + seconds, "{} in {seconds} s", stub.hits(path));

    let before = stub.hits(path);
    let old = edge.get(path).send().await?.text().await?;
    eventually("it is renewed", || async {
        edge.get(path).send().await?;
        Ok(stub.hits(path) > before)
    })
    .await?;
    // What nginx keeps open is the file of then.
    assert_ne!(edge.get(path).send().await?.text().await?, old);
    Ok(())
}

#[tokio::test]
async fn only_a_found_frontier_is_kept() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let missing = "/queue/018f3f64-0000-7000-8000-000000000000/frontier";
    for count in 1..=3 {
        assert_eq!(edge.get(missing).send().await?.status(), StatusCode::NOT_FOUND);
        assert_eq!(stub.hits(missing), count);
    }
    let found = "/queue/118f3f64-0000-7000-8000-000000000000/frontier";
    for count in 1..=3 {
        edge.request(Method::POST, found).send().await?;
        assert_eq!(stub.hits(found), count, "only GET is kept");
    }
    Ok(())
}

#[tokio::test]
async fn what_nginx_refuses_is_a_problem_too() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let large = edge.request(Method::POST, "/concerts").body(vec![b'x'; (1 << 20) + 1]);
    is_problem(large.send().await?, 413, "payload_too_large").await;
    let trace = edge.request(Method::TRACE, "/concerts").send().await?;
    assert!(header(&trace, "allow").is_some_and(|allow| allow.contains("GET")));
    is_problem(trace, 405, "method_not_allowed").await;
    is_problem(edge.get("/_problem").send().await?, 404, "not_found").await;
    let long = edge.get(&format!("/{}", "a".repeat(9_000)));
    is_problem(long.send().await?, 414, "uri_too_long").await;
    let heavy = edge.get("/").header("x-heavy", "a".repeat(9_000));
    is_problem(heavy.send().await?, 431, "headers_too_large").await;
    for path in ["/concerts", "/_problem"] {
        assert_eq!(stub.hits(path), 0, "nothing of it reached the gateway");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_not_http_is_a_problem_too() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    for bytes in [
        "GARBAGE\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/9.1\r\nHost: x\r\n\r\n",
        "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: odd\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let (head, body) = edge.raw(bytes.as_bytes()).await.with_context(|| bytes.to_owned())?;
        assert!(head.starts_with("http/1.1 400 "), "{bytes:?}: {head}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        let id = body["requestId"].as_str().context("no request id")?.to_owned();
        assert_eq!(head.matches(&format!("x-request-id: {id}")).count(), 1, "{head}");
        check_problem(&body, 400, "invalid_request", &id);
    }
    Ok(())
}

#[tokio::test]
async fn nginx_answers_in_korean_or_in_english() -> Result<()> {
    let edge = Edge::new(&[NOBODY.parse()?])?;
    for (asked, korean) in [
        (None, true),
        (Some(""), true),
        (Some("*"), true),
        (Some("ko"), true),
        (Some("KO-kr,en;q=0.8"), true),
        (Some("en, ko"), true),
        (Some("de, ko;q=0.1"), true),
        (Some("en"), false),
        (Some("en-US,en;q=0.5"), false),
        (Some("en-US,ko;q=0.5"), false),
        (Some("en, *;q=0.1"), false),
        (Some("fr-FR"), false),
        (Some("ko;q=0"), false),
        (Some("kok"), false),
    ] {
        let mut request = edge.get("/");
        if let Some(asked) = asked {
            request = request.header("accept-language", asked);
        }
        let body = is_problem(request.send().await?, 503, "service_unavailable").await;
        let said = body["detail"].as_str().context("no detail")?;
        assert_eq!(said == KOREAN_NOT_AVAILABLE, korean, "{asked:?}: {said}");
        assert_eq!(said.is_ascii(), !korean, "{asked:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_logo_is_asked_for_once_however_many_want_it() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let path = "/concerts/118f3f64-0000-7000-8000-000000000000/logo/0123456789abcdef";
    let burst = (0..40).map(|number| edge.get(&format!("{path}?bust={number}")).send());
    for answer in futures_util::future::join_all(burst).await {
        assert_eq!(header(&answer?, "cache-control"), Some("public, max-age=31536000, immutable"));
    }
    assert_eq!(stub.hits(path), 1);
    // What is not there may be a moment later.
    let missing = "/concerts/018f3f64-0000-7000-8000-000000000000/logo/0123456789abcdef";
    for count in 1..=3 {
        assert_eq!(edge.get(missing).send().await?.status(), StatusCode::NOT_FOUND);
        assert_eq!(stub.hits(missing), count);
    }
    Ok(())
}

#[tokio::test]
async fn large_json_is_compressed() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let answer = edge.get("/large").header("accept-encoding", "gzip").send().await?;
    assert_eq!(header(&answer, "content-encoding"), Some("gzip"));
    assert!(answer.bytes().await?.len() < 1_000);
    let short = edge.get("/concerts").header("accept-encoding", "gzip").send().await?;
    assert_eq!(header(&short, "content-encoding"), None, "what may hold a token is not");
    Ok(())
}

#[tokio::test]
async fn the_access_log_is_json_without_secrets() -> Result<()> {
    let stub = Stub::start("a")?;
    let edge = Edge::new(&[stub.address()])?;
    let request = edge.get("/concerts?token=secret").header("x-request-id", "find-me");
    request.bearer_auth("secret").header("cookie", "QueueToken=secret").send().await?;
    let log = edge.prefix.path().join("access.log");
    eventually("the line is written", || async { Ok(std::fs::read_to_string(&log)?.contains("find-me")) }).await?;
    let text = std::fs::read_to_string(&log)?;
    assert!(!text.contains("secret"), "{text}");
    let line: Value = serde_json::from_str(text.lines().next().context("no line")?)?;
    assert_eq!(line["requestId"], "find-me");
    assert_eq!(line["path"], "/concerts");
    assert_eq!(line["status"], "200");
    assert_eq!(line["upstream"], stub.address().to_string());
    Ok(())
}

/// Asks `probe` until it says yes; an error when it doesn't in time.
async fn eventually<F: Future<Output = Result<bool>>>(what: &str, probe: impl Fn() -> F) -> Result<()> {
    let started = Instant::now();
    while !probe().await? {
        ensure!(started.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
