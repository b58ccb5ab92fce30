//! The first nine endpoints as their first users call them: a login by id or email, tokens by cookie, `seatId` from the
//! list of seats, every success a 200 with the field names that they know.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

use serde_json::{Value, json};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};

/// A client that keeps cookies as a browser does: name and value, nothing more.
struct Browser {
    site: String,
    http: reqwest::Client,
    cookies: Vec<(String, String)>,
}

impl Browser {
    async fn call(&mut self, method: &str, path: &str, body: Option<Value>) -> Value {
        let mut request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.site));
        if !self.cookies.is_empty() {
            let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("cookie", cookies.join("; "));
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200, "{method} {path}: {response:?}");
        for cookie in response.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            self.cookies.push((name.to_owned(), value.to_owned()));
        }
        response.json().await.unwrap()
    }
}

#[track_caller]
fn has_fields(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(!value[field].is_null(), "no `{field}` in {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_way_of_calling_sells_a_ticket() {
    let redis = Redis::start(&RedisOptions::default()).unwrap();
    let onsale = Onsale::start(&OnsaleOptions { redis_url: Some(redis.url()), ..OnsaleOptions::default() }).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut browser = Browser { site: onsale.url(), http, cookies: Vec::new() };

    let health = browser.call("GET", "/health", None).await;
    assert_eq!(health["status"], "OK");
    has_fields(&health, &["timestamp"]);

    let login = browser
        .call("POST", "/auth/login", Some(json!({"userId": "alice@example.com", "password": "onsale-demo"})))
        .await;
    has_fields(&login, &["token", "expiresAt"]);
    let by_id = json!({"userId": login["userId"], "password": "onsale-demo"});
    has_fields(&browser.call("POST", "/auth/login", Some(by_id)).await, &["token"]);

    let concerts = browser.call("GET", "/concerts?page=1&limit=100", None).await;
    has_fields(&concerts["pagination"], &["currentPage", "totalPages", "totalItems"]);
    let concert = concerts["data"].as_array().unwrap().iter().find(|concert| concert["totalSeats"] == 50).unwrap();
    has_fields(concert, &["id", "name", "date", "venue", "totalSeats", "availableSeats"]);
    let id = concert["id"].as_str().unwrap();

    let joined = browser.call("POST", "/queue/token", Some(json!({ "concertId": id }))).await;
    has_fields(&joined, &["token", "status", "queueInfo"]);
    has_fields(&joined["queueInfo"], &["position", "waitTime"]);
    assert_eq!(joined["status"], "admitted", "an idle room");

    let seats = browser.call("GET", &format!("/concerts/{id}/seats"), None).await;
    let seat = seats.as_array().unwrap().iter().find(|seat| seat["status"] == "available").unwrap();
    has_fields(seat, &["seatId", "seatNumber", "status"]);

    let reserved = browser.call("POST", "/reservation", Some(json!({"concertId": id, "seatId": seat["seatId"]}))).await;
    assert_eq!(reserved["expiresIn"], "5분");
    has_fields(&reserved, &["reservationId"]);

    let before = browser.call("GET", "/balance", None).await["balance"].as_f64().unwrap();
    let charged = browser.call("POST", "/balance", Some(json!({"amount": 100.5}))).await["balance"].as_f64().unwrap();
    assert!((charged - before - 100.5).abs() < 0.001);
    let paid = browser.call("POST", "/payment", Some(json!({"reservationId": reserved["reservationId"]}))).await;
    has_fields(&paid, &["paymentId", "reservationId", "amount", "balance"]);
    assert_eq!(paid["status"], "success");

    let seats = browser.call("GET", &format!("/concerts/{id}/seats"), None).await;
    let sold = seats.as_array().unwrap().iter().find(|other| other["seatId"] == seat["seatId"]).unwrap();
    assert_eq!(sold["status"], "sold", "what was just bought is not offered again");
}
