//! Bad input through the whole site: each gets its 4xx as a problem, nothing is changed by it, and nothing is logged as an
//! error.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use e2e::site::{Answer, Visitor};
use http::Method;
use serde_json::{Value, json};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};

/// Sends a body as it is.
async fn send(url: &str, session: Option<&str>, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Answer {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request =
        http.request(method.parse().unwrap(), format!("{url}{path}")).header("content-type", kind).body(body);
    if let Some(session) = session {
        request = request.bearer_auth(session);
    }
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
}

#[track_caller]
fn is_problem(answer: &Answer, status: u16, error: &str, what: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.body["error"].as_str()),
        (status, Some(error)),
        "{what}: {:?}",
        answer.body
    );
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{what}");
    for field in ["type", "title", "status", "detail", "code", "message", "error", "requestId"] {
        assert!(!answer.body[field].is_null(), "{what}: no {field}");
    }
    assert_eq!(answer.body["code"], status, "{what}");
    assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1, "{what}: one request id");
    assert_eq!(answer.headers["x-request-id"].to_str().ok(), answer.body["requestId"].as_str(), "{what}");
}

const NOWHERE: &str = "0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20";

/// A request of someone signed in, and the status and error that it has to get.
struct Row(&'static str, String, &'static str, Vec<u8>, u16, &'static str);

#[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
fn table() -> Vec<Row> {
    let json = "application/json";
    let mut rows = Vec::new();
    for path in ["/auth/signup", "/auth/login", "/queue/token", "/balance", "/payment"] {
        for body in ["", "{", "{\"a\":NaN}", "\u{0}", "{\"a\":1,}", "{'a':1}"] {
            rows.push(Row("POST", path.to_owned(), json, body.as_bytes().to_vec(), 400, "malformed_json"));
        }
        rows.push(Row("POST", path.to_owned(), json, vec![b'{', 0xff, 0xfe, b'}'], 400, "malformed_json"));
        for body in ["{}", "[]", "null", "1", "\"x\"", "[[]]"] {
            rows.push(Row("POST", path.to_owned(), json, body.as_bytes().to_vec(), 400, "invalid_request"));
        }
        rows.push(Row("POST", path.to_owned(), "text/plain", b"{}".to_vec(), 415, "unsupported_media_type"));
        rows.push(Row("POST", path.to_owned(), json, vec![b'x'; 100_000], 413, "payload_too_large"));
        rows.push(Row("POST", path.to_owned(), json, vec![b'x'; 2_000_000], 413, "payload_too_large"));
        rows.push(Row("PATCH", path.to_owned(), json, b"{}".to_vec(), 405, "method_not_allowed"));
    }
    for amount in [
        "0",
        "-1",
        "-0.01",
        "0.001",
        "1e-3",
        "100000000",
        "1e300",
        "99999999999999999999999999999999999",
        "\"5\"",
        "null",
        "true",
        "[]",
        "{}",
    ] {
        rows.push(Row(
            "POST",
            "/balance".to_owned(),
            json,
            format!("{{\"amount\":{amount}}}").into_bytes(),
            400,
            "invalid_request",
        ));
    }
    for id in ["7", "\"7\"", "null", "[]", "\"0190d8a45a3e7c3f9d1e2b6f8a7c1d20\"", "\"\\u0000\""] {
        rows.push(Row(
            "POST",
            "/queue/token".to_owned(),
            json,
            format!("{{\"concertId\":{id}}}").into_bytes(),
            400,
            "invalid_request",
        ));
        rows.push(Row(
            "POST",
            "/payment".to_owned(),
            json,
            format!("{{\"reservationId\":{id}}}").into_bytes(),
            400,
            "invalid_request",
        ));
    }
    for path in [
        "/concerts/7",
        "/concerts/7/seats",
        "/queue/7/frontier",
        "/reservation/7",
        "/concerts?page=0",
        "/concerts?page=-1",
        "/concerts?page=x",
        "/concerts?limit=0",
        "/concerts?limit=101",
        "/concerts?from=yesterday",
        "/concerts?available=perhaps",
        "/concerts?page=99999999999999999999",
        "/balance/entries?limit=0",
    ] {
        rows.push(Row("GET", path.to_owned(), json, Vec::new(), 400, "invalid_request"));
    }
    for path in
        ["/nothing", "/concerts/", "/queue", "/queue/", "/auth", "/../etc/passwd", "/%00", "/concerts/%2e%2e/nothing"]
    {
        let expected = if path == "/%00" { (400, "invalid_request") } else { (404, "not_found") };
        rows.push(Row("GET", path.to_owned(), json, Vec::new(), expected.0, expected.1));
    }
    for path in [
        format!("/concerts/{NOWHERE}"),
        format!("/concerts/{NOWHERE}/seats"),
        format!("/queue/{NOWHERE}/frontier"),
        format!("/reservation/{NOWHERE}"),
    ] {
        rows.push(Row("GET", path, json, Vec::new(), 404, "not_found"));
    }
    rows.push(Row(
        "POST",
        "/queue/token".to_owned(),
        json,
        format!("{{\"concertId\":\"{NOWHERE}\"}}").into_bytes(),
        404,
        "not_found",
    ));
    rows.push(Row(
        "POST",
        "/payment".to_owned(),
        json,
        format!("{{\"reservationId\":\"{NOWHERE}\"}}").into_bytes(),
        404,
        "not_found",
    ));
    rows.push(Row("POST", "/reservation".to_owned(), json, b"{".to_vec(), 403, "not_admitted"));
    rows.push(Row("GET", "/queue/status".to_owned(), json, Vec::new(), 401, "missing_queue_token"));
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_its_problem_changes_nothing_and_is_no_error_of_ours() {
    let redis = Redis::start(&RedisOptions::default()).unwrap();
    // It is one user who sends all of this, and faster than anybody may join.
    let gateway_env = [("JOINS_PER_MINUTE_PER_USER".to_owned(), "0".to_owned())].into();
    let options = OnsaleOptions { redis_url: Some(redis.url()), gateway_env, ..OnsaleOptions::default() };
    let onsale = Onsale::start(&options).unwrap();
    let url = onsale.url();
    let mut visitor = Visitor::new(&url).unwrap();
    visitor.sign_up("hostile").await.unwrap();
    visitor.post("/balance", json!({"amount": 12.34})).await.unwrap().ok().unwrap();
    let session = visitor.session.clone().unwrap();

    for Row(method, path, kind, body, status, error) in table() {
        let what = format!("{method} {path} {}", String::from_utf8_lossy(&body[..body.len().min(60)]));
        let answer = send(&url, Some(&session), method, &path, kind, body).await;
        // A path is cleaned by the client before it is sent; what is left of it must still be nothing.
        is_problem(&answer, status, error, &what);
        assert_eq!(answer.headers.contains_key("allow"), status == 405, "{what}");
    }
    for (method, path) in [
        ("GET", "/balance"),
        ("POST", "/balance"),
        ("POST", "/payment"),
        ("GET", "/reservation"),
        ("POST", "/reservation"),
        ("POST", "/queue/token"),
    ] {
        is_problem(
            &send(&url, None, method, path, "application/json", b"{}".to_vec()).await,
            401,
            "unauthenticated",
            path,
        );
        for forged in ["x", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", &format!("{session}x")] {
            let answer = send(&url, Some(forged), method, path, "application/json", b"{}".to_vec()).await;
            is_problem(&answer, 401, "invalid_session", path);
            assert!(answer.headers.contains_key("www-authenticate"));
        }
    }
    let wrong = visitor
        .post("/auth/login", json!({"userId": "hostile@example.test", "password": "wrong password"}))
        .await
        .unwrap();
    is_problem(&wrong, 401, "invalid_credentials", "a wrong password");
    let key = visitor
        .ask(Method::POST, "/balance", Some(json!({"amount": 1})), &[("idempotency-key", &"k".repeat(256))])
        .await
        .unwrap();
    is_problem(&key, 400, "invalid_request", "a long idempotency key");

    assert_eq!(visitor.get("/balance").await.unwrap().body, json!({"balance": 12.34}), "nothing was charged");
    assert_eq!(visitor.get("/reservation").await.unwrap().body["data"], json!([]));
    for service in onsale.gateways().iter().chain(onsale.core_apis()) {
        let log = std::fs::read_to_string(service.process().log()).unwrap();
        assert!(log.contains(" INFO "), "the log is read as it is written: {log}");
        let told: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(" ERROR ") || line.contains(" WARN ") || line.contains("panicked"))
            .collect();
        assert!(told.is_empty(), "{}: {told:#?}", service.process().name());
        assert!(!log.contains("hostile@example.test") && !log.contains(&session), "logs tell nobody's email or token");
    }
}
