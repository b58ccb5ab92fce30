//! Delivering: signed, in order, by any number of processes.

use std::collections::HashSet;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use core_api::store::postgres::Db;
use serde_json::json;

use crate::support::{World, eventually};
use crate::webhook_receiver::{Letter, Receiver, Reply, all_delivered, local_world, subscribe};

/// The verification of docs/WEBHOOKS.md, with Python's own HMAC; skipped where there is no Python.
fn verify_with_python(secret: &str, letter: &Letter) -> Option<bool> {
    const SCRIPT: &str = r"
import base64, hashlib, hmac, sys
secret, id, timestamp, signatures, body = sys.argv[1:6]
key = base64.b64decode(secret.removeprefix('whsec_'))
message = f'{id}.{timestamp}.{body}'.encode()
expected = base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
sys.exit(0 if any(hmac.compare_digest(f'v1,{expected}', one) for one in signatures.split(' ')) else 3)
";
    let arguments = [secret, &letter.id, &letter.timestamp, &letter.signature, &letter.text];
    let status = Command::new("python3").arg("-c").arg(SCRIPT).args(arguments).stdin(Stdio::null()).status();
    match status.map(|status| status.code()) {
        Ok(Some(0)) => Some(true),
        Ok(Some(3)) => Some(false),
        other => {
            eprintln!("skipped: python3 can't be run here ({other:?})");
            None
        }
    }
}

#[tokio::test]
async fn a_delivery_is_signed_so_that_others_can_verify_it() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    let begun = chrono::Utc::now().timestamp();
    let (id, old) = subscribe(&world, &admin, &receiver.url, Some(&["reservation.held"])).await;
    let concert = world.concert(2, "10").await;
    let person = world.user("0").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let letter = receiver.wait_for(1).await.remove(0);
    assert_eq!((letter.kind(), letter.is_of(reservation)), ("reservation.held", true));
    assert!(letter.json["createdAt"].as_str().unwrap().ends_with('Z'));
    assert!(letter.text.contains("\"amount\": 10.00"), "money keeps its decimals: {}", letter.text);
    let signed_at: i64 = letter.timestamp.parse().unwrap();
    assert!((begun..=chrono::Utc::now().timestamp()).contains(&signed_at), "{signed_at}");
    assert_ne!(verify_with_python(&old, &letter), Some(false));
    let forged = Letter { text: letter.text.replace("10.00", "99.00"), ..letter.clone() };
    assert_ne!(verify_with_python(&old, &forged), Some(true));

    // While a new secret is being put in place either of both will do.
    let rotated = world.post(&format!("/admin/webhooks/{id}/rotate-secret"), &json!({})).by(&admin).send().await;
    let new = rotated.json["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, old);
    assert!(rotated.json["previousSecretUntil"].is_string(), "{}", rotated.text);
    world.hold(&person, &concert, 1).await;
    let letter = receiver.wait_for(2).await.remove(1);
    assert_eq!(letter.signature.split(' ').count(), 2);
    assert_ne!(verify_with_python(&old, &letter), Some(false));
    assert_ne!(verify_with_python(&new, &letter), Some(false));
    // A day later only the new one. What is still unsettled by then would be sent again.
    all_delivered(&world).await;
    world.shift_database_clock("25 hours").await;
    world.execute(&format!("UPDATE seats SET status = 'available' WHERE concert_id = '{}'", concert.id)).await;
    let third = world.concert(1, "10").await;
    world.hold(&person, &third, 0).await;
    let letter = receiver.wait_for(3).await.remove(2);
    assert_eq!(verify_with_python(&new, &letter).unwrap_or(true), letter.signature.split(' ').count() == 1);
    assert_ne!(verify_with_python(&old, &letter), Some(true));
}

/// Changes so many seats at once: an event each, each with a key of its own.
async fn sell(world: &World, seats: i32) {
    let concert = world.concert(seats, "10").await;
    world.execute(&format!("UPDATE seats SET status = 'reserved_final' WHERE concert_id = '{}'", concert.id)).await;
}

#[tokio::test]
async fn two_processes_deliver_side_by_side_and_nothing_twice() {
    let world = local_world().await;
    world.start_another().await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    let other = Receiver::content().await;
    subscribe(&world, &admin, &receiver.url, None).await;
    subscribe(&world, &admin, &other.url, Some(&["seat.sold"])).await;
    sell(&world, 150).await;
    all_delivered(&world).await;
    for receiver in [receiver, other] {
        let letters = receiver.letters();
        let ids: HashSet<_> = letters.iter().map(|letter| &letter.id).collect();
        assert_eq!((ids.len(), letters.len()), (150, 150));
    }
}

