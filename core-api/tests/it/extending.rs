//! The time to pay, extended: once, before its end, and together with everything that depends on it.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::client::Answer;
use crate::support::{Concert, Options, Person, World, eventually, world, world_with};

async fn extend(world: &World, person: &Person, reservation: Uuid) -> Answer {
    world.request(Method::POST, &format!("/reservation/{reservation}/extend")).by(person).send().await
}

fn time(answer: &Answer, field: &str) -> DateTime<Utc> {
    answer.json[field].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{field}: {}", answer.text))
}

async fn lock_life_ms(world: &World, concert: &Concert, seat: usize) -> i64 {
    let key = format!("hold:v1:{{{}}}:seat:{}", concert.id, concert.seats[seat]);
    world.redis(&["PTTL", &key]).await.unwrap().parse().unwrap()
}

#[tokio::test]
async fn the_time_to_pay_the_lock_and_the_admission_are_extended_once() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    let (person, stranger) = (world.user("100").await, world.user("0").await);
    let id = world.hold(&person, &concert, 0).await;
    let path = format!("/reservation/{id}");
    let before = world.get(&path).by(&person).send().await;
    assert_eq!(before.json.get("extendedAt"), None);
    world
        .lease(
            &person,
            &concert,
            common::tokens::PassId { position: 7, nonce: 3 },
            Utc::now() + chrono::TimeDelta::seconds(5),
        )
        .await;

    extend(&world, &stranger, id).await.assert_problem(404, "not_found");
    extend(&world, &person, Uuid::nil()).await.assert_problem(404, "not_found");
    world.request(Method::POST, &format!("{path}/extend")).send().await.assert_problem(401, "unauthenticated");
    assert_eq!(world.get(&path).by(&person).send().await.json["expiresAt"], before.json["expiresAt"]);

    let extended = extend(&world, &person, id).await;
    assert_eq!(extended.status, 200, "{}", extended.text);
    assert_eq!((time(&extended, "expiresAt") - time(&before, "expiresAt")).num_seconds(), 120);
    assert!(extended.json["expiresInSeconds"].as_u64().unwrap() > 400, "{}", extended.text);
    assert_eq!(world.get(&path).by(&person).send().await.json["extendedAt"], extended.json["extendedAt"]);
    let life_ms = lock_life_ms(&world, &concert, 0).await;
    assert!((415_000..=430_000).contains(&life_ms), "as long as it may be paid for, and the grace: {life_ms}");
    let lease_key = format!("wr:v1:{{{}}}:leases", concert.id);
    let lease_end_ms: f64 = world.redis(&["ZSCORE", &lease_key, &person.id.compact()]).await.unwrap().parse().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of this century are exact")]
    let lease_left_ms = lease_end_ms - Utc::now().timestamp_millis() as f64;
    assert!(lease_left_ms > 400_000.0, "{lease_left_ms}");

    extend(&world, &person, id).await.assert_problem(409, "already_extended");
    // Past the first deadline, before the second: nobody sweeps it, and it is paid for.
    world.shift_database_clock("400 seconds").await;
    let other = world.hold(&person, &concert, 1).await;
    world.execute(&format!("UPDATE reservations SET payment_deadline = now_utc() WHERE id = '{other}'")).await;
    eventually("a sweep", async || {
        (world.sql(&format!("SELECT status FROM reservations WHERE id = '{other}'")).await == "canceled").then_some(())
    })
    .await;
    let paid = world.post("/payment", &json!({ "reservationId": id })).by(&person).send().await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    extend(&world, &person, id).await.assert_problem(409, "already_paid");
    extend(&world, &person, other).await.assert_problem(410, "reservation_expired");
    world.assert_invariants().await;
}

#[tokio::test]
async fn of_many_who_extend_at_once_one_does() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("0").await;
    let id = world.hold(&person, &concert, 0).await;
    let before = world.sql(&format!("SELECT payment_deadline FROM reservations WHERE id = '{id}'")).await;
    let answers = futures_util::future::join_all((0..12).map(|_| extend(&world, &person, id))).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 11));
    for answer in lost {
        answer.assert_problem(409, "already_extended");
    }
    let by = format!("SELECT payment_deadline - '{before}'::timestamp FROM reservations WHERE id = '{id}'");
    assert_eq!(world.sql(&by).await, "00:02:00");
}

#[tokio::test]
async fn it_is_decided_at_the_time_after_the_wait_for_the_lock() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("0").await;
    let id = world.hold(&person, &concert, 0).await;
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM reservations WHERE id = $1 FOR UPDATE").bind(id).execute(&mut *transaction).await.unwrap();
    let (answer, ()) = tokio::join!(extend(&world, &person, id), async {
        eventually("it waits for the row", async || {
            let waiting =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (world.sql(waiting).await != "0").then_some(())
        })
        .await;
        // By the time at which the wait began, this deadline would still be ahead.
        let now = "UPDATE reservations SET payment_deadline = now_utc() WHERE id = $1";
        sqlx::query(now).bind(id).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    });
    answer.assert_problem(410, "reservation_expired");
    let extended = format!("SELECT extended_at FROM reservations WHERE id = '{id}'");
    assert_eq!(world.sql(&extended).await, "NULL");
}

#[tokio::test]
async fn where_it_is_off_nothing_is_extended() {
    let world = world_with(Options { settings: vec![("HOLD_EXTEND_SECONDS", "0")], ..Options::default() }).await;
    let concert = world.concert(1, "10").await;
    let person = world.user("0").await;
    let id = world.hold(&person, &concert, 0).await;
    let before = world.everything().await;
    extend(&world, &person, id).await.assert_problem(409, "not_extendable");
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn a_concert_s_own_limit_counts_before_the_setting() {
    let world = world().await;
    let (tight, wide) = (world.concert(10, "10").await, world.concert(10, "10").await);
    for (concert, limit) in [(&tight, 2), (&wide, 6)] {
        world.execute(&format!("UPDATE concerts SET seats_per_user = {limit} WHERE id = '{}'", concert.id)).await;
    }
    let person = world.user("0").await;
    let attempt = async |concert: &Concert, seats: std::ops::Range<usize>| {
        let pass = world.admit(&person, concert).await;
        let body = json!({ "concertId": concert.id, "seatIds": &concert.seats[seats] });
        world.post("/reservation", &body).by(&person).pass(&pass).send().await
    };
    attempt(&tight, 0..3).await.assert_problem(409, "seat_limit");
    assert_eq!(attempt(&tight, 0..2).await.status, 200);
    attempt(&tight, 2..3).await.assert_problem(409, "seat_limit");
    assert_eq!(attempt(&wide, 0..5).await.status, 200);
    attempt(&wide, 5..7).await.assert_problem(409, "seat_limit");
    assert_eq!(attempt(&wide, 5..6).await.status, 200);
    let shown = async |concert: &Concert| {
        world.get(&format!("/concerts/{}", concert.id)).send().await.json["seatsPerUser"].clone()
    };
    assert_eq!((shown(&tight).await, shown(&wide).await), (json!(2), json!(6)));
    let ordinary = world.concert(1, "10").await;
    let seen =
        eventually("the new concert", async || Some(shown(&ordinary).await).filter(serde_json::Value::is_number));
    assert_eq!(seen.await, json!(4));
    // A limit that is lowered below what somebody has takes nothing away, and gives nothing more.
    world.execute(&format!("UPDATE concerts SET seats_per_user = 1 WHERE id = '{}'", wide.id)).await;
    attempt(&wide, 6..7).await.assert_problem(409, "seat_limit");
    world.assert_invariants().await;
}
