//! The pages that browsers get where nginx refuses or finds nobody.

use anyhow::Result;
use e2e::stub_upstream::{Dropper, Stub};
use reqwest::{Method, Response, StatusCode};

use crate::edge::{Edge, KOREAN_NOT_AVAILABLE, eventually, header, is_problem};

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
