//! What the provider tells by itself: believed only where it is signed and of now, and of no harm however it comes.

use chrono::{DateTime, TimeDelta, Utc};
use common::clock::Clock as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::card::{CardWorld, OLD_WEBHOOK_SECRET, WEBHOOK_SECRET, card_world, keys};
use crate::client::{Answer, Request};
use crate::support::eventually;

const PATH: &str = "/webhooks/payments/sandbox";

fn message(payment: Uuid, state: &str) -> Value {
    json!({ "type": format!("payment.{state}"), "data": { "paymentId": payment, "state": state } })
}

/// A message that is signed with `secret` as sent at `at`.
fn signed(world: &CardWorld, event: &str, secret: &str, at: DateTime<Utc>, body: &Value) -> Request {
    let text = body.to_string();
    let headers = keys(secret).sign(event, at, text.as_bytes());
    headers
        .iter()
        .fold(world.post(PATH, body), |request, (name, value)| request.header(name.as_str(), value.to_str().unwrap()))
}

async fn tell(world: &CardWorld, event: &str, payment: Uuid, state: &str) -> Answer {
    let body = message(payment, state);
    signed(world, event, WEBHOOK_SECRET, world.clock.now(), &body).send().await
}

async fn events(world: &CardWorld) -> String {
    world.sql("SELECT count(*) FROM provider_events").await
}

#[tokio::test]
async fn what_is_forged_old_or_not_of_its_form_is_refused_and_noted_nowhere() {
    let world = card_world().await;
    let (now, body) = (world.clock.now(), message(Uuid::now_v7(), "captured"));
    let forged = "a-secret-that-the-provider-does-not-have";
    signed(&world, "e", forged, now, &body).send().await.assert_problem(401, "invalid_signature");
    for minutes in [-6, 6] {
        let request = signed(&world, "e", WEBHOOK_SECRET, now + TimeDelta::minutes(minutes), &body);
        request.send().await.assert_problem(401, "invalid_signature");
    }
    world.post(PATH, &body).send().await.assert_problem(401, "invalid_signature");
    // One message's signature on another.
    let mut request = world.post(PATH, &message(Uuid::now_v7(), "captured"));
    for (name, value) in keys(WEBHOOK_SECRET).sign("e", now, body.to_string().as_bytes()) {
        request = request.header(name.as_str(), value.to_str().unwrap());
    }
    request.send().await.assert_problem(401, "invalid_signature");
    for bad in [
        json!({}),
        json!({ "data": {} }),
        json!({ "data": { "paymentId": "7", "state": "captured" } }),
        message(Uuid::now_v7(), ""),
        message(Uuid::now_v7(), &"s".repeat(51)),
        message(Uuid::now_v7(), "a\nb"),
    ] {
        signed(&world, "e", WEBHOOK_SECRET, now, &bad).send().await.assert_problem(400, "invalid_request");
    }
    world.post("/webhooks/payments/other", &body).send().await.assert_problem(404, "not_found");
    world.get(PATH).send().await.assert_problem(405, "method_not_allowed");
    world.request(reqwest::Method::POST, PATH).raw(vec![]).send().await.assert_problem(415, "unsupported_media_type");
    let large = json!({ "data": "x".repeat(70_000) });
    world.post(PATH, &large).send().await.assert_problem(413, "payload_too_large");
    assert_eq!(events(&world).await, "0");
}

#[tokio::test]
async fn secrets_rotate_and_a_message_of_nothing_we_know_is_taken_once() {
    let world = card_world().await;
    let (unknown, now) = (Uuid::now_v7(), world.clock.now());
    let body = message(unknown, "captured");
    let taken = signed(&world, "e1", OLD_WEBHOOK_SECRET, now, &body).send().await;
    assert_eq!((taken.status.as_u16(), taken.text.as_str()), (200, "{\"received\":true}"));
    for _ in 0..3 {
        assert_eq!(tell(&world, "e1", unknown, "captured").await.status, 200);
    }
    assert_eq!(tell(&world, "e2", unknown, "a_state_of_later").await.status, 200);
    assert_eq!(events(&world).await, "2");
    // Played again once its time is over: the signature is not believed any more, so its id need not be known either.
    world.shift_database_clock("2 days").await;
    let purged = "DELETE FROM provider_events WHERE received_at <= (SELECT now_utc()) - interval '1 day'";
    world.execute(purged).await;
    world.clock.advance(TimeDelta::minutes(6));
    let again = signed(&world, "e1", WEBHOOK_SECRET, now, &body).send().await;
    again.assert_problem(401, "invalid_signature");
    assert_eq!(events(&world).await, "0");
}

