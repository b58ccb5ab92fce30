//! What happens is written down as it happens, and nothing else is.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{World, eventually};
use crate::webhook_receiver::{Receiver, local_world, subscribe};

/// The types of the events of a key, in their order.
pub(crate) async fn told(world: &World, key: Uuid) -> String {
    let types = format!("SELECT string_agg(type, ' ' ORDER BY sequence) FROM outbox WHERE order_key = '{key}'");
    world.sql(&types).await
}

/// The data of a key's event of a type.
pub(crate) async fn data(world: &World, key: Uuid, kind: &str) -> Value {
    let data = format!("SELECT data FROM outbox WHERE order_key = '{key}' AND type = '{kind}'");
    serde_json::from_str(&world.sql(&data).await).unwrap()
}

#[tokio::test]
async fn a_reservation_that_is_held_extended_paid_and_refunded_is_told_step_by_step() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    subscribe(&world, &admin, &receiver.url, None).await;
    let concert = world.concert(1, "12.50").await;
    let person = world.user("50").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let path = format!("/reservation/{reservation}");
    let extended = world.post(&format!("{path}/extend"), &json!({})).by(&person).send().await;
    assert_eq!(extended.status, 200, "{}", extended.text);
    let paid = world.post("/payment", &json!({ "reservationId": reservation })).by(&person).send().await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    let seat = concert.seats[0];
    assert_eq!(told(&world, seat).await, "seat.reserved seat.sold");
    assert_eq!(world.delete(&path).by(&person).send().await.status, 200);

    let both = told(&world, reservation).await;
    let steps = |prefix: &str| both.split(' ').filter(|kind| kind.starts_with(prefix)).collect::<Vec<_>>().join(" ");
    assert_eq!(
        steps("reservation."),
        "reservation.held reservation.extended reservation.completed reservation.canceled"
    );
    assert_eq!(steps("payment."), "payment.succeeded payment.refunded");
    assert_eq!(told(&world, seat).await, "seat.reserved seat.sold seat.available");
    let held = data(&world, reservation, "reservation.held").await;
    let expected = json!({
        "reservationId": reservation, "concertId": concert.id, "seatId": seat, "userId": person.id,
        "status": "pending", "amount": 12.50, "expiresAt": held["expiresAt"],
    });
    assert_eq!(held, expected);
    let later = data(&world, reservation, "reservation.extended").await;
    assert_eq!(later["expiresAt"], extended.json["expiresAt"]);
    let refunded = data(&world, reservation, "payment.refunded").await;
    let expected = json!({
        "paymentId": paid.uuid("paymentId"), "reservationId": reservation, "userId": person.id, "amount": 12.50,
        "paymentMethod": "balance", "status": "refunded",
    });
    assert_eq!(refunded, expected);
    let sold = data(&world, seat, "seat.sold").await;
    let expected = json!({
        "seatId": seat, "concertId": concert.id, "section": "A", "seatNumber": 1, "price": 12.50, "status": "sold",
    });
    assert_eq!(sold, expected);
}

#[tokio::test]
async fn what_is_given_back_or_expires_is_released_and_an_offer_is_a_hold() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    subscribe(&world, &admin, &receiver.url, None).await;
    let concert = world.concert(2, "10").await;
    let (person, waiting) = (world.user("0").await, world.user("0").await);
    let (given_back, late) = (world.hold(&person, &concert, 0).await, world.hold(&person, &concert, 1).await);
    let waitlist = format!("/concerts/{}/waitlist", concert.id);
    assert_eq!(world.post(&waitlist, &json!({})).by(&waiting).send().await.status, 200);
    let path = format!("/reservation/{given_back}");
    for _ in 0..2 {
        assert_eq!(world.delete(&path).by(&person).send().await.status, 200);
    }
    assert_eq!(told(&world, given_back).await, "reservation.held reservation.released");
    assert_eq!(data(&world, given_back, "reservation.released").await["reason"], "given_back");
    // The seat went on to whoever waited for it.
    let offer = eventually("an offer", async || {
        let standing = world.get(&waitlist).by(&waiting).send().await;
        standing.json["offer"]["reservationId"].as_str().and_then(|id| id.parse().ok())
    });
    let offer: Uuid = offer.await;
    assert_eq!(told(&world, offer).await, "reservation.held");
    assert_eq!(told(&world, concert.seats[0]).await, "seat.reserved seat.available seat.reserved");

    world.execute(&format!("UPDATE reservations SET payment_deadline = now_utc() WHERE id = '{late}'")).await;
    eventually("it is swept", async || (told(&world, late).await.contains("released")).then_some(())).await;
    assert_eq!(told(&world, late).await, "reservation.held reservation.released");
    assert_eq!(data(&world, late, "reservation.released").await["reason"], "expired");
}

