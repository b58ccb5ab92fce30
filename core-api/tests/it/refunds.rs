//! Paid reservations given back for their money.

use serde_json::json;

use crate::support::{Concert, Options, Person, World, eventually, world, world_with};

/// Holds and pays; the reservation.
async fn bought(world: &World, person: &Person, concert: &Concert, seat: usize) -> uuid::Uuid {
    let reservation = world.hold(person, concert, seat).await;
    let paid = world.post("/payment", &json!({ "reservationId": reservation })).by(person).send().await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    reservation
}

#[tokio::test]
async fn a_refund_gives_the_money_back_and_the_seat_is_sold_again() {
    let world = world().await;
    let concert = world.concert(1, "60.50").await;
    let (first, second) = (world.user("100").await, world.user("100").await);
    let reservation = bought(&world, &first, &concert, 0).await;
    let path = format!("/reservation/{reservation}");
    let answer = world.delete(&path).by(&first).send().await;
    let expected = format!("{{\"reservationId\":\"{reservation}\",\"status\":\"canceled\",\"refunded\":60.50}}");
    assert_eq!((answer.status.as_u16(), answer.text), (200, expected.clone()));
    assert_eq!(world.get("/balance").by(&first).send().await.text, "{\"balance\":100.00}");
    let ledger = "SELECT string_agg(concat_ws(' ', account, kind, amount), ', ' ORDER BY id) FROM ledger_entries WHERE reservation_id IS NOT NULL";
    let entries = "user payment -60.50, sales payment 60.50, sales refund -60.50, user refund 60.50";
    assert_eq!(world.sql(ledger).await, entries);
    assert_eq!(
        world.sql("SELECT count(*) FROM payments WHERE payment_status = 'success' AND refunded_at IS NOT NULL").await,
        "1"
    );
    let list = world.get(&format!("/concerts/{}/seats", concert.id)).send().await;
    assert_eq!(list.json[0]["status"], "available");
    world.assert_invariants().await;
    // Again: the same answer, and nothing changes.
    let before = world.everything().await;
    let again = world.delete(&path).by(&first).send().await;
    assert_eq!((again.status.as_u16(), again.text), (200, expected));
    assert_eq!(world.everything().await, before);
    // Paying for it once more is too late; somebody else can have the seat, and the first DELETE is none of theirs.
    let pay = json!({ "reservationId": reservation });
    world.post("/payment", &pay).by(&first).send().await.assert_problem(410, "reservation_expired");
    bought(&world, &second, &concert, 0).await;
    assert_eq!(world.delete(&path).by(&first).send().await.status, 200);
    assert_eq!(world.get("/balance").by(&second).send().await.text, "{\"balance\":39.50}");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_that_is_known_to_be_sold_can_be_had_at_once_when_it_comes_back() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let (first, second) = (world.user("10").await, world.user("10").await);
    let reservation = bought(&world, &first, &concert, 0).await;
    let pass = world.admit(&second, &concert).await;
    let body = json!({ "concertId": concert.id, "seatId": concert.seats[0] });
    let attempt = async || world.post("/reservation", &body).by(&second).pass(&pass).send().await;
    let fence = async || world.redis(&["GET", &format!("hold:v1:{{{}}}:fence", concert.id)]).await;
    eventually("no try for the sold seat reaches Redis", async || {
        let before = fence().await;
        attempt().await.assert_problem(409, "seat_taken");
        (fence().await == before).then_some(())
    })
    .await;
    assert_eq!(world.delete(&format!("/reservation/{reservation}")).by(&first).send().await.status, 200);
    assert_eq!(attempt().await.status, 200);
    world.assert_invariants().await;
}