#[tokio::test]
async fn a_message_hastens_the_look_at_what_it_is_news_to() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    let answer = world.pay(&person, reservation, "tok_delay_60000").await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id: Uuid = world.sql("SELECT id FROM provider_payments").await.parse().unwrap();
    let far =
        "UPDATE provider_payments SET next_look_at = now_utc() + interval '1 hour' WHERE next_look_at IS NOT NULL";
    let is_far = "SELECT next_look_at > now_utc() + interval '50 minutes' FROM provider_payments";
    // A look may be under way; afterwards it is far.
    eventually("far", async || {
        world.execute(far).await;
        tokio::time::sleep(std::time::Duration::from_millis(900)).await;
        (world.sql(is_far).await == "true").then_some(())
    })
    .await;
    assert_eq!(tell(&world, "e1", id, "processing").await.status, 200);
    assert_eq!(world.sql(is_far).await, "true", "no news");
    // A lie changes nothing: what is true is asked of the provider, which has not decided.
    assert_eq!(tell(&world, "e2", id, "captured").await.status, 200);
    assert_eq!(world.sql(is_far).await, "false");
    assert_eq!((world.state().await, world.kept()), ("created".to_owned(), "0.00".to_owned()));
    // Now it has.
    world.sandbox.ledger().decide(id).unwrap();
    assert_eq!(tell(&world, "e3", id, "authorised").await.status, 200);
    world.becomes(&person, answer.uuid("paymentId"), "success").await;
    world.settled().await;
    // Late, twice and backwards: nothing moves.
    let before = world.everything().await;
    for (event, state) in [("e3", "authorised"), ("e4", "declined"), ("e5", "voided"), ("e4", "declined")] {
        assert_eq!(tell(&world, event, id, state).await.status, 200);
    }
    assert_eq!((world.state().await, world.everything().await), ("captured".to_owned(), before));
    world.assert_books().await;
}

#[tokio::test]
async fn messages_that_are_lost_repeated_or_out_of_order_make_no_difference() {
    let world = card_world().await;
    let concert = world.concert(3, "10").await;
    for (seat, token) in ["tok_drop_webhook", "tok_repeat_webhook", "tok_reorder_webhook"].into_iter().enumerate() {
        let (person, reservation) = world.holder(&concert, seat).await;
        let paid = world.pay(&person, reservation, token).await;
        assert_eq!(paid.status, 200, "{token}: {}", paid.text);
    }
    // Two of the three tell both of their states, once each, however often and in what order they say it.
    eventually("the messages", async || (events(&world).await == "4").then_some(())).await;
    assert_eq!(world.sql("SELECT count(DISTINCT provider_payment_id) FROM provider_events").await, "2");
    assert_eq!(world.kept(), "30.00");
    world.assert_books().await;
}

#[tokio::test]
async fn a_state_is_never_gone_back_on_whoever_writes() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    assert_eq!(world.pay(&person, reservation, "tok_ok").await.status, 200);
    for state in ["created", "authorised", "void_due"] {
        let back = format!("UPDATE provider_payments SET state = '{state}', next_look_at = now_utc()");
        let refused = sqlx::raw_sql(sqlx::AssertSqlSafe(back)).execute(&world.pool).await.unwrap_err();
        let violated = refused.as_database_error().and_then(|error| error.constraint()).map(str::to_owned);
        assert_eq!(violated.as_deref(), Some("provider_payments_only_forward"), "{state}");
    }
}