#[tokio::test]
async fn what_is_rolled_back_or_refused_is_not_told() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    subscribe(&world, &admin, &receiver.url, None).await;
    let concert = world.concert(1, "10").await;
    let person = world.user("5").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let before = world.sql("SELECT count(*) FROM outbox").await;
    let pay = world.post("/payment", &json!({ "reservationId": reservation })).by(&person).send().await;
    pay.assert_problem(400, "insufficient_balance");
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("UPDATE reservations SET status = 'canceled'").execute(&mut *transaction).await.unwrap();
    let within: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&mut *transaction).await.unwrap();
    assert_eq!(within.to_string(), (before.parse::<i64>().unwrap() + 1).to_string(), "written in the transaction");
    transaction.rollback().await.unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM outbox").await, before);
}

#[tokio::test]
async fn only_what_somebody_wants_is_kept_for_them() {
    let world = local_world().await;
    let (admin, receiver) =
        (world.administrator().await, Receiver::start(|_| crate::webhook_receiver::Reply::Silence).await);
    let concert = world.concert(3, "0").await;
    let person = world.user("0").await;
    let first = world.hold(&person, &concert, 0).await;
    assert_eq!(world.post("/payment", &json!({ "reservationId": first })).by(&person).send().await.status, 200);
    assert_eq!(world.sql("SELECT count(*) FROM outbox").await, "0", "nobody has subscribed");

    let (webhook, _) = subscribe(&world, &admin, &receiver.url, Some(&["seat.sold", "payment.succeeded"])).await;
    let second = world.hold(&person, &concert, 1).await;
    assert_eq!(world.post("/payment", &json!({ "reservationId": second })).by(&person).send().await.status, 200);
    let wanted = "SELECT string_agg(type, ' ' ORDER BY type) FROM webhook_deliveries JOIN outbox USING (sequence)";
    assert_eq!(world.sql(wanted).await, "payment.succeeded seat.sold");

    let events = world.sql("SELECT count(*) FROM outbox").await;
    assert_eq!(world.delete(&format!("/admin/webhooks/{webhook}")).by(&admin).send().await.status, 200);
    world.hold(&person, &concert, 2).await;
    assert_eq!(world.sql("SELECT count(*) FROM outbox").await, events, "nobody has subscribed any more");
}

#[tokio::test]
async fn what_was_under_way_when_somebody_subscribed_is_waited_for() {
    let world = local_world().await;
    let (admin, receiver) = (world.administrator().await, Receiver::content().await);
    let concert = world.concert(2, "10").await;
    // It has looked for webhooks already, and found none.
    let mut earlier = world.pool.begin().await.unwrap();
    sqlx::query("UPDATE seats SET status = 'reserved_final' WHERE id = $1")
        .bind(concert.seats[0])
        .execute(&mut *earlier)
        .await
        .unwrap();
    let subscribing = world.post("/admin/webhooks", &json!({ "url": receiver.url })).by(&admin).send();
    let subscribing = tokio::spawn(subscribing);
    eventually("the webhook is there", async || {
        (world.sql("SELECT count(*) FROM webhooks").await == "1").then_some(())
    })
    .await;
    // Whoever begins now sees it, though it is not answered yet.
    world.execute(&format!("UPDATE seats SET status = 'reserved_final' WHERE id = '{}'", concert.seats[1])).await;
    assert_eq!(told(&world, concert.seats[1]).await, "seat.sold");
    assert!(!subscribing.is_finished(), "it was answered while a change that is not told was under way");
    earlier.commit().await.unwrap();
    assert_eq!(subscribing.await.unwrap().status, 200);
    assert_eq!(told(&world, concert.seats[0]).await, "NULL");
}
