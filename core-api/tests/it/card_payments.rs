//! Paying by card, as far as a request goes.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use crate::card::{PATIENT, by_card, card_world, card_world_with};
use crate::support::{eventually, world};

#[tokio::test]
async fn a_card_pays_and_the_balance_is_left_alone() {
    let world = card_world().await;
    let concert = world.concert(1, "60.50").await;
    let person = world.user("7").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let answer = world.pay(&person, reservation, "tok_ok").await;
    let payment = answer.uuid("paymentId");
    let expected = format!(
        "{{\"paymentId\":\"{payment}\",\"reservationId\":\"{reservation}\",\"status\":\"success\",\"amount\":60.50,\"balance\":7.00}}"
    );
    assert_eq!((answer.status.as_u16(), answer.text), (200, expected));
    let ledger = "SELECT string_agg(concat_ws(' ', account, kind, amount), ', ' ORDER BY id) FROM ledger_entries WHERE reservation_id IS NOT NULL";
    assert_eq!(world.sql(ledger).await, "provider payment -60.50, sales payment 60.50");
    assert_eq!(world.get("/balance").by(&person).send().await.text, "{\"balance\":7.00}");
    let told = world.told(&person, payment).await;
    assert_eq!((&told["status"], &told["paymentMethod"]), (&json!("success"), &json!("card")));
    let seats = world.get(&format!("/concerts/{}/seats", concert.id)).send().await;
    assert_eq!(seats.json[0]["status"], "sold");
    assert_eq!(world.lock(&concert, 0).await, None);
    assert_eq!((world.state().await, world.kept()), ("captured".to_owned(), "60.50".to_owned()));
    world.pay(&person, reservation, "tok_ok").await.assert_problem(409, "already_paid");
    assert!(!world.sql("SELECT string_agg(p::text, '') FROM provider_payments p").await.contains("tok_"), "never kept");
    world.assert_books().await;
}

#[tokio::test]
async fn a_card_that_is_declined_leaves_the_hold_for_another_try() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    let body = by_card(reservation, "tok_declined");
    let declined = world.post("/payment", &body).by(&person).key("k").send().await;
    declined.assert_problem(402, "payment_declined");
    assert!(declined.json["message"].as_str().unwrap().contains("승인"));
    let again = world.post("/payment", &body).by(&person).key("k").send().await;
    assert_eq!((again.header("idempotency-replayed"), &again.bytes), (Some("true"), &declined.bytes));
    assert_eq!(world.sql("SELECT count(*) FROM provider_payments").await, "1", "a repeat asks nobody");
    let held = world.get(&format!("/reservation/{reservation}")).by(&person).send().await;
    assert_eq!(held.json["status"], "pending");
    assert!(world.lock(&concert, 0).await.is_some());
    assert_eq!(world.failed_payments(&concert).await, "1", "operators see it, and a repeat is none");
    assert_eq!(world.pay(&person, reservation, "tok_ok").await.status, 200);
    assert_eq!(world.failed_payments(&concert).await, "1");
    assert_eq!(world.state().await, "declined captured");
    let list = world.get("/payment").by(&person).send().await;
    assert_eq!([&list.json["data"][0]["status"], &list.json["data"][1]["status"]], ["success", "failed"]);
    world.assert_books().await;
}

#[tokio::test]
async fn several_are_paid_for_together_or_not_at_all() {
    let world = card_world().await;
    let concert = world.concert(3, "12.25").await;
    let (person, first) = world.holder(&concert, 0).await;
    let second = world.hold(&person, &concert, 1).await;
    let (_, of_another) = world.holder(&concert, 2).await;
    let body = |ids: [Uuid; 2]| json!({ "reservationIds": ids, "paymentMethod": "card", "paymentToken": "tok_ok" });
    let before = world.everything().await;
    world.post("/payment", &body([first, of_another])).by(&person).send().await.assert_problem(404, "not_found");
    world.post("/payment", &body([first, Uuid::now_v7()])).by(&person).send().await.assert_problem(404, "not_found");
    assert_eq!(world.everything().await, before);
    assert_eq!(world.sql("SELECT count(*) FROM provider_payments").await, "0", "the provider is asked of nothing");
    let paid = world.post("/payment", &body([second, first])).by(&person).send().await;
    assert_eq!((paid.status.as_u16(), &paid.json["amount"]), (200, &json!(24.5)), "{}", paid.text);
    let told: Vec<_> = paid.json["payments"].as_array().unwrap().iter().map(|one| &one["reservationId"]).collect();
    assert_eq!(told, [&json!(second), &json!(first)], "in the order they were asked for");
    assert_eq!(world.kept(), "24.50");
    world.assert_books().await;
}

