//! The same key and the same request: one effect, one answer, byte for byte.

use serde_json::json;

use crate::client::Answer;
use crate::support::{eventually, world};

fn assert_replay(first: &Answer, again: &Answer) {
    assert_eq!((first.status, &first.bytes), (again.status, &again.bytes));
    assert_eq!(first.header("content-type"), again.header("content-type"));
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_and_does_nothing() {
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(2, "10").await;
    let person = world.user("100").await;
    let pass = world.admit(&person, &concert).await;

    let charge = json!({ "amount": 5.25 });
    let first = world.post("/balance", &charge).by(&person).key("k").send().await;
    assert_eq!(first.text, "{\"balance\":105.25}");
    // White space and the order of fields make no other request.
    let again =
        world.post_to(other, "/balance", &charge).by(&person).key("k").body(" {\"amount\" : 5.25}\n").send().await;
    assert_replay(&first, &again);

    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    let first = world.post("/reservation", &body).by(&person).pass(&pass).key("hold").send().await;
    let again = world.post_to(other, "/reservation", &body).by(&person).pass(&pass).key("hold").send().await;
    assert_replay(&first, &again);

    let pay = json!({ "reservationId": first.uuid("reservationId") });
    let first = world.post("/payment", &pay).by(&person).key("pay").send().await;
    assert_eq!(first.status, 200);
    let again = world.post_to(other, "/payment", &pay).by(&person).key("pay").send().await;
    assert_replay(&first, &again);
    assert_eq!(world.sql("SELECT concat_ws(' ', (SELECT count(*) FROM reservations), (SELECT count(*) FROM payments), (SELECT balance FROM users))").await, "1 1 95.25");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_key_belongs_to_one_request_of_one_user() {
    let world = world().await;
    let (person, another) = (world.user("0").await, world.user("0").await);
    let charge = json!({ "amount": 1 });
    assert_eq!(world.post("/balance", &charge).by(&person).key("k").send().await.status, 200);
    let reused = |body: &serde_json::Value, path: &str| world.post(path, body).by(&person).key("k").send();
    reused(&json!({ "amount": 2 }), "/balance").await.assert_problem(422, "idempotency_key_reused");
    let pay = json!({ "reservationId": uuid::Uuid::nil() });
    reused(&pay, "/payment").await.assert_problem(422, "idempotency_key_reused");
    reused(&charge, "/payment").await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(world.post("/balance", &charge).by(&another).key("k").send().await.text, "{\"balance\":1.00}");
    assert_eq!(world.get("/balance").by(&person).send().await.text, "{\"balance\":1.00}");
}

#[tokio::test]
async fn of_many_at_once_one_has_the_effect() {
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(4, "10").await;
    let person = world.user("100").await;
    let pass = world.admit(&person, &concert).await;
    let held = world.hold(&person, &concert, 3).await;
    for (path, body) in [
        ("/balance", json!({ "amount": 7 })),
        ("/reservation", json!({ "concertId": concert.id, "seatNumber": 1 })),
        ("/payment", json!({ "reservationId": held })),
    ] {
        let many = (0..20).map(|n| {
            let request = if n % 2 == 0 { world.post(path, &body) } else { world.post_to(other, path, &body) };
            request.by(&person).pass(&pass).key(path).send()
        });
        let answers = futures_util::future::join_all(many.collect::<Vec<_>>()).await;
        let fresh: Vec<_> =
            answers.iter().filter(|a| a.status == 200 && a.header("idempotency-replayed").is_none()).collect();
        assert_eq!(fresh.len(), 1, "{path}: {answers:?}");
        for answer in &answers {
            match answer.status.as_u16() {
                200 => assert_eq!(answer.bytes, fresh[0].bytes),
                _ => answer.assert_problem(409, "idempotency_in_progress"),
            }
        }
    }
    assert_eq!(world.get("/balance").by(&person).send().await.json["balance"], 97.0);
    assert_eq!(world.sql("SELECT count(*) FROM reservations").await, "2");
    world.assert_invariants().await;
}

#[tokio::test]
async fn refusals_for_good_are_kept_and_passing_ones_are_not() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let (poor, rich) = (world.user("0").await, world.user("0").await);
    let held = world.hold(&poor, &concert, 0).await;
    let pay = json!({ "reservationId": held });
    // Kept: 400, 404, 410.
    let first = world.post("/payment", &pay).by(&poor).key("poor").send().await;
    first.assert_problem(400, "insufficient_balance");
    world.post("/balance", &json!({ "amount": 50 })).by(&poor).send().await;
    assert_replay(&first, &world.post("/payment", &pay).by(&poor).key("poor").send().await);
    for (key, path, body, status) in [
        ("shape", "/payment", "{\"reservationId\":7}", 400),
        ("json", "/balance", "{\"amount\":", 400),
        ("zero", "/balance", "{\"amount\":0}", 400),
        ("unknown", "/payment", "{\"reservationId\":\"00000000-0000-0000-0000-000000000000\"}", 404),
    ] {
        let send = || world.request(reqwest::Method::POST, path).body(body).by(&poor).key(key).send();
        let first = send().await;
        assert_eq!(first.status, status, "{}", first.text);
        assert_replay(&first, &send().await);
    }
    // Not kept: 409. The seat that was taken is free later, and then the same key gets it.
    let pass = world.admit(&rich, &concert).await;
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    let attempt = || world.post("/reservation", &body).by(&rich).pass(&pass).key("seat").send();
    attempt().await.assert_problem(409, "seat_taken");
    world.delete(&format!("/reservation/{held}")).by(&poor).send().await;
    assert_eq!(attempt().await.status, 200);
    let expired = world.post("/payment", &pay).by(&poor).key("late").send().await;
    expired.assert_problem(410, "reservation_expired");
    assert_replay(&expired, &world.post("/payment", &pay).by(&poor).key("late").send().await);
    // Not kept: 403. The lease ended between the pass and the hold.
    let id = common::tokens::PassId { position: 7, nonce: 3 };
    world.lease(&rich, &concert, id, chrono::Utc::now() - chrono::TimeDelta::seconds(1)).await;
    let body = json!({ "concertId": concert.id, "seatNumber": 2 });
    let attempt = || world.post("/reservation", &body).by(&rich).pass(&pass).key("lease").send();
    attempt().await.assert_problem(403, "not_admitted");
    world.lease(&rich, &concert, id, chrono::Utc::now() + chrono::TimeDelta::seconds(60)).await;
    assert_eq!(attempt().await.status, 200);
}

#[tokio::test]
async fn credentials_come_before_the_key() {
    let world = world().await;
    let person = world.user("0").await;
    let charge = json!({ "amount": 1 });
    world.post("/balance", &charge).by(&person).key("k").send().await;
    world.post("/balance", &charge).key("k").send().await.assert_problem(401, "unauthenticated");
    assert_eq!(world.sql("SELECT count(*) FROM idempotency_keys").await, "1");
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let world = world().await;
    let person = world.user("0").await;
    let charge = json!({ "amount": 1 });
    for bad in ["", "a b", "\t", &"k".repeat(256)] {
        world.post("/balance", &charge).by(&person).key(bad).send().await.assert_problem(400, "invalid_request");
    }
    world.post("/balance", &charge).by(&person).key("a").key("b").send().await.assert_problem(400, "invalid_request");
    assert_eq!(world.get("/balance").by(&person).send().await.json["balance"], 0.0);
    assert_eq!(world.post("/balance", &charge).by(&person).key(&"k".repeat(255)).send().await.status, 200);
}

#[tokio::test]
async fn a_try_whose_process_died_is_taken_over() {
    let world = world().await;
    let person = world.user("0").await;
    let charge = json!({ "amount": 1 });
    let attempt = |amount: i32| world.post("/balance", &json!({ "amount": amount })).by(&person).key("k").send();
    assert_eq!(attempt(1).await.status, 200);
    // As a process leaves it that dies before its effect.
    world
        .execute("UPDATE idempotency_keys SET state = 'in_progress', response_status = NULL, response_body = NULL")
        .await;
    world.shift_database_clock("29 seconds").await;
    attempt(1).await.assert_problem(409, "idempotency_in_progress");
    world.shift_database_clock("31 seconds").await;
    attempt(2).await.assert_problem(422, "idempotency_key_reused");
    let taken_over = attempt(1).await;
    assert_eq!((taken_over.status.as_u16(), taken_over.text.as_str()), (200, "{\"balance\":2.00}"));
    assert_replay(&taken_over, &world.post("/balance", &charge).by(&person).key("k").send().await);
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_try_that_was_taken_for_dead_changes_nothing_when_it_wakes() {
    let world = world().await;
    let concert = world.concert(2, "1").await;
    let person = world.user("5").await;
    let pass = world.admit(&person, &concert).await;
    let held = world.hold(&person, &concert, 1).await;
    for (path, body) in [
        ("/balance", json!({ "amount": 1 })),
        ("/payment", json!({ "reservationId": held })),
        ("/reservation", json!({ "concertId": concert.id, "seatNumber": 1 })),
    ] {
        let before = world.everything().await;
        let mut transaction = world.pool.begin().await.unwrap();
        sqlx::query("LOCK TABLE ledger_entries, reservations IN EXCLUSIVE MODE")
            .execute(&mut *transaction)
            .await
            .unwrap();
        let ghost = world.post(path, &body).by(&person).pass(&pass).key(path).send();
        let (ghost, ()) = tokio::join!(ghost, async {
            let waiting =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            eventually("it waits before its effect", async || (world.sql(waiting).await != "0").then_some(())).await;
            // Another process takes over.
            world.execute("UPDATE idempotency_keys SET attempt = gen_random_uuid() WHERE state = 'in_progress'").await;
            transaction.rollback().await.unwrap();
        });
        ghost.assert_problem(409, "idempotency_in_progress");
        assert_eq!(world.everything().await, before, "{path}");
        assert_eq!(world.sql(&format!("SELECT state FROM idempotency_keys WHERE key = '{path}'")).await, "in_progress");
    }
    assert_eq!(world.lock(&concert, 0).await, None);
}

#[tokio::test]
async fn keys_are_forgotten_after_a_day() {
    let world = world().await;
    let person = world.user("0").await;
    let charge = json!({ "amount": 1 });
    assert_eq!(world.post("/balance", &charge).by(&person).key("k").send().await.text, "{\"balance\":1.00}");
    world.shift_database_clock("23 hours 59 minutes").await;
    assert_eq!(world.post("/balance", &charge).by(&person).key("k").send().await.text, "{\"balance\":1.00}");
    world.shift_database_clock("24 hours 1 minute").await;
    assert_eq!(world.post("/balance", &charge).by(&person).key("k").send().await.text, "{\"balance\":2.00}");
    world.shift_database_clock("49 hours").await;
    // A new process purges first thing.
    world.start_another().await;
    eventually("the purge", async || (world.sql("SELECT count(*) FROM idempotency_keys").await == "0").then_some(()))
        .await;
}
