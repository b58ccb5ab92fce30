//! What nginx itself says about requests that it does not pass on.

use anyhow::{Context as _, Result};
use e2e::stub_upstream::Stub;
use reqwest::Method;

use crate::edge::{Edge, KOREAN_NOT_AVAILABLE, NOBODY, check_problem, header, is_problem};

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