#[tokio::test]
async fn a_repeat_under_the_same_key_pays_once() {
    let world = card_world().await;
    let concert = world.concert(2, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    let other = world.hold(&person, &concert, 1).await;
    let body = by_card(reservation, "tok_ok");
    let first = world.post("/payment", &body).by(&person).key("k").send().await;
    assert_eq!(first.status, 200, "{}", first.text);
    let again = world.post("/payment", &body).by(&person).key("k").send().await;
    assert_eq!((again.header("idempotency-replayed"), &again.bytes), (Some("true"), &first.bytes));
    let reused = world.post("/payment", &by_card(other, "tok_ok")).by(&person).key("k").send().await;
    reused.assert_problem(422, "idempotency_key_reused");
    assert_eq!(world.kept(), "10.00");
    // A process died before it could keep the answer: the next try finds the attempt, and asks for nothing.
    world
        .execute(
            "UPDATE idempotency_keys SET state = 'in_progress', response_status = NULL, response_body = NULL,
             locked_until = now_utc() - interval '1 second'",
        )
        .await;
    let found = world.post("/payment", &body).by(&person).key("k").send().await;
    assert_eq!((found.status.as_u16(), &found.json["paymentId"]), (200, &first.json["paymentId"]), "{}", found.text);
    assert_eq!(world.state().await, "captured");
    world.assert_books().await;
}

#[tokio::test]
async fn without_a_provider_only_the_balance_pays() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("10").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let before = world.everything().await;
    for method in ["card", "bank", "BALANCE", ""] {
        let body = json!({ "reservationId": reservation, "paymentMethod": method, "paymentToken": "tok_ok" });
        let refused = world.post("/payment", &body).by(&person).send().await;
        refused.assert_problem(400, "payment_method_unavailable");
    }
    world.post("/webhooks/payments/sandbox", &json!({})).send().await.assert_problem(404, "not_found");
    assert_eq!(world.everything().await, before);
    assert_eq!(world.post("/payment", &json!({ "reservationId": reservation })).by(&person).send().await.status, 200);
}

#[tokio::test]
async fn what_is_no_payment_by_card_is_refused() {
    let world = card_world().await;
    let concert = world.concert(2, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    for token in [json!(null), json!(""), json!("a b"), json!("키"), json!("t".repeat(256)), json!(7)] {
        let body = json!({ "reservationId": reservation, "paymentMethod": "card", "paymentToken": token });
        world.post("/payment", &body).by(&person).send().await.assert_problem(400, "invalid_request");
    }
    let body = json!({ "reservationId": reservation, "paymentMethod": "bank" });
    world.post("/payment", &body).by(&person).send().await.assert_problem(400, "payment_method_unavailable");
    let body = by_card(reservation, "tok_ok");
    world.post("/payment", &body).send().await.assert_problem(401, "unauthenticated");
    let stranger = world.user("0").await;
    world.post("/payment", &body).by(&stranger).send().await.assert_problem(404, "not_found");
    assert_eq!(world.sql("SELECT count(*) FROM provider_payments").await, "0");
    world.execute(&format!("UPDATE reservations SET payment_deadline = now_utc() WHERE id = '{reservation}'")).await;
    world.pay(&person, reservation, "tok_ok").await.assert_problem(410, "reservation_expired");
    assert_eq!(world.kept(), "0.00");
}

#[tokio::test]
async fn what_costs_nothing_needs_no_provider() {
    let world = card_world().await;
    let concert = world.concert(1, "0").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    let paid = world.pay(&person, reservation, "tok_declined").await;
    assert_eq!((paid.status.as_u16(), &paid.json["status"]), (200, &json!("success")), "{}", paid.text);
    assert_eq!(world.sql("SELECT count(*) FROM provider_payments").await, "0");
    world.assert_books().await;
}

#[tokio::test]
async fn two_payments_at_once_take_money_once() {
    let world = card_world_with(PATIENT.to_vec()).await;
    let other = world.start_another().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    let body = by_card(reservation, "tok_delay_300");
    let addresses = [world.address, other, world.address, other];
    let tries = addresses.map(|address| world.post_to(address, "/payment", &body).by(&person).send());
    let answers = futures_util::future::join_all(tries).await;
    let paid = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(paid, 1, "{answers:?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert!(
            ["payment_in_progress", "already_paid"].contains(&answer.json["error"].as_str().unwrap()),
            "{answer:?}"
        );
    }
    assert_eq!(world.kept(), "10.00");
    world.assert_books().await;
}

