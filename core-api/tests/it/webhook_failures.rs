//! What becomes of events that can't be delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use core_api::store::postgres::Db;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Options, Person, World, eventually, world_with};
use crate::webhook_receiver::{LOCAL, Receiver, Reply, all_delivered, local_world, subscribe};

/// One seat, sold: an event.
async fn sell_one(world: &World) -> Uuid {
    let concert = world.concert(1, "10").await;
    let seat = concert.seats[0];
    world.execute(&format!("UPDATE seats SET status = 'reserved_final' WHERE id = '{seat}'")).await;
    seat
}

/// What came of the last attempt at the only delivery that there is, once there was one.
async fn outcome(world: &World) -> String {
    eventually("an outcome", async || {
        let last = "SELECT max(concat_ws(' ', last_outcome, last_status)) FROM webhook_deliveries";
        Some(world.sql(last).await).filter(|last| !last.is_empty() && last != "NULL")
    })
    .await
}

async fn dead_letters(world: &World, admin: &Person, webhook: Uuid, query: &str) -> Value {
    let path = format!("/admin/webhooks/{webhook}/dead-letters{query}");
    let answer = world.get(&path).by(admin).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

#[tokio::test]
async fn who_fails_three_times_is_tried_a_fourth_time() {
    let world = local_world().await;
    let admin = world.administrator().await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let receiver =
        Receiver::start(move |_| Reply::Status(if counted.fetch_add(1, Ordering::SeqCst) < 3 { 500 } else { 200 }))
            .await;
    subscribe(&world, &admin, &receiver.url, None).await;
    sell_one(&world).await;
    for attempt in 1..=3 {
        let noted = format!(
            "SELECT count(*) FROM webhook_deliveries WHERE attempts = {attempt} AND last_status = 500 AND next_attempt_at > now_utc()"
        );
        eventually("the failure is noted", async || (world.sql(&noted).await == "1").then_some(())).await;
        assert_eq!(receiver.letters().len(), attempt, "it is not tried before its time");
        // A try counts from its beginning, its failure is noted at its end.
        world.execute("UPDATE webhook_deliveries SET last_status = NULL").await;
        world.shift_database_clock(&format!("{attempt} hours")).await;
    }
    all_delivered(&world).await;
    let letters = receiver.letters();
    assert_eq!(letters.len(), 4);
    assert!(letters.iter().all(|letter| letter.id == letters[0].id && letter.text == letters[0].text));
    assert_eq!(world.sql("SELECT count(*) FROM webhook_dead_letters").await, "0");
}

#[tokio::test]
async fn what_can_not_be_delivered_becomes_a_dead_letter_that_can_be_tried_again() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::start(|_| Reply::Status(500)).await);
    let (webhook, _) = subscribe(&world, &admin, &receiver.url, None).await;
    let seat = sell_one(&world).await;
    assert_eq!(outcome(&world).await, "refused 500");
    // A later event of the same seat waits for it, and goes once it is given up.
    world.execute(&format!("UPDATE seats SET status = 'available' WHERE id = '{seat}'")).await;
    receiver.answer(|letter| Reply::Status(if letter.kind() == "seat.sold" { 500 } else { 200 }));
    assert_eq!(dead_letters(&world, &admin, webhook, "").await, json!({ "data": [], "nextCursor": null }));
    world.shift_database_clock("25 hours").await;
    all_delivered(&world).await;
    assert_eq!(receiver.letters().last().unwrap().kind(), "seat.available");

    let page = dead_letters(&world, &admin, webhook, "?limit=1").await;
    let letter = &page["data"][0];
    let event = receiver.letters()[0].id.clone();
    assert_eq!((&letter["eventId"], &letter["type"]), (&json!(event), &json!("seat.sold")));
    let last = (&letter["lastOutcome"], &letter["lastStatus"], &letter["attempts"]);
    assert_eq!(last, (&json!("refused"), &json!(500), &json!(2)));
    assert_eq!(page["nextCursor"], Value::Null);

    receiver.answer(|_| Reply::Status(200));
    let retry = format!("/admin/webhooks/{webhook}/dead-letters/{event}/retry");
    let answer = world.post(&retry, &json!({})).by(&admin).send().await;
    assert_eq!(answer.json, json!({ "webhookId": webhook, "eventId": event, "status": "pending" }));
    eventually("it is there", async || {
        let letters = receiver.letters();
        letters.last().is_some_and(|letter| letter.id == event).then_some(())
    })
    .await;
    all_delivered(&world).await;
    assert_eq!(dead_letters(&world, &admin, webhook, "").await["data"], json!([]));
    world.post(&retry, &json!({})).by(&admin).send().await.assert_problem(404, "not_found");
    let changes = world.get(&format!("/admin/webhooks/{webhook}/changes")).by(&admin).send().await;
    assert_eq!(
        (&changes.json["data"][0]["action"], &changes.json["data"][0]["after"]),
        (&json!("retry"), &json!({ "eventId": event }))
    );
}

