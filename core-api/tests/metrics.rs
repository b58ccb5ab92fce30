//! The figures that a core-api tells. Apart from the other tests: a process has one recorder, and this one counts.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::float_cmp, reason = "counts are whole")]
#![allow(dead_code, reason = "not every helper is needed here")]

#[path = "it/card.rs"]
mod card;
#[path = "it/client.rs"]
mod client;
#[path = "it/support.rs"]
mod support;
#[path = "it/webhook_receiver.rs"]
mod webhook_receiver;

use common::lifecycle::Lifecycle;

use crate::support::eventually;
use crate::webhook_receiver::{Receiver, Reply, local_world, subscribe};

/// A figure's value in a scrape; 0 where it is not told.
fn figure(scrape: &str, name: &str) -> f64 {
    let value = scrape.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

#[tokio::test]
async fn how_late_a_seat_can_be_sold_again_who_watches_and_what_is_delivered_are_told() {
    let lifecycle = Lifecycle::default();
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let address = common::metrics::start(listen, core_api::METRICS, &lifecycle).await.unwrap().unwrap();
    let scrape = async || reqwest::get(format!("http://{address}/metrics")).await.unwrap().text().await.unwrap();
    let world = local_world().await;
    let concert = world.concert(2, "10").await;
    let person = world.user("0").await;
    let (late, given_back) = (world.hold(&person, &concert, 0).await, world.hold(&person, &concert, 1).await);

    let url = format!("http://{}/concerts/{}/seats/events", world.address, concert.id);
    let stream = reqwest::get(url).await.unwrap();
    let streams = "onsale_core_api_seat_streams";
    eventually("one stream", async || (figure(&scrape().await, streams) == 1.0).then_some(())).await;
    drop(stream);
    eventually("no stream", async || (figure(&scrape().await, streams) == 0.0).then_some(())).await;

    // Only what ended by its deadline is counted.
    assert_eq!(world.delete(&format!("/reservation/{given_back}")).by(&person).send().await.status, 200);
    let (count, sum) = ("onsale_core_api_time_to_resale_seconds_count", "onsale_core_api_time_to_resale_seconds_sum");
    assert_eq!(figure(&scrape().await, count), 0.0);
    // Three seconds late, as when no process was there to sweep.
    let past = "UPDATE reservations SET payment_deadline = now_utc() - interval '3 seconds'";
    world.execute(&format!("{past} WHERE id = '{late}'")).await;
    let told =
        eventually("the seat is free", async || Some(scrape().await).filter(|scrape| figure(scrape, count) == 1.0))
            .await;
    assert_eq!(world.lock(&concert, 0).await, None, "counted once the lock is gone");
    assert!((3.0..6.0).contains(&figure(&told, sum)), "{}", figure(&told, sum));
    let below =
        |bound: &str| figure(&told, &format!("onsale_core_api_time_to_resale_seconds_bucket{{le=\"{bound}\"}}"));
    assert_eq!((below("2"), below("10")), (0.0, 1.0));

    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    subscribe(&world, &admin, &receiver.url, Some(&["seat.sold"])).await;
    let sell = format!("UPDATE seats SET status = 'reserved_final' WHERE id = '{}'", concert.seats[0]);
    world.execute(&sell).await;
    let outcome = |outcome: &str| format!("onsale_core_api_webhook_deliveries_total{{outcome=\"{outcome}\"}}");
    eventually("a delivery", async || (figure(&scrape().await, &outcome("delivered")) == 1.0).then_some(())).await;
    let dead = "onsale_core_api_webhook_dead_letters_total";
    assert_eq!(figure(&scrape().await, dead), 0.0);
    // Given up at once, since it has waited for days.
    receiver.answer(|_| Reply::Status(500));
    world.shift_database_clock("-3 days").await;
    world.execute("UPDATE seats SET status = 'available'").await;
    world.execute(&sell).await;
    world.shift_database_clock("0").await;
    eventually("it is given up", async || (figure(&scrape().await, dead) == 1.0).then_some(())).await;
    assert!(figure(&scrape().await, &outcome("refused")) >= 1.0);

    payments_that_are_put_right_are_told(&scrape).await;
}

/// How long each of them was not what it should be, and what is left.
async fn payments_that_are_put_right_are_told(scrape: &impl AsyncFn() -> String) {
    let world = card::card_world().await;
    let concert = world.concert(2, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    assert_eq!(world.pay(&person, reservation, "tok_drop_capture_response").await.status, 202);
    world.settled().await;
    let (count, within) = (
        "onsale_core_api_payment_repair_seconds_count{outcome=\"captured\"}",
        "onsale_core_api_payment_repair_seconds_bucket{outcome=\"captured\",le=\"10\"}",
    );
    let told =
        eventually("the repair", async || Some(scrape().await).filter(|scrape| figure(scrape, count) == 1.0)).await;
    assert_eq!(figure(&told, within), 1.0, "within its bound");
    assert!(figure(&told, "onsale_core_api_payment_provider_errors_total") >= 1.0);
    // What can't be settled grows old.
    world.execute("UPDATE provider_payments SET state_since = now_utc() - interval '1 hour'").await;
    let (other, theirs) = world.holder(&concert, 1).await;
    assert_eq!(world.pay(&other, theirs, "tok_delay_60000").await.status, 202);
    world
        .execute("UPDATE provider_payments SET state_since = now_utc() - interval '2 minutes' WHERE state = 'created'")
        .await;
    let oldest = "onsale_core_api_oldest_unsettled_payment_seconds";
    eventually("the oldest", async || {
        let age = figure(&scrape().await, oldest);
        (120.0..300.0).contains(&age).then_some(())
    })
    .await;
}
