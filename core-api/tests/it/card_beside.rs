//! Payments by card, and all that has to know of them: the door, events, reports, waitlists, locks.

use std::collections::HashSet;

use common::ids::ReservationId;
use common::tokens::{EntryTicket, EntryTicketSigner, Role};
use serde_json::json;
use uuid::Uuid;

use crate::card::{CardWorld, card_world, card_world_with};
use crate::outbox::{data, told};
use crate::support::{Concert, ENTRY_TICKET_KEY, Person, eventually};
use crate::webhook_receiver::{LOCAL, Receiver, subscribe};

/// The provider takes the money, and nobody notes it, as if whoever did so had died.
const NOTED_BY_NOBODY: &str = "CREATE FUNCTION crash() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
     CREATE TRIGGER crash BEFORE UPDATE ON provider_payments FOR EACH ROW WHEN (NEW.state = 'captured') EXECUTE FUNCTION crash()";

/// A ticket's code as our key signs it, whoever has it.
fn code(reservation: Uuid, concert: &Concert) -> String {
    let (reservation, seat) = (ReservationId::from(reservation), "A-1".to_owned());
    EntryTicketSigner::new(&[ENTRY_TICKET_KEY]).unwrap().sign(&EntryTicket { reservation, concert: concert.id, seat })
}

#[tokio::test]
async fn there_is_no_ticket_before_the_money_is_taken() {
    let world = card_world().await;
    let (concert, staff) = (world.concert(1, "10").await, world.colleague(Role::Staff).await);
    let (person, reservation) = world.holder(&concert, 0).await;
    world.execute(NOTED_BY_NOBODY).await;
    assert_eq!(world.pay(&person, reservation, "tok_ok").await.status, 202);
    assert_eq!(world.sql("SELECT status FROM reservations").await, "completed");
    let ticket = format!("/reservation/{reservation}/ticket");
    for path in [&ticket, &format!("{ticket}.svg")] {
        world.get(path).by(&person).send().await.assert_problem(409, "not_paid");
    }
    let check_in = json!({ "code": code(reservation, &concert) });
    world.post("/admin/check-ins", &check_in).by(&staff).send().await.assert_problem(400, "ticket_invalid");
    let list = format!("/admin/concerts/{}/tickets", concert.id);
    assert_eq!(world.get(&list).by(&staff).send().await.json["data"], json!([]));

    world.execute("DROP TRIGGER crash ON provider_payments").await;
    world.settled().await;
    assert_eq!(world.get(&ticket).by(&person).send().await.status, 200);
    assert_eq!(world.get(&list).by(&staff).send().await.json["data"][0]["status"], "valid");
    assert_eq!(world.post("/admin/check-ins", &check_in).by(&staff).send().await.status, 200);
    world.assert_books().await;
}

/// Somebody who has tried to pay, and the events of their reservation.
async fn tried(world: &CardWorld, concert: &Concert, seat: usize, token: &str) -> (Person, Uuid, HashSet<String>) {
    let (person, reservation) = world.holder(concert, seat).await;
    world.pay(&person, reservation, token).await;
    let events = told(world, reservation).await;
    (person, reservation, events.split(' ').map(str::to_owned).collect())
}

fn set(kinds: &[&str]) -> HashSet<String> {
    kinds.iter().map(|kind| (*kind).to_owned()).collect()
}

#[tokio::test]
async fn a_payment_is_told_as_made_once_the_money_is_taken_and_otherwise_as_failed() {
    let world = card_world_with(LOCAL.to_vec()).await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    subscribe(&world, &admin, &receiver.url, None).await;
    let concert = world.concert(3, "10").await;
    let (person, reservation, _) = tried(&world, &concert, 0, "tok_ok").await;
    assert_eq!(told(&world, reservation).await, "reservation.held reservation.completed payment.succeeded");
    let made = data(&world, reservation, "payment.succeeded").await;
    assert_eq!((&made["status"], &made["paymentMethod"]), (&json!("success"), &json!("card")));
    assert_eq!(world.delete(&format!("/reservation/{reservation}")).by(&person).send().await.status, 200);
    assert_eq!(data(&world, reservation, "payment.refunded").await["status"], "refunded");

    let (_, declined, events) = tried(&world, &concert, 1, "tok_declined").await;
    assert_eq!(events, set(&["reservation.held", "payment.failed"]));
    assert_eq!(data(&world, declined, "payment.failed").await["status"], "failed");
    let (_, _, events) = tried(&world, &concert, 2, "tok_capture_fails").await;
    let expected = ["reservation.held", "reservation.completed", "reservation.canceled", "payment.failed"];
    assert_eq!(events, set(&expected));

    // What is set aside and not taken yet is not told as made.
    world.execute(NOTED_BY_NOBODY).await;
    let (_, reservation, events) = tried(&world, &concert, 0, "tok_ok").await;
    assert_eq!(events, set(&["reservation.held", "reservation.completed"]));
    world.execute("DROP TRIGGER crash ON provider_payments").await;
    world.settled().await;
    assert_eq!(told(&world, reservation).await, "reservation.held reservation.completed payment.succeeded");
    world.assert_books().await;
}