#[tokio::test]
async fn while_a_card_is_asked_the_hold_waits_and_nothing_else_pays() {
    let world = card_world_with(PATIENT.to_vec()).await;
    let concert = world.concert(1, "10").await;
    let person = world.user("10").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let (paid, ()) = tokio::join!(world.pay(&person, reservation, "tok_delay_1500"), async {
        eventually("it is asked", async || (world.state().await == "created").then_some(())).await;
        let from_balance = world.post("/payment", &json!({ "reservationId": reservation })).by(&person).send().await;
        from_balance.assert_problem(409, "payment_in_progress");
        world.pay(&person, reservation, "tok_ok").await.assert_problem(409, "payment_in_progress");
        // Its deadline comes and goes, the sweeper comes by, and the hold is still there.
        world.execute("UPDATE reservations SET payment_deadline = now_utc() - interval '1 millisecond'").await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(world.sql("SELECT status FROM reservations").await, "pending");
        world.pay(&person, reservation, "tok_ok").await.assert_problem(409, "payment_in_progress");
    });
    assert_eq!(paid.status, 200, "{}", paid.text);
    assert_eq!(world.get("/balance").by(&person).send().await.text, "{\"balance\":10.00}");
    world.assert_books().await;
}

#[tokio::test]
async fn a_decline_after_the_deadline_ends_the_hold_at_once() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    world.execute("UPDATE reservations SET payment_deadline = now_utc() + interval '300 milliseconds'").await;
    // A decline that comes late: the decision is the sandbox's, the delay the table's.
    world
        .execute(
            "CREATE FUNCTION nap() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.6); RETURN NEW; END $$;
             CREATE TRIGGER slow BEFORE UPDATE ON provider_payments FOR EACH ROW EXECUTE FUNCTION nap()",
        )
        .await;
    world.pay(&person, reservation, "tok_declined").await.assert_problem(402, "payment_declined");
    eventually("the seat is free", async || (world.sql("SELECT status FROM seats").await == "available").then_some(()))
        .await;
    eventually("its lock is gone", async || world.lock(&concert, 0).await.is_none().then_some(())).await;
    world.assert_books().await;
}

#[tokio::test]
async fn who_gives_the_seat_back_while_the_card_is_asked_pays_nothing() {
    let world = card_world_with(PATIENT.to_vec()).await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    let (paid, ()) = tokio::join!(world.pay(&person, reservation, "tok_delay_1500"), async {
        eventually("it is asked", async || (world.state().await == "created").then_some(())).await;
        assert_eq!(world.delete(&format!("/reservation/{reservation}")).by(&person).send().await.status, 200);
        // Somebody else has it before the provider answers.
        let (second, theirs) = world.holder(&concert, 0).await;
        assert_eq!(world.pay(&second, theirs, "tok_ok").await.status, 200);
    });
    paid.assert_problem(410, "reservation_expired");
    world.settled().await;
    assert_eq!((world.state().await, world.kept()), ("voided captured".to_owned(), "10.00".to_owned()));
    world.assert_books().await;
}

#[tokio::test]
async fn money_that_can_not_be_captured_buys_nothing() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    world.pay(&person, reservation, "tok_capture_fails").await.assert_problem(402, "payment_declined");
    let canceled = world.get(&format!("/reservation/{reservation}")).by(&person).send().await;
    assert_eq!(canceled.json["status"], "canceled");
    world.settled().await;
    assert_eq!(world.kept(), "0.00");
    world.assert_books().await;
    let (second, theirs) = world.holder(&concert, 0).await;
    assert_eq!(world.pay(&second, theirs, "tok_ok").await.status, 200, "the seat is sold to somebody else");
    world.assert_books().await;
}
