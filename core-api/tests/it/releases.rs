//! Seats that come free again: given back, not paid for, or held by somebody who is gone.

use serde_json::json;

use crate::support::{Options, World, eventually, world, world_with};

async fn seat_status(world: &World, concert: &crate::support::Concert, seat: usize) -> String {
    world.sql(&format!("SELECT status FROM seats WHERE id = '{}'", concert.seats[seat])).await
}

#[tokio::test]
async fn redis_without_its_memory_sells_nothing_twice() {
    let redis = tokio::task::spawn_blocking(|| stack::redis::Redis::start(&stack::redis::RedisOptions::default()));
    let redis = redis.await.unwrap().unwrap();
    let world = world_with(Options { redis_url: Some(redis.url()), ..Options::default() }).await;
    let concert = world.concert(3, "10").await;
    let (first, second) = (world.user("0").await, world.user("0").await);
    world.hold(&first, &concert, 0).await;
    redis.command(&["FLUSHALL"]).unwrap();
    let pass = world.admit(&second, &concert).await;
    let both = json!({ "concertId": concert.id, "seatIds": [concert.seats[1], concert.seats[0]] });
    world.post("/reservation", &both).by(&second).pass(&pass).send().await.assert_problem(409, "seat_taken");
    assert_eq!((world.lock(&concert, 0).await, world.lock(&concert, 1).await), (None, None), "locks are given back");
    assert_eq!(world.sql("SELECT count(*) FROM reservations").await, "1");
    // Two who find no lock at once: the index decides, not the look before it.
    let third = world.user("0").await;
    let third_pass = world.admit(&third, &concert).await;
    let body = json!({ "concertId": concert.id, "seatNumber": 3 });
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("INSERT INTO reservations (id, user_id, concert_id, seat_id, amount, payment_deadline) VALUES (gen_random_uuid(), $1, $2, $3, 10, now_utc() + interval '1 hour')")
        .bind(second.id.as_uuid()).bind(concert.id.as_uuid()).bind(concert.seats[2])
        .execute(&mut *transaction).await.unwrap();
    let attempt = world.post("/reservation", &body).by(&third).pass(&third_pass).send();
    let (answer, ()) = tokio::join!(attempt, async {
        eventually("it waits for the other transaction", async || {
            let waiting =
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            (world.sql(waiting).await != "0").then_some(())
        })
        .await;
        transaction.commit().await.unwrap();
    });
    answer.assert_problem(409, "seat_taken");
    assert_eq!(world.lock(&concert, 2).await, None);
}

#[tokio::test]
async fn a_seat_given_back_is_free_at_once_and_sold_again() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let (first, second) = (world.user("100").await, world.user("100").await);
    let reservation = world.hold(&first, &concert, 0).await;
    let path = format!("/reservation/{reservation}");
    // Doing it again changes nothing.
    for _ in 0..2 {
        let answer = world.delete(&path).by(&first).send().await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json, json!({ "reservationId": reservation, "status": "canceled" }));
    }
    assert_eq!(world.lock(&concert, 0).await, None);
    let list = world.get(&format!("/concerts/{}/seats", concert.id)).send().await;
    assert_eq!(list.json[0]["status"], "available");
    let again = world.hold(&second, &concert, 0).await;
    // The first one's DELETE is none of the second's business.
    assert_eq!(world.delete(&path).by(&first).send().await.status, 200);
    assert!(world.lock(&concert, 0).await.is_some());
    assert_eq!(world.post("/payment", &json!({ "reservationId": again })).by(&second).send().await.status, 200);
    world.assert_invariants().await;
}

