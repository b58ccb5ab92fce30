//! Paid and no ticket, a ticket and not paid: both are put right, whoever dies and whatever is lost.

use serde_json::json;
use uuid::Uuid;

use crate::card::{CardWorld, by_card, card_world, card_world_with};
use crate::support::{Person, eventually};

/// A payment that is answered 202; its id.
async fn pending(world: &CardWorld, person: &Person, reservation: Uuid, token: &str) -> Uuid {
    let answer = world.pay(person, reservation, token).await;
    assert_eq!((answer.status.as_u16(), &answer.json["status"]), (202, &json!("pending")), "{}", answer.text);
    answer.uuid("paymentId")
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again() {
    let world = card_world().await;
    let concert = world.concert(2, "10").await;
    for (seat, token) in ["tok_drop_response", "tok_drop_capture_response"].into_iter().enumerate() {
        let (person, reservation) = world.holder(&concert, seat).await;
        let payment = pending(&world, &person, reservation, token).await;
        world.becomes(&person, payment, "success").await;
        world.settled().await;
        let ticket = world.get(&format!("/reservation/{reservation}")).by(&person).send().await;
        assert_eq!(ticket.json["status"], "completed", "{token}");
    }
    assert_eq!(world.kept(), "20.00", "each is taken once");
    world.assert_books().await;
}

#[tokio::test]
async fn a_request_that_is_lost_leaves_the_seat_for_another_try() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    let body = by_card(reservation, "tok_drop_request");
    let first = world.post("/payment", &body).by(&person).key("k").send().await;
    assert_eq!(first.status, 202, "{}", first.text);
    world.pay(&person, reservation, "tok_ok").await.assert_problem(409, "payment_in_progress");
    world.becomes(&person, first.uuid("paymentId"), "failed").await;
    let replayed = world.post("/payment", &body).by(&person).key("k").send().await;
    assert_eq!((replayed.header("idempotency-replayed"), &replayed.bytes), (Some("true"), &first.bytes));
    assert_eq!(world.pay(&person, reservation, "tok_ok").await.status, 200);
    world.settled().await;
    assert_eq!(world.state().await, "voided captured");
    world.assert_books().await;
}

#[tokio::test]
async fn paid_and_no_ticket_is_given_free() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    // The provider has set the money aside, and its answer is lost; meanwhile the seat is given back.
    let (payment, ()) = tokio::join!(pending(&world, &person, reservation, "tok_drop_response"), async {
        let set_aside = || world.sandbox.ledger().totals().authorised == 1;
        eventually("it is authorised", async || set_aside().then_some(())).await;
        assert_eq!(world.delete(&format!("/reservation/{reservation}")).by(&person).send().await.status, 200);
    });
    world.becomes(&person, payment, "failed").await;
    world.settled().await;
    assert_eq!((world.state().await, world.kept()), ("voided".to_owned(), "0.00".to_owned()));
    world.assert_books().await;
}

#[tokio::test]
async fn dying_between_authorisation_and_commit_sells_the_seat_all_the_same() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    world
        .execute(
            "CREATE FUNCTION crash() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
             CREATE CONSTRAINT TRIGGER crash AFTER INSERT ON ledger_entries DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION crash()",
        )
        .await;
    let payment = pending(&world, &person, reservation, "tok_ok").await;
    assert_eq!((world.state().await, world.kept()), ("created".to_owned(), "0.00".to_owned()), "set aside, not taken");
    world.execute("DROP TRIGGER crash ON ledger_entries").await;
    world.becomes(&person, payment, "success").await;
    world.settled().await;
    assert_eq!(world.kept(), "10.00");
    world.assert_books().await;
}

#[tokio::test]
async fn dying_between_commit_and_capture_takes_the_money_all_the_same() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    // What captures is noted by nobody, as if whoever did it had died.
    world
        .execute(
            "CREATE FUNCTION crash() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
             CREATE TRIGGER crash BEFORE UPDATE ON provider_payments FOR EACH ROW WHEN (NEW.state = 'captured') EXECUTE FUNCTION crash()",
        )
        .await;
    let payment = pending(&world, &person, reservation, "tok_ok").await;
    let ticket = world.get(&format!("/reservation/{reservation}")).by(&person).send().await;
    assert_eq!(ticket.json["status"], "completed");
    // It can't be given back before it is known whether it was paid.
    let early = world.delete(&format!("/reservation/{reservation}")).by(&person).send().await;
    early.assert_problem(409, "payment_in_progress");
    world.execute("DROP TRIGGER crash ON provider_payments").await;
    world.settled().await;
    assert_eq!((world.state().await, world.kept()), ("captured".to_owned(), "10.00".to_owned()));
    assert_eq!(world.told(&person, payment).await["status"], "success");
    world.assert_books().await;
}