#[tokio::test]
async fn orders_by_card_name_their_payment_whatever_became_of_it() {
    let world = card_world().await;
    let (admin, concert) = (world.administrator().await, world.concert(2, "10").await);
    let (person, refunded) = world.holder(&concert, 0).await;
    // The second attempt is the one that counts.
    world.pay(&person, refunded, "tok_declined").await.assert_problem(402, "payment_declined");
    let paid = world.pay(&person, refunded, "tok_ok").await.uuid("paymentId");
    assert_eq!(world.delete(&format!("/reservation/{refunded}")).by(&person).send().await.status, 200);
    let (other, reservation) = world.holder(&concert, 1).await;
    world.pay(&other, reservation, "tok_declined").await.assert_problem(402, "payment_declined");
    world.pay(&other, reservation, "tok_capture_fails").await.assert_problem(402, "payment_declined");
    let failed = world.sql("SELECT max(id::text) FROM payments WHERE payment_status = 'failed'").await;

    let orders = world.get(&format!("/admin/concerts/{}/orders.csv", concert.id)).by(&admin).send().await;
    let rows: Vec<Vec<&str>> = orders.text.lines().skip(1).map(|row| row.split(',').collect()).collect();
    let short: Vec<_> = rows.iter().map(|row| (row[1], row[4], row[5])).collect();
    let paid = paid.to_string();
    let expected = [
        ("payment", paid.as_str(), "card"),
        ("refund", &paid, "card"),
        ("payment", &failed, "card"),
        ("refund", &failed, "card"),
    ];
    assert_eq!(short, expected, "{}", orders.text);
    let report = world.get(&format!("/admin/concerts/{}/sales", concert.id)).by(&admin).send().await;
    let totals = &report.json["totals"];
    assert_eq!((&totals["gross"], &totals["refunds"], &totals["net"]), (&json!(20.0), &json!(20.0), &json!(0.0)));
}

#[tokio::test]
async fn who_waits_for_their_own_turn_takes_no_place_at_the_provider() {
    let world = card_world().await;
    let concert = world.concert(30, "10").await;
    let (busy, theirs) = world.holder(&concert, 0).await;
    let mut others = Vec::new();
    for seat in 1..30 {
        others.push(world.holder(&concert, seat).await);
    }
    let mut transaction = world.pool.begin().await.unwrap();
    let lock = sqlx::query("SELECT FROM reservations WHERE id = $1 FOR UPDATE").bind(theirs);
    lock.execute(&mut *transaction).await.unwrap();
    // More than there are places.
    let flood = futures_util::future::join_all((0..300).map(|_| world.pay(&busy, theirs, "tok_ok")));
    let everybody_else = async {
        world.locks_waited_for(3).await;
        for (person, reservation) in &others {
            let paid = world.pay(person, *reservation, "tok_ok").await;
            assert_eq!(paid.status, 200, "{}", paid.text);
        }
        transaction.rollback().await.unwrap();
    };
    tokio::join!(flood, everybody_else);
    world.settled().await;
    world.assert_books().await;
}

#[tokio::test]
async fn who_tries_out_cards_is_stopped() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (person, reservation) = world.holder(&concert, 0).await;
    for _ in 0..20 {
        world.pay(&person, reservation, "tok_declined").await.assert_problem(402, "payment_declined");
    }
    let stopped = world.pay(&person, reservation, "tok_ok").await;
    assert_eq!(stopped.header("retry-after"), Some("3600"));
    stopped.assert_problem(429, "too_many_requests");
    assert_eq!(world.sql("SELECT count(*) FROM provider_payments").await, "20", "the provider is not asked");
    world.execute("UPDATE provider_payments SET created_at = created_at - interval '1 hour'").await;
    assert_eq!(world.pay(&person, reservation, "tok_ok").await.status, 200);
    world.assert_books().await;
}

#[tokio::test]
async fn an_offer_that_is_being_paid_for_past_its_deadline_is_still_one() {
    let world = card_world().await;
    let concert = world.concert(1, "10").await;
    let (holder, held) = world.holder(&concert, 0).await;
    let waiting = world.user("0").await;
    let waitlist = format!("/concerts/{}/waitlist", concert.id);
    assert_eq!(world.post(&waitlist, &json!({})).by(&waiting).send().await.status, 200);
    assert_eq!(world.delete(&format!("/reservation/{held}")).by(&holder).send().await.status, 200);
    world
        .execute(
            "UPDATE reservations SET payment_deadline = now_utc(), paying_until = now_utc() + interval '1 minute'
             WHERE status = 'pending'",
        )
        .await;
    assert_eq!(world.get(&waitlist).by(&waiting).send().await.json["status"], "offered");
    assert_eq!(world.post(&waitlist, &json!({})).by(&waiting).send().await.json["status"], "offered", "no second wait");
}

#[tokio::test]
async fn a_lock_that_a_crash_left_behind_in_a_payment_is_found() {
    let world = card_world_with(vec![("PAYMENT_GRACE_SECONDS", "600")]).await;
    let concert = world.concert(1, "10").await;
    world.holder(&concert, 0).await;
    world
        .execute(
            "UPDATE reservations SET status = 'canceled', payment_deadline = now_utc() - interval '5 minutes',
                                     paying_until = now_utc() + interval '1 minute';
             UPDATE seats SET status = 'available'",
        )
        .await;
    eventually("the lock is found", async || world.lock(&concert, 0).await.is_none().then_some(())).await;
}