#[tokio::test]
async fn nobody_refunds_another_s_reservation() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let (owner, stranger) = (world.user("10").await, world.user("10").await);
    let reservation = bought(&world, &owner, &concert, 0).await;
    let before = world.everything().await;
    world.delete(&format!("/reservation/{reservation}")).by(&stranger).send().await.assert_problem(404, "not_found");
    assert_eq!(world.delete(&format!("/reservation/{reservation}")).send().await.status, 401);
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn refunds_end_when_the_setting_says() {
    let world = world_with(Options { settings: vec![("REFUND_UNTIL_HOURS", "48")], ..Options::default() }).await;
    let concert = world.concert_with(2, "10", "now_utc()::date + 3", "NULL", "NULL").await;
    let person = world.user("20").await;
    let (early, late) = (bought(&world, &person, &concert, 0).await, bought(&world, &person, &concert, 1).await);
    // To the second: a day begins at midnight in UTC, and the end of refunds is two days before it.
    let until = "SELECT extract(epoch FROM (now_utc()::date + 1) - now_utc())::int";
    let seconds: i64 = world.sql(until).await.parse().unwrap();
    world.shift_database_clock(&format!("{} seconds", seconds - 30)).await;
    assert_eq!(world.delete(&format!("/reservation/{early}")).by(&person).send().await.status, 200);
    world.shift_database_clock(&format!("{} seconds", seconds + 1)).await;
    let before = world.everything().await;
    let refused = world.delete(&format!("/reservation/{late}")).by(&person).send().await;
    refused.assert_problem(409, "refund_closed");
    assert_eq!(world.everything().await, before);
    // What was refunded in time is told as ever.
    assert_eq!(world.delete(&format!("/reservation/{early}")).by(&person).send().await.json["refunded"], 10.0);
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_over_what_a_balance_can_be_is_refused() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("10").await;
    let reservation = bought(&world, &person, &concert, 0).await;
    let path = format!("/reservation/{reservation}");
    let charge =
        |amount: &'static str| world.request(reqwest::Method::POST, "/balance").body(amount).by(&person).send();
    assert_eq!(charge("{\"amount\":99999990}").await.status, 200);
    let before = world.everything().await;
    world.delete(&path).by(&person).send().await.assert_problem(409, "balance_limit");
    assert_eq!(world.everything().await, before);
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_seat_that_cost_nothing_is_given_back_for_nothing() {
    let world = world().await;
    let concert = world.concert(1, "0").await;
    let person = world.user("0").await;
    let reservation = bought(&world, &person, &concert, 0).await;
    for _ in 0..2 {
        let answer = world.delete(&format!("/reservation/{reservation}")).by(&person).send().await;
        assert_eq!((answer.status.as_u16(), &answer.json["refunded"]), (200, &json!(0.0)), "{}", answer.text);
    }
    assert_eq!(world.sql("SELECT count(*) FROM ledger_entries").await, "0");
    world.assert_invariants().await;
}

#[tokio::test]
async fn refunds_of_one_reservation_at_once_pay_out_once() {
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("10").await;
    let reservation = bought(&world, &person, &concert, 0).await;
    let path = format!("/reservation/{reservation}");
    // All wait for the row, so that each finds out only after another is done.
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM reservations FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let many = (0..6).map(|n| {
        let request = if n % 2 == 0 { world.delete(&path) } else { world.delete_at(other, &path) };
        request.by(&person).send()
    });
    let (answers, ()) = tokio::join!(futures_util::future::join_all(many.collect::<Vec<_>>()), async {
        waiting(&world, 6).await;
        transaction.rollback().await.unwrap();
    });
    for answer in answers {
        assert_eq!((answer.status.as_u16(), &answer.json["refunded"]), (200, &json!(10.0)), "{}", answer.text);
    }
    assert_eq!(world.get("/balance").by(&person).send().await.text, "{\"balance\":10.00}");
    assert_eq!(world.sql("SELECT count(*) FROM ledger_entries WHERE kind = 'refund'").await, "2");
    world.assert_invariants().await;
}

/// Waits until so many wait for locks in the database.
async fn waiting(world: &World, count: usize) {
    eventually("they wait for the lock", async || {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (world.sql(waiting).await.parse::<usize>().unwrap() >= count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn refunds_and_payments_of_one_user_at_once_add_up() {
    let world = world().await;
    let other = world.start_another().await;
    let concerts = [world.concert(4, "10").await, world.concert(4, "10").await];
    for _ in 0..6 {
        let person = world.user("20").await;
        // Two are bought, so nothing is left; the other two can only be paid for with what comes back.
        let mut owned = Vec::new();
        let mut wanted = Vec::new();
        for seat in 0..2 {
            owned.push(bought(&world, &person, &concerts[0], seat).await);
            wanted.push(world.hold(&person, &concerts[1], seat).await);
        }
        let mut requests = Vec::new();
        for (give, take) in owned.iter().zip(&wanted) {
            requests.push(world.delete(&format!("/reservation/{give}")).by(&person).send());
            requests.push(world.post("/payment", &json!({ "reservationId": take })).by(&person).send());
            requests.push(world.post_to(other, "/payment", &json!({ "reservationId": take })).by(&person).send());
        }
        let answers = futures_util::future::join_all(requests).await;
        let paid = answers.iter().filter(|answer| answer.json["paymentId"].is_string()).count();
        for answer in answers.iter().filter(|answer| answer.status != 200) {
            match answer.status.as_u16() {
                400 => answer.assert_problem(400, "insufficient_balance"),
                _ => answer.assert_problem(409, "already_paid"),
            }
        }
        let refunded = answers.iter().filter(|answer| answer.json["refunded"].is_number()).count();
        assert_eq!(refunded, 2, "refunds are never in the way of payments");
        let left = format!("{{\"balance\":{}.00}}", 20 - 10 * paid);
        assert_eq!(world.get("/balance").by(&person).send().await.text, left);
        world.assert_invariants().await;
        for id in wanted.iter().chain(&owned) {
            assert_eq!(world.delete(&format!("/reservation/{id}")).by(&person).send().await.status, 200);
        }
    }
    world.assert_invariants().await;
}
