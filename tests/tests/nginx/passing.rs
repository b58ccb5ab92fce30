//! What gets through nginx, and as what.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use e2e::stub_upstream::{Dropper, EventSource, Stub};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use stack::scratch::Scratch;

use crate::edge::{Edge, eventually, header, is_problem, received};

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
