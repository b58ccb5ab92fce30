//! Paying: once, in time, all or none.

use serde_json::json;

use crate::support::{eventually, world};

#[tokio::test]
async fn paying_moves_money_and_makes_the_seat_the_user_s() {
    let world = world().await;
    let concert = world.concert(2, "120.50").await;
    let person = world.user("250").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let body = json!({ "reservationId": reservation, "paymentMethod": "balance" });
    let paid = world.post("/payment", &body).by(&person).send().await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    assert_eq!(paid.uuid("reservationId"), reservation);
    assert!(paid.text.contains("\"status\":\"success\",\"amount\":120.50,\"balance\":129.50}"), "{}", paid.text);
    let payment = world
        .sql("SELECT concat_ws(' ', id, reservation_id, user_id, amount, payment_status, payment_method) FROM payments")
        .await;
    assert_eq!(payment, format!("{} {reservation} {} 120.50 success balance", paid.uuid("paymentId"), person.id));
    let ledger = "SELECT string_agg(concat_ws(' ', account, kind, amount), ', ' ORDER BY id) FROM ledger_entries WHERE reservation_id IS NOT NULL";
    assert_eq!(world.sql(ledger).await, "user payment -120.50, sales payment 120.50");
    assert_eq!(
        world.sql("SELECT count(*) FROM reservations WHERE status = 'completed' AND completed_at IS NOT NULL").await,
        "1"
    );
    assert_eq!(world.lock(&concert, 0).await, None);
    let list = world.get(&format!("/concerts/{}/seats", concert.id)).send().await;
    assert_eq!(list.json[0]["status"], "sold");
    assert_eq!(world.get("/balance").by(&person).send().await.text, "{\"balance\":129.50}");
    world.assert_invariants().await;
}

#[tokio::test]
async fn several_are_paid_for_together_or_not_at_all() {
    let world = world().await;
    let concert = world.concert(4, "100").await;
    let (person, stranger) = (world.user("250").await, world.user("100").await);
    let mut held = Vec::new();
    for seat in 0..3 {
        held.push(world.hold(&person, &concert, seat).await);
    }
    let foreign = world.hold(&stranger, &concert, 3).await;
    let before = world.everything().await;
    let attempt =
        async |ids: &[uuid::Uuid]| world.post("/payment", &json!({ "reservationIds": ids })).by(&person).send().await;
    attempt(&held).await.assert_problem(400, "insufficient_balance");
    attempt(&[held[0], foreign]).await.assert_problem(404, "not_found");
    attempt(&[held[0], uuid::Uuid::nil()]).await.assert_problem(404, "not_found");
    assert_eq!(world.everything().await, before);
    let paid = attempt(&[held[2], held[0]]).await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    let payments = paid.json["payments"].as_array().unwrap();
    assert_eq!(payments.len(), 2);
    assert_eq!(payments[0]["paymentId"], paid.json["paymentId"]);
    assert_eq!((paid.uuid("reservationId"), &payments[1]["reservationId"]), (held[2], &json!(held[0])));
    assert_eq!((&paid.json["amount"], &paid.json["balance"]), (&json!(200.0), &json!(50.0)));
    attempt(&[held[1], held[0]]).await.assert_problem(409, "already_paid");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_reservation_is_paid_for_once_however_often_it_is_tried() {
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(2, "10").await;
    let person = world.user("1000").await;
    let (one, two) = (world.hold(&person, &concert, 0).await, world.hold(&person, &concert, 1).await);
    // Alone and together, in both orders, on both instances.
    let bodies = [
        json!({ "reservationId": one }),
        json!({ "reservationIds": [one, two] }),
        json!({ "reservationIds": [two, one] }),
    ];
    let many = (0..30).map(|n| {
        let body = &bodies[n % 3];
        let request = if n % 2 == 0 { world.post("/payment", body) } else { world.post_to(other, "/payment", body) };
        request.by(&person).send()
    });
    let answers = futures_util::future::join_all(many.collect::<Vec<_>>()).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.assert_problem(409, "already_paid");
    }
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_balance_pays_for_as_much_as_it_holds_even_at_once() {
    let world = world().await;
    let person = world.user("25").await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let concert = world.concert(1, "10").await;
        crate::support::eventually("the concert is known", async || {
            (world.get(&format!("/concerts/{}", concert.id)).send().await.status == 200).then_some(())
        })
        .await;
        held.push(world.hold(&person, &concert, 0).await);
    }
    let all = held.iter().map(|id| {
        let body = json!({ "reservationId": id });
        let request = world.post("/payment", &body);
        request.by(&person).send()
    });
    let answers = futures_util::future::join_all(all.collect::<Vec<_>>()).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.assert_problem(400, "insufficient_balance");
    }
    assert_eq!(world.get("/balance").by(&person).send().await.json["balance"], 5.0);
    world.assert_invariants().await;
}

#[tokio::test]
async fn after_the_deadline_nothing_is_taken_even_before_the_sweeper_comes() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("100").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let body = json!({ "reservationId": reservation });
    // The row is locked, so no sweeper gets it; the payment waits, and the deadline passes meanwhile.
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM reservations FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let attempt = world.post("/payment", &body).by(&person).send();
    let (answer, ()) = tokio::join!(attempt, async {
        eventually("the payment waits", async || {
            let waiting =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (world.sql(waiting).await != "0").then_some(())
        })
        .await;
        world.shift_database_clock("301 seconds").await;
        transaction.rollback().await.unwrap();
    });
    answer.assert_problem(410, "reservation_expired");
    assert_eq!(world.get("/balance").by(&person).send().await.json["balance"], 100.0);
    assert_eq!(world.sql("SELECT count(*) FROM payments").await, "0");
}

#[tokio::test]
async fn a_canceled_reservation_is_not_paid_for() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("100").await;
    let reservation = world.hold(&person, &concert, 0).await;
    world.delete(&format!("/reservation/{reservation}")).by(&person).send().await;
    let before = world.everything().await;
    let body = json!({ "reservationId": reservation });
    world.post("/payment", &body).by(&person).send().await.assert_problem(410, "reservation_expired");
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn paying_and_giving_back_at_once_end_with_the_money_where_it_was() {
    let world = world().await;
    let concert = world.concert(20, "1").await;
    for seat in 0..20 {
        let person = world.user("1").await;
        let reservation = world.hold(&person, &concert, seat).await;
        let body = json!({ "reservationId": reservation });
        let path = format!("/reservation/{reservation}");
        let (paid, canceled) =
            tokio::join!(world.post("/payment", &body).by(&person).send(), world.delete(&path).by(&person).send());
        match (paid.status.as_u16(), canceled.status.as_u16()) {
            // Paid first, and then refunded; or given back first.
            (200 | 410, 200) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(world.get("/balance").by(&person).send().await.json["balance"], 1.0);
    }
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_that_costs_nothing_is_paid_for_with_nothing() {
    let world = world().await;
    let concert = world.concert(1, "0").await;
    let person = world.user("0").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let paid = world.post("/payment", &json!({ "reservationId": reservation })).by(&person).send().await;
    assert_eq!((paid.status.as_u16(), &paid.json["amount"]), (200, &json!(0.0)), "{}", paid.text);
    assert_eq!(world.sql("SELECT count(*) FROM ledger_entries").await, "0");
    world.assert_invariants().await;
}