#[tokio::test]
async fn what_is_not_paid_in_time_is_swept_and_sold_again() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    let (late, next) = (world.user("100").await, world.user("100").await);
    let reservation = world.hold(&late, &concert, 0).await;
    let kept = world.hold(&late, &concert, 1).await;
    world
        .execute(&format!(
            "UPDATE reservations SET payment_deadline = payment_deadline + interval '10 seconds' WHERE id = '{kept}'"
        ))
        .await;
    world.shift_database_clock("305 seconds").await;
    eventually("the sweeper", async || {
        (seat_status(&world, &concert, 0).await == "available" && world.lock(&concert, 0).await.is_none()).then_some(())
    })
    .await;
    let swept = world.get(&format!("/reservation/{reservation}")).by(&late).send().await;
    assert_eq!(swept.json["status"], "canceled");
    assert_eq!(seat_status(&world, &concert, 1).await, "reserved_temp", "not a second early");
    let pay = json!({ "reservationId": reservation });
    world.post("/payment", &pay).by(&late).send().await.assert_problem(410, "reservation_expired");
    world.hold(&next, &concert, 0).await;
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_lock_that_a_crash_left_behind_is_found_and_its_seat_offered_or_sold() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let (gone, waiting, next) = (world.user("0").await, world.user("0").await, world.user("0").await);
    let ended = |seat: usize| {
        format!(
            "WITH ended AS (UPDATE reservations SET status = 'canceled' WHERE seat_id = '{}' RETURNING seat_id)
             UPDATE seats SET status = 'available' FROM ended WHERE id = seat_id",
            concert.seats[seat]
        )
    };
    for seat in 0..3 {
        world.hold(&gone, &concert, seat).await;
    }
    // As a process leaves it that has ended a reservation and dies then.
    world.execute(&ended(0)).await;
    assert!(world.lock(&concert, 0).await.is_some());
    eventually("the lock is found", async || world.lock(&concert, 0).await.is_none().then_some(())).await;
    world.hold(&next, &concert, 0).await;
    let path = format!("/concerts/{}/waitlist", concert.id);
    assert_eq!(world.post(&path, &json!({})).by(&waiting).send().await.status, 200);
    world.execute(&ended(1)).await;
    eventually("it is offered to who waits", async || {
        let standing = world.get(&path).by(&waiting).send().await;
        (standing.json["status"] == "offered").then_some(())
    })
    .await;
    assert!(world.lock(&concert, 1).await.unwrap().starts_with(&waiting.id.compact()));
    assert!(world.lock(&concert, 2).await.unwrap().starts_with(&gone.id.compact()), "a live hold keeps its lock");
    world.assert_invariants().await;
}

#[tokio::test]
async fn many_sweepers_sweep_everything_once() {
    let world = world().await;
    for _ in 0..3 {
        world.start_another().await;
    }
    let concert = world.concert(2_000, "10").await;
    let person = world.user("0").await;
    world
        .execute(&format!(
            "INSERT INTO reservations (id, user_id, concert_id, seat_id, amount, payment_deadline, hold_fence)
             SELECT gen_random_uuid(), '{}', concert_id, id, 10, now_utc(), 1 FROM seats WHERE concert_id = '{}';
             UPDATE seats SET status = 'reserved_temp' WHERE concert_id = '{}'",
            person.id, concert.id, concert.id
        ))
        .await;
    eventually("all are swept", async || {
        (world.sql("SELECT count(*) FROM reservations WHERE status = 'pending'").await == "0").then_some(())
    })
    .await;
    assert_eq!(world.sql("SELECT count(*) FROM seats WHERE status <> 'available'").await, "0");
}

#[tokio::test]
async fn who_hangs_up_leaves_no_lock_without_a_reservation() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("0").await;
    let pass = world.admit(&person, &concert).await;
    // Warm: concert and hall are known, so that the request gets as far as the lock.
    world.get(&format!("/concerts/{}", concert.id)).send().await;
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE reservations IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    let mut request = Box::pin(world.post("/reservation", &body).by(&person).pass(&pass).send());
    tokio::select! {
        _ = &mut request => panic!("it can't be answered yet"),
        () = eventually("the seat is locked", async || world.lock(&concert, 0).await.map(|_| ())) => {}
    }
    drop(request);
    transaction.rollback().await.unwrap();
    eventually("the reservation is written though nobody waits", async || {
        (world.sql("SELECT count(*) FROM reservations").await == "1").then_some(())
    })
    .await;
    world.assert_invariants().await;
}

#[tokio::test]
async fn giving_back_again_releases_a_lock_that_a_crash_left_behind() {
    let world = world().await;
    let concert = world.concert(1, "100").await;
    let person = world.user("0").await;
    let pass = world.admit(&person, &concert).await;
    let body = json!({ "concertId": concert.id, "seatId": concert.seats[0] });
    let held = world.post("/reservation", &body).by(&person).pass(&pass).send().await;
    let id = held.uuid("reservationId");
    // As a process leaves it that dies between the commit and the release.
    world.execute(&format!("UPDATE reservations SET status = 'canceled' WHERE id = '{id}'")).await;
    world.execute(&format!("UPDATE seats SET status = 'available' WHERE id = '{}'", concert.seats[0])).await;
    assert!(world.lock(&concert, 0).await.is_some());
    assert_eq!(world.delete(&format!("/reservation/{id}")).by(&person).send().await.status, 200);
    assert_eq!(world.lock(&concert, 0).await, None, "the seat can be had again");
}