#[tokio::test]
async fn who_is_slow_keeps_nobody_else_waiting() {
    let world = local_world().await;
    let (admin, quick) = (world.administrator().await, Receiver::content().await);
    let slow = Receiver::start(|_| Reply::Silence).await;
    subscribe(&world, &admin, &slow.url, None).await;
    subscribe(&world, &admin, &quick.url, None).await;
    sell(&world, 50).await;
    // As many as one process delivers at once to one.
    slow.wait_for(16).await;
    sell(&world, 50).await;
    quick.wait_for(100).await;
    assert_eq!(slow.letters().len(), 16);
}

#[tokio::test]
async fn what_a_process_that_died_was_delivering_another_delivers() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::start(|_| Reply::Silence).await);
    subscribe(&world, &admin, &receiver.url, None).await;
    sell(&world, 1).await;
    receiver.wait_for(1).await;
    world.stop();
    receiver.answer(|_| Reply::Status(200));
    world.start_another().await;
    // The lease of the one that died is not over.
    assert_eq!(receiver.letters().len(), 1);
    world.shift_database_clock("31 seconds").await;
    let letters = receiver.wait_for(2).await;
    assert_eq!(letters[0].id, letters[1].id);
    all_delivered(&world).await;
}

#[tokio::test]
async fn whoever_lost_his_lease_settles_nothing() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::start(|_| Reply::Silence).await);
    subscribe(&world, &admin, &receiver.url, None).await;
    sell(&world, 1).await;
    receiver.wait_for(1).await;
    // As if another had claimed it meanwhile: what the first one then says is of no account.
    world.execute("UPDATE webhook_deliveries SET attempts = attempts + 1").await;
    world.stop();
    let db = Db::new(&world.database_url, 1).unwrap();
    world.shift_database_clock("31 seconds").await;
    let late = db.claim_deliveries(&std::collections::HashMap::new(), 16, std::time::Duration::from_secs(30)).await;
    let mut late = late.unwrap().remove(0);
    assert_eq!(late.attempt, 3);
    late.attempt = 1;
    db.delivery_done(&late).await.unwrap();
    db.bury_delivery(&late, core_api::domain::webhook_delivery::Outcome::TimedOut).await.unwrap();
    assert_eq!(world.sql("SELECT string_agg(attempts::text, ' ') FROM webhook_deliveries").await, "3");
    late.attempt = 3;
    db.delivery_done(&late).await.unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM webhook_deliveries").await, "0");
}

#[tokio::test]
async fn events_of_one_reservation_come_in_order_even_after_a_failure() {
    let world = local_world().await;
    let admin = world.administrator().await;
    let working = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&working);
    // Refuses the first event of every reservation until it works.
    let receiver = Receiver::start(move |letter| {
        let refused = letter.kind() == "reservation.held" && !works.load(Ordering::SeqCst);
        Reply::Status(if refused { 503 } else { 200 })
    })
    .await;
    let wanted =
        ["reservation.held", "reservation.extended", "reservation.completed", "payment.succeeded", "seat.sold"];
    subscribe(&world, &admin, &receiver.url, Some(&wanted)).await;
    let concert = world.concert(1, "10").await;
    let person = world.user("10").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let extend = format!("/reservation/{reservation}/extend");
    assert_eq!(world.post(&extend, &json!({})).by(&person).send().await.status, 200);
    assert_eq!(world.post("/payment", &json!({ "reservationId": reservation })).by(&person).send().await.status, 200);
    // The seat's event has a key of its own and is not held up.
    eventually("the seat's event", async || {
        receiver.letters().iter().any(|letter| letter.kind() == "seat.sold").then_some(())
    })
    .await;
    eventually("a failure", async || {
        let failed = "SELECT count(*) FROM webhook_deliveries WHERE last_status = 503 AND last_outcome = 'refused'";
        (world.sql(failed).await == "1").then_some(())
    })
    .await;
    let early: Vec<_> = receiver.letters().iter().filter(|letter| letter.is_of(reservation)).cloned().collect();
    assert!(early.iter().all(|letter| letter.kind() == "reservation.held"), "{early:?}");
    // The receiver has the seat's event before core-api knows that it has it.
    eventually("only the reservation's four are left", async || {
        (world.sql("SELECT count(*) FROM webhook_deliveries").await == "4").then_some(())
    })
    .await;

    working.store(true, Ordering::SeqCst);
    world.shift_database_clock("1 hour").await;
    all_delivered(&world).await;
    let letters: Vec<_> = receiver.letters().into_iter().filter(|letter| letter.is_of(reservation)).collect();
    let arrived: Vec<_> = letters.iter().map(Letter::sequence).collect();
    assert!(arrived.is_sorted(), "{arrived:?}");
    assert_ne!(letters.last().unwrap().kind(), "reservation.held");
    assert_eq!(arrived.iter().collect::<HashSet<_>>().len(), 4);
}
