//! Balances and the ledger.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{World, world};

#[tokio::test]
async fn charging_adds_up_exactly() {
    let world = world().await;
    let person = world.user("0").await;
    for (amount, balance) in [("0.1", "0.10"), ("0.20", "0.30"), ("1e2", "100.30"), ("99999899.69", "99999999.99")] {
        let body = format!("{{\"amount\":{amount}}}");
        let answer = world.request(reqwest::Method::POST, "/balance").body(&body).by(&person).send().await;
        assert_eq!((answer.status.as_u16(), answer.text), (200, format!("{{\"balance\":{balance}}}")));
    }
    let before = world.everything().await;
    let answer = world.post("/balance", &json!({ "amount": 0.01 })).by(&person).send().await;
    answer.assert_problem(400, "invalid_request");
    assert_eq!(world.everything().await, before);
    world.assert_invariants().await;
}

#[tokio::test]
async fn hostile_amounts_are_400_and_never_reach_the_database() {
    let world = world().await;
    let person = world.user("5").await;
    let before = world.everything().await;
    let thirty_digits = "9".repeat(30);
    let long_fraction = format!("0.{}1", "0".repeat(29));
    let many_digits = "1".repeat(60_000);
    let amounts = [
        // Too large, in every way of writing it.
        "1e300",
        "1e9",
        "1E+30",
        "1e999999999",
        "1e99999999999999999999",
        "1e4294967296",
        "9e2147483647",
        "100000000",
        "99999999.991",
        "99999999.995",
        "100000000.00",
        "1.0e8",
        "0.1e9",
        "1e28",
        "79228162514264337593543950335",
        "79228162514264337593543950336",
        "18446744073709551616",
        &thirty_digits,
        &many_digits,
        // Too precise.
        "0.001",
        "1e-3",
        "10.005",
        "1.999",
        "5e-324",
        "1e-28",
        "1e-29",
        "1e-999999999",
        "1e-4294967297",
        &long_fraction,
        "0.009999999999999999999999999999999",
        // Nothing, and less.
        "0",
        "-0",
        "0.00",
        "-0.0",
        "0e0",
        "-0e5",
        "0e999",
        "0e-999",
        "0e99999999999",
        "-1",
        "-0.01",
        "-1e300",
        "-1e-300",
        // No numbers.
        "\"5\"",
        "\"1e300\"",
        "\"NaN\"",
        "\"Infinity\"",
        "\"\"",
        "\"٥\"",
        "null",
        "true",
        "[5]",
        "{\"a\":5}",
    ];
    for amount in amounts {
        let body = format!("{{\"amount\":{amount}}}");
        let answer = world.request(reqwest::Method::POST, "/balance").body(&body).by(&person).send().await;
        let shown: String = amount.chars().take(40).collect();
        assert_eq!((answer.status.as_u16(), &answer.json["error"]), (400, &json!("invalid_request")), "{shown}");
    }
    // What is no JSON at all.
    for amount in ["+1", "01", ".5", "5.", "1e", "0x10", "1_000", "1,5", "NaN", "Infinity", "-", "--1", "५"] {
        let body = format!("{{\"amount\":{amount}}}");
        let answer = world.request(reqwest::Method::POST, "/balance").body(&body).by(&person).send().await;
        answer.assert_problem(400, "malformed_json");
    }
    assert_eq!(world.everything().await, before);
    // However an amount is written, it is the same one.
    for (amount, balance) in [("1.0000000000000000000000000", "6.00"), ("10e-1", "7.00"), ("0.001e3", "8.00")] {
        let body = format!("{{\"amount\":{amount}}}");
        let answer = world.request(reqwest::Method::POST, "/balance").body(&body).by(&person).send().await;
        assert_eq!((answer.status.as_u16(), answer.text), (200, format!("{{\"balance\":{balance}}}")), "{amount}");
    }
    world.assert_invariants().await;
}

#[tokio::test]
async fn charges_at_once_are_all_counted() {
    let world = world().await;
    let person = world.user("0").await;
    let body = json!({ "amount": 1.01 });
    let many = (0..40).map(|_| world.post("/balance", &body).by(&person).send());
    let answers = futures_util::future::join_all(many).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.get("/balance").by(&person).send().await.text, "{\"balance\":40.40}");
    world.assert_invariants().await;
}

