//! Concerts, seats and health as everybody reads them.

use std::io::Read as _;

use serde_json::{Value, json};

use crate::support::{eventually, world};

#[tokio::test]
async fn concerts_are_listed_page_by_page_and_filtered() {
    let world = world().await;
    let day = |days: i32| format!("now_utc()::date + {days}");
    let open = world.concert_with(3, "10", &day(10), "now_utc() - interval '1 hour'", "NULL").await;
    let later = world.concert_with(2, "10", &day(20), "now_utc() + interval '1 hour'", "NULL").await;
    let over = world.concert_with(2, "10", &day(30), "NULL", "now_utc()").await;
    let past = world.concert_with(2, "10", &day(-1), "NULL", "NULL").await;
    let held = world.concert(1, "10").await;
    let sold = world.concert_with(1, "10", &day(40), "NULL", "NULL").await;
    world.execute(&format!("UPDATE seats SET status = 'reserved_temp' WHERE concert_id = '{}'", held.id)).await;
    world.execute(&format!("UPDATE seats SET status = 'reserved_final' WHERE concert_id = '{}'", sold.id)).await;

    let all = world.get("/concerts").send().await;
    assert_eq!(all.status, 200);
    let state: Vec<(String, String)> = all.json["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["id"].as_str().unwrap().to_owned(), c["status"].as_str().unwrap().to_owned()))
        .collect();
    let mut same_day = [(over.id.to_string(), "closed".to_owned()), (held.id.to_string(), "on_sale".to_owned())];
    same_day.sort();
    let expected = [
        (past.id.to_string(), "closed".to_owned()),
        (open.id.to_string(), "on_sale".to_owned()),
        (later.id.to_string(), "scheduled".to_owned()),
        same_day[0].clone(),
        same_day[1].clone(),
        (sold.id.to_string(), "sold_out".to_owned()),
    ];
    assert_eq!(state, expected);
    assert_eq!(all.json["pagination"], json!({ "currentPage": 1, "totalPages": 1, "totalItems": 6 }));

    let second = world.get("/concerts?page=2&limit=4").send().await;
    assert_eq!(second.json["data"].as_array().unwrap().len(), 2);
    assert_eq!(second.json["pagination"], json!({ "currentPage": 2, "totalPages": 2, "totalItems": 6 }));
    let beyond = world.get("/concerts?page=1000000&limit=100").send().await;
    assert_eq!(beyond.json["data"], json!([]));
    let available = world.get("/concerts?available=true").send().await;
    assert_eq!(available.json["pagination"]["totalItems"], 1);
    assert_eq!(available.json["data"][0]["id"], open.id.to_string());
    let from = all.json["data"][2]["date"].as_str().unwrap();
    let to = all.json["data"][3]["date"].as_str().unwrap();
    let between = world.get(&format!("/concerts?from={from}&to={to}")).send().await;
    assert_eq!(between.json["pagination"]["totalItems"], 3);

    let one = world.get(&format!("/concerts/{}", open.id)).send().await;
    assert_eq!(one.json, all.json["data"][1]);
    assert_eq!((&one.json["totalSeats"], &one.json["availableSeats"]), (&json!(3), &json!(3)));
    assert!(one.json["saleOpensAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(all.json["data"][0]["saleOpensAt"], Value::Null);
    world.get(&format!("/concerts/{}", uuid::Uuid::nil())).send().await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_sale_opens_and_ends_by_the_database_s_clock() {
    let world = world().await;
    let concert = world
        .concert_with(1, "10", "now_utc()::date + 1", "now_utc() + interval '1 hour'", "now_utc() + interval '3 hours'")
        .await;
    let path = format!("/concerts/{}", concert.id);
    assert_eq!(world.get(&path).send().await.json["status"], "scheduled");
    for (shift, status) in [("2 hours", "on_sale"), ("4 hours", "closed")] {
        world.shift_database_clock(shift).await;
        eventually(status, async || (world.get(&path).send().await.json["status"] == status).then_some(())).await;
    }
}

#[tokio::test]
async fn seats_are_listed_in_order_with_what_can_be_done_with_them() {
    let world = world().await;
    let concert = world.concert(3, "120.5").await;
    world.execute(&format!("UPDATE seats SET status = 'reserved_temp' WHERE id = '{}'", concert.seats[1])).await;
    world.execute(&format!("UPDATE seats SET status = 'reserved_final' WHERE id = '{}'", concert.seats[2])).await;
    let answer = world.get(&format!("/concerts/{}/seats", concert.id)).send().await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let seat = |n: usize, status: &str| json!({ "seatId": concert.seats[n], "seatNumber": n + 1, "section": "A", "price": 120.5, "status": status });
    assert_eq!(answer.json, json!([seat(0, "available"), seat(1, "reserved"), seat(2, "sold")]));
    assert!(answer.text.contains("\"price\":120.50,"), "{}", answer.text);
    world.get(&format!("/concerts/{}/seats", uuid::Uuid::nil())).send().await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_list_of_seats_is_sent_again_only_when_it_has_changed() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    let path = format!("/concerts/{}/seats", concert.id);
    let first = world.get(&path).send().await;
    let etag = first.header("etag").unwrap().to_owned();
    let same = world.get(&path).header("if-none-match", &etag).send().await;
    assert_eq!((same.status.as_u16(), same.text.as_str(), same.header("etag")), (304, "", Some(etag.as_str())));
    let person = world.user("0").await;
    world.hold(&person, &concert, 0).await;
    // Our own change is seen at once.
    let changed = world.get(&path).header("if-none-match", &etag).send().await;
    assert_eq!((changed.status.as_u16(), &changed.json[0]["status"]), (200, &json!("reserved")));
    assert_ne!(changed.header("etag"), Some(etag.as_str()));
    // Another process' within a moment.
    let other = world.start_another().await;
    let seen = reqwest::get(format!("http://{other}{path}")).await.unwrap().text().await.unwrap();
    assert_eq!(seen, changed.text);
    world.hold(&person, &concert, 1).await;
    eventually("the other process sees it", async || {
        let list = reqwest::get(format!("http://{other}{path}")).await.unwrap().text().await.unwrap();
        (list.matches("reserved").count() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hall_of_twenty_thousand_is_read_once_for_all_and_compressed() {
    let world = world().await;
    let concert = world.concert(20_000, "10").await;
    let path = format!("/concerts/{}/seats", concert.id);
    let plain = world.get(&path).send().await;
    assert_eq!(plain.json.as_array().unwrap().len(), 20_000);
    let scans =
        || world.sql("SELECT seq_scan + coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'seats'");
    let before = scans().await;
    let many = (0..100).map(|_| world.get(&path).header("accept-encoding", "gzip").send());
    let started = std::time::Instant::now();
    let answers = futures_util::future::join_all(many).await;
    let readings = started.elapsed().as_millis() / 300 + 2;
    for answer in &answers {
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
        assert_eq!(answer.bytes, answers[0].bytes);
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
        assert_ne!(answer.header("etag"), plain.header("etag"), "each form has a name of its own");
    }
    assert!(answers[0].bytes.len() * 3 < plain.bytes.len());
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(answers[0].bytes.as_slice()).read_to_end(&mut unpacked).unwrap();
    assert_eq!(unpacked, plain.bytes);
    // The statistics come late, so this can only be too kind: but a scan per request would show.
    let after: i64 = scans().await.parse().unwrap();
    let scans = after - before.parse::<i64>().unwrap();
    assert!(scans <= i64::try_from(readings).unwrap() * 2, "{scans} scans for 100 readers");
    let tag = answers[0].header("etag").unwrap();
    let same = world.get(&path).header("accept-encoding", "gzip").header("if-none-match", tag).send().await;
    assert_eq!(same.status, 304);
}

#[tokio::test]
async fn counts_follow_within_a_second_or_so() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let person = world.user("0").await;
    let path = format!("/concerts/{}", concert.id);
    assert_eq!(world.get(&path).send().await.json["availableSeats"], 3);
    world.hold(&person, &concert, 0).await;
    eventually("one seat fewer", async || (world.get(&path).send().await.json["availableSeats"] == 2).then_some(()))
        .await;
}

#[tokio::test]
async fn a_seat_is_counted_as_what_it_is_from_its_hold_to_its_sale_or_release() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let person = world.user("100").await;
    let path = format!("/concerts/{}", concert.id);
    let counts = async |available: u64, held: u64| {
        eventually("the counts", async || {
            let concert = world.get(&path).send().await.json;
            let seen = (concert["availableSeats"].as_u64(), concert["heldSeats"].as_u64());
            (concert["totalSeats"] == 3 && seen == (Some(available), Some(held))).then_some(())
        })
        .await;
    };
    let (paid, given_back) = (world.hold(&person, &concert, 0).await, world.hold(&person, &concert, 1).await);
    world.hold(&person, &concert, 2).await;
    counts(0, 3).await;
    // Nothing is free, so it is not among those available; but it is on sale, for seats can come free.
    let id = concert.id.to_string();
    let listed = async |query: &str| {
        let list = world.get(&format!("/concerts{query}")).send().await.json;
        list["data"].as_array().unwrap().iter().any(|listed| listed["id"] == id)
    };
    assert!(listed("").await && !listed("?available=true").await);
    assert_eq!(world.get(&path).send().await.json["status"], "on_sale");
    assert_eq!(world.post("/payment", &json!({ "reservationId": paid })).by(&person).send().await.status, 200);
    counts(0, 2).await;
    assert_eq!(world.delete(&format!("/reservation/{given_back}")).by(&person).send().await.status, 200);
    counts(1, 1).await;
    assert!(listed("?available=true").await);
    // The day of the concert is within both ends.
    let day = world.get(&path).send().await.json["date"].as_str().unwrap().to_owned();
    let next = day.parse::<chrono::NaiveDate>().unwrap().succ_opt().unwrap();
    assert!(listed(&format!("?from={day}&to={day}")).await);
    assert!(!listed(&format!("?from={next}")).await);
    assert!(listed(&format!("?to={next}")).await);
    assert_eq!(world.get(&format!("/concerts?from={next}&to={day}")).send().await.json["data"], json!([]));
}

#[tokio::test]
async fn health_is_ok_while_everything_works() {
    let world = world().await;
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = world.get(path).send().await;
        assert_eq!((answer.status.as_u16(), &answer.json["status"]), (200, &json!("OK")), "{path}");
        assert!(answer.json["timestamp"].as_str().unwrap().ends_with('Z'));
    }
    let checks = &world.get("/health").send().await.json["checks"];
    assert_eq!(*checks, json!({ "postgres": "OK", "redis": "OK" }));
}

#[tokio::test]
async fn every_read_answers_head_and_sentences_follow_the_language() {
    let world = world().await;
    let head = world.request(reqwest::Method::HEAD, "/concerts").send().await;
    assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""));
    let korean = world.get("/balance").send().await;
    let english = world.get("/balance").header("accept-language", "en").send().await;
    assert_eq!(korean.json["message"], "로그인이 필요합니다.");
    assert_eq!(english.json["message"], "Sign in first.");
    let named = world.get("/balance").header("x-request-id", "my-request-1").send().await;
    assert_eq!(
        (named.header("x-request-id"), &named.json["requestId"]),
        (Some("my-request-1"), &json!("my-request-1"))
    );
}