#[tokio::test]
async fn dead_letters_are_read_page_by_page() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::start(|_| Reply::Status(500)).await);
    let (webhook, _) = subscribe(&world, &admin, &receiver.url, None).await;
    for _ in 0..3 {
        sell_one(&world).await;
    }
    receiver.wait_for(3).await;
    world.shift_database_clock("25 hours").await;
    all_delivered(&world).await;
    let first = dead_letters(&world, &admin, webhook, "?limit=2").await;
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = dead_letters(&world, &admin, webhook, &format!("?limit=2&cursor={cursor}")).await;
    let sequences: Vec<i64> = [&first, &second]
        .iter()
        .flat_map(|page| page["data"].as_array().unwrap())
        .map(|letter| letter["sequence"].as_i64().unwrap())
        .collect();
    assert!(sequences.len() == 3 && sequences.is_sorted_by(|one, next| one > next), "{sequences:?}");
    assert_eq!(second["nextCursor"], Value::Null);
}

#[tokio::test]
async fn who_is_gone_is_left_alone_until_resumed() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::start(|_| Reply::Status(410)).await);
    let (webhook, _) = subscribe(&world, &admin, &receiver.url, None).await;
    sell_one(&world).await;
    let paused = eventually("it is paused", async || {
        let list = world.get("/admin/webhooks").by(&admin).send().await.json;
        Some(list["data"][0].clone()).filter(|webhook| webhook["status"] == "paused")
    })
    .await;
    assert!(paused["pausedAt"].is_string(), "{paused}");
    // What happens meanwhile is not kept for it.
    sell_one(&world).await;
    assert_eq!(world.sql("SELECT count(*) FROM outbox").await, "1");
    assert_eq!(receiver.letters().len(), 1);

    receiver.answer(|_| Reply::Status(200));
    let resume = format!("/admin/webhooks/{webhook}/resume");
    for _ in 0..2 {
        let resumed = world.post(&resume, &json!({})).by(&admin).send().await;
        assert_eq!(resumed.json["status"], "active", "{}", resumed.text);
    }
    assert_eq!(receiver.wait_for(2).await[1].id, receiver.letters()[0].id);
    all_delivered(&world).await;
    let changes = world.get(&format!("/admin/webhooks/{webhook}/changes")).by(&admin).send().await;
    let changes = changes.json["data"].as_array().unwrap();
    let actions: Vec<_> = changes.iter().map(|change| change["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["resume", "pause", "create"]);
    assert_eq!(changes[1]["changedBy"], Value::Null);
}

#[tokio::test]
async fn what_waits_for_somebody_who_stays_gone_is_given_up() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::start(|_| Reply::Status(410)).await);
    subscribe(&world, &admin, &receiver.url, None).await;
    sell_one(&world).await;
    assert_eq!(outcome(&world).await, "gone 410");
    let db = Db::new(&world.database_url, 1).unwrap();
    let day = chrono::TimeDelta::hours(24);
    assert_eq!(db.bury_paused(day, 100).await.unwrap(), 0, "not before its time");
    world.shift_database_clock("25 hours").await;
    assert_eq!(db.bury_paused(day, 100).await.unwrap(), 1);
    assert_eq!(world.sql("SELECT count(*) FROM webhook_dead_letters WHERE last_outcome = 'gone'").await, "1");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let world = local_world().await;
    let (admin, elsewhere) = (world.administrator().await, Receiver::content().await);
    let url = elsewhere.url.clone();
    let receiver = Receiver::start(move |_| Reply::RedirectTo(url.clone())).await;
    subscribe(&world, &admin, &receiver.url, None).await;
    sell_one(&world).await;
    assert_eq!(outcome(&world).await, "refused 307");
    assert!(elsewhere.letters().is_empty());
}