#[tokio::test]
async fn the_ledger_is_read_page_by_page_newest_first() {
    let world = world().await;
    let concert = world.concert(1, "2.50").await;
    let (person, stranger) = (world.user("0").await, world.user("7").await);
    for amount in 1..=4 {
        world.post("/balance", &json!({ "amount": amount })).by(&person).send().await;
    }
    let reservation = world.hold(&person, &concert, 0).await;
    world.post("/payment", &json!({ "reservationId": reservation })).by(&person).send().await;
    let (mut seen, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
    let mut pages = 0;
    loop {
        let path =
            cursor.map_or("/balance/entries?limit=2".to_owned(), |c| format!("/balance/entries?limit=2&cursor={c}"));
        let page = world.get(&path).by(&person).send().await;
        assert_eq!(page.status, 200, "{}", page.text);
        seen.extend(page.json["data"].as_array().unwrap().clone());
        pages += 1;
        cursor = page.json["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
    let amounts: Vec<f64> = seen.iter().map(|entry| entry["amount"].as_f64().unwrap()).collect();
    assert_eq!(amounts, [-2.5, 4.0, 3.0, 2.0, 1.0]);
    assert_eq!((&seen[0]["kind"], &seen[0]["reservationId"]), (&json!("payment"), &json!(reservation)));
    assert_eq!((&seen[1]["kind"], seen[1].get("reservationId")), (&json!("charge"), None));
    assert!(seen[0]["entryId"].is_string());
    let raw = world.get("/balance/entries?limit=1").by(&person).send().await.text;
    assert!(raw.contains("\"amount\":-2.50,"), "{raw}");
    let others = world.get("/balance/entries").by(&stranger).send().await;
    assert_eq!(others.json["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_ledger_can_only_grow_and_only_in_balance() {
    let world = world().await;
    let person = world.user("10").await;
    for forbidden in [
        "UPDATE ledger_entries SET amount = 1",
        "DELETE FROM ledger_entries",
        "DELETE FROM ledger_entries WHERE false",
        "TRUNCATE ledger_entries",
    ] {
        let error = sqlx::raw_sql(sqlx::AssertSqlSafe(forbidden)).execute(&world.pool).await.unwrap_err();
        let constraint = error.as_database_error().and_then(|e| e.constraint()).map(str::to_owned);
        assert_eq!(constraint.as_deref(), Some("ledger_entries_append_only"), "{forbidden}: {error}");
    }
    // Half a transfer gets as far as the commit.
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind) VALUES (gen_random_uuid(), 'user', $1, 5, 'charge')")
        .bind(person.id.as_uuid()).execute(&mut *transaction).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    let constraint = error.as_database_error().and_then(|e| e.constraint()).map(str::to_owned);
    assert_eq!(constraint.as_deref(), Some("ledger_entries_transfer_balances"), "{error}");
    assert_eq!(world.sql("SELECT count(*) FROM ledger_entries").await, "2");
}

/// Something that people do with money.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Charge { person: usize, cents: u32 },
    Pay { person: usize, seats: usize },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (0..3_usize, 1..20_000_u32).prop_map(|(person, cents)| Deed::Charge { person, cents }),
        (0..3_usize, 1..3_usize).prop_map(|(person, seats)| Deed::Pay { person, seats }),
    ];
    proptest::collection::vec(deed, 1..25)
}

/// Does all of it at once; what each answer says was added to a balance, in cents.
async fn act(world: &World, deeds: &[Deed]) -> [i64; 3] {
    let concert = world.concert(60, "33.33").await;
    let mut people = Vec::new();
    for _ in 0..3 {
        people.push(world.user("0").await);
    }
    let mut next_seat = 0;
    let mut requests = Vec::new();
    for deed in deeds {
        match *deed {
            Deed::Charge { person, cents } => {
                let body = format!("{{\"amount\":{}.{:02}}}", cents / 100, cents % 100);
                requests.push((person, world.request(reqwest::Method::POST, "/balance").body(&body), i64::from(cents)));
            }
            Deed::Pay { person, seats } => {
                // Straight into the database, since it is money that is tried here, not the limit per user.
                let (first, last) = (next_seat, next_seat + seats);
                next_seat = last;
                let ids: Vec<uuid::Uuid> = (first..last).map(|_| uuid::Uuid::now_v7()).collect();
                for (id, seat) in ids.iter().zip(&concert.seats[first..last]) {
                    world.execute(&format!("INSERT INTO reservations (id, user_id, concert_id, seat_id, amount, payment_deadline) VALUES ('{id}', '{}', '{}', '{seat}', 33.33, now_utc() + interval '5 minutes'); UPDATE seats SET status = 'reserved_temp' WHERE id = '{seat}'", people[person].id, concert.id)).await;
                }
                let request = world.post("/payment", &json!({ "reservationIds": ids }));
                requests.push((person, request, -3_333 * i64::try_from(seats).unwrap()));
            }
        }
    }
    let sent = requests.into_iter().map(|(person, request, cents)| {
        let request = request.by(&people[person]);
        async move { (person, request.send().await, cents) }
    });
    let mut balances = [0_i64; 3];
    for (person, answer, cents) in futures_util::future::join_all(sent).await {
        match answer.status.as_u16() {
            200 => balances[person] += cents,
            _ => answer.assert_problem(400, "insufficient_balance"),
        }
    }
    for (person, cents) in people.iter().zip(balances) {
        let balance = world.get("/balance").by(person).send().await.text;
        assert_eq!(balance, format!("{{\"balance\":{}.{:02}}}", cents / 100, cents % 100));
    }
    balances
}

#[test]
fn money_is_conserved_whatever_is_done_at_once() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let world = Arc::new(runtime.block_on(world()));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 12,
        // Shrinking repeats dozens of runs; a failure tells its deeds as it is.
        max_shrink_iters: 20,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(&deeds(), |deeds| {
        runtime.block_on(async {
            act(&world, &deeds).await;
            world.assert_invariants().await;
        });
        Ok(())
    });
    runtime.block_on(async { drop(world) });
    outcome.unwrap();
}