#[tokio::test]
async fn a_provider_that_does_not_decide_is_given_up_and_the_hold_let_go() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    let payment = pending(&world, &person, reservation, "tok_delay_60000").await;
    assert_eq!(world.state().await, "created");
    // Past the deadline and past the time that the hold waits for a decision.
    world.shift_database_clock("7 minutes").await;
    world.becomes(&person, payment, "failed").await;
    world.settled().await;
    assert_eq!(world.state().await, "voided");
    eventually("the seat is free", async || (world.sql("SELECT status FROM seats").await == "available").then_some(()))
        .await;
    world.assert_books().await;
}

#[tokio::test]
async fn several_processes_reconcile_and_each_thing_is_done_once() {
    let world = card_world().await;
    let concert = world.concert(12, "10").await;
    let mut people = Vec::new();
    for seat in 0..12 {
        people.push(world.holder(&concert, seat).await);
    }
    let lost = people.iter().map(|(person, reservation)| world.pay(person, *reservation, "tok_drop_response"));
    for answer in futures_util::future::join_all(lost).await {
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    for _ in 0..2 {
        world.start_another().await;
    }
    // All of them at once, as often as they like.
    world.execute("UPDATE provider_payments SET next_look_at = now_utc() WHERE next_look_at IS NOT NULL").await;
    world.settled().await;
    assert_eq!(world.sql("SELECT count(*) FROM ledger_entries WHERE account = 'provider'").await, "12");
    assert_eq!(world.kept(), "120.00");
    world.assert_books().await;
}

#[tokio::test]
async fn a_refund_goes_back_the_way_the_money_came() {
    let world = card_world_with(vec![("SEATS_PER_USER", "4")]).await;
    let concert = world.concert(3, "10.50").await;
    let (person, first) = world.holder(&concert, 0).await;
    let second = world.hold(&person, &concert, 1).await;
    let token = "tok_refund_fails_once";
    let body = json!({ "reservationIds": [first, second], "paymentMethod": "card", "paymentToken": token });
    let paid = world.post("/payment", &body).by(&person).send().await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    let payment = paid.uuid("paymentId");
    let path = format!("/reservation/{first}");
    let answer = world.delete(&path).by(&person).send().await;
    let expected = format!(
        "{{\"reservationId\":\"{first}\",\"status\":\"canceled\",\"refunded\":10.50,\"refundStatus\":\"pending\"}}"
    );
    assert_eq!((answer.status.as_u16(), answer.text), (200, expected));
    world.assert_invariants().await;
    let stranger = world.user("0").await;
    world.delete(&path).by(&stranger).send().await.assert_problem(404, "not_found");
    world.settled().await;
    let again = world.delete(&path).by(&person).send().await;
    assert_eq!((&again.json["refunded"], &again.json["refundStatus"]), (&json!(10.5), &json!("settled")));
    let told = world.told(&person, payment).await;
    assert_eq!((&told["status"], &told["refundStatus"]), (&json!("refunded"), &json!("settled")));
    assert_eq!(world.get("/balance").by(&person).send().await.text, "{\"balance\":0.00}");
    assert_eq!(world.kept(), "10.50", "the other seat stays paid");
    world.assert_books().await;
    // The seat is everybody's again, and refunds by card end when the others do.
    world.holder(&concert, 0).await;
    world.execute("UPDATE concerts SET concert_date = now_utc()::date").await;
    let late = world.delete(&format!("/reservation/{second}")).by(&person).send().await;
    late.assert_problem(409, "refund_closed");
    world.assert_books().await;
}

#[tokio::test]
async fn whatever_happens_the_books_agree_with_the_provider() {
    let world = card_world().await;
    // Either decides what a request leaves undone.
    world.start_another().await;
    let concert = world.concert(22, "9.99").await;
    let tokens = [
        "tok_ok",
        "tok_declined",
        "tok_delay_200",
        "tok_drop_request",
        "tok_drop_response",
        "tok_drop_capture_response",
        "tok_capture_fails",
        "tok_drop_webhook",
        "tok_repeat_webhook",
        "tok_reorder_webhook",
        "tok_refund_fails_once",
    ];
    let mut people = Vec::new();
    for seat in 0..22 {
        people.push(world.holder(&concert, seat).await);
    }
    let journey = async |at: usize| {
        let (person, reservation) = &people[at];
        world.pay(person, *reservation, tokens[at % tokens.len()]).await;
        // Half of them give it back, paid or not or in between.
        if at >= tokens.len() {
            world.delete(&format!("/reservation/{reservation}")).by(person).send().await;
        }
    };
    futures_util::future::join_all((0..22).map(journey)).await;
    world.assert_invariants().await;
    world.settled().await;
    world.assert_books().await;
    assert_eq!(world.sql("SELECT count(*) FROM payments WHERE payment_status = 'pending'").await, "0");
    assert_ne!(world.kept(), "0.00");
    let failed = world.sql("SELECT count(*) FROM provider_payments WHERE state IN ('declined', 'voided')").await;
    assert_ne!(failed, "0");
    let told = async || (world.failed_payments(&concert).await == failed).then_some(());
    eventually("operators are told of each that failed, once", told).await;
}