#[tokio::test]
async fn a_name_that_stands_for_a_private_address_gets_nothing() {
    let settings = LOCAL[..2].to_vec();
    let world = world_with(Options { settings, ..Options::default() }).await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    // A name says nothing of where it leads before it is connected to.
    subscribe(&world, &admin, &receiver.url.replace("127.0.0.1", "localhost"), None).await;
    sell_one(&world).await;
    assert_eq!(outcome(&world).await, "forbidden");
    assert!(receiver.letters().is_empty());
}

#[tokio::test]
async fn nobody_listens_or_the_key_is_lost_and_it_is_tried_again() {
    let world = local_world().await;
    let admin = world.administrator().await;
    subscribe(&world, &admin, "http://127.0.0.1:1/", None).await;
    sell_one(&world).await;
    assert_eq!(outcome(&world).await, "unreachable");
    world.execute("UPDATE webhooks SET sealed_secret = sealed_secret || '\\x00'").await;
    world.shift_database_clock("1 hour").await;
    eventually("it can't be signed", async || (outcome(&world).await == "unsealed").then_some(())).await;
}

#[tokio::test]
async fn what_is_done_with_is_cleared_away_and_nothing_else() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::start(|_| Reply::Status(500)).await);
    let (webhook, _) = subscribe(&world, &admin, &receiver.url, Some(&["seat.sold"])).await;
    sell_one(&world).await;
    let first = receiver.wait_for(1).await.remove(0).id;
    // However often the first is sent by then, only the second arrives.
    receiver.answer(move |letter| Reply::Status(if letter.id == first { 500 } else { 200 }));
    sell_one(&world).await;
    let db = Db::new(&world.database_url, 1).unwrap();
    let kept = async || {
        world.sql("SELECT concat_ws(' ', (SELECT count(*) FROM outbox), (SELECT count(*) FROM webhook_deliveries), (SELECT count(*) FROM webhook_dead_letters))").await
    };
    eventually("one is done", async || (kept().await == "2 1 0").then_some(())).await;
    assert!(!db.purge_outbox(100).await.unwrap());
    assert_eq!(kept().await, "2 1 0", "an event is kept for a day");
    // What has not arrived is kept as long as it takes.
    receiver.answer(|_| Reply::Status(500));
    world.shift_database_clock("25 hours").await;
    eventually("the other is given up", async || (kept().await.ends_with("0 1")).then_some(())).await;
    db.purge_outbox(100).await.unwrap();
    assert_eq!(kept().await, "1 0 1");
    world.shift_database_clock("32 days").await;
    db.purge_outbox(100).await.unwrap();
    db.purge_outbox(100).await.unwrap();
    assert_eq!(kept().await, "0 0 0");

    // What was in line for one that is removed goes with it.
    sell_one(&world).await;
    eventually("in line", async || (kept().await == "1 1 0").then_some(())).await;
    assert_eq!(world.delete(&format!("/admin/webhooks/{webhook}")).by(&admin).send().await.status, 200);
    let came = receiver.letters().len();
    db.purge_outbox(100).await.unwrap();
    assert_eq!(kept().await, "1 0 0");
    let backlog = db.webhook_backlog().await.unwrap();
    assert_eq!((backlog.deliveries, backlog.oldest), (0, std::time::Duration::ZERO));
    assert!(receiver.letters().len() <= came + 1);
}
