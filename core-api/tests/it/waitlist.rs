//! Seats that come free, offered to who waits, in their order.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Answer;
use crate::support::{Concert, Person, World, eventually, world};

fn path(concert: &Concert) -> String {
    format!("/concerts/{}/waitlist", concert.id)
}

async fn join(world: &World, person: &Person, concert: &Concert, body: &Value) -> Answer {
    world.post(&path(concert), body).by(person).send().await
}

async fn standing(world: &World, person: &Person, concert: &Concert) -> Answer {
    world.get(&path(concert)).by(person).send().await
}

/// The offer that somebody has, once they have one.
async fn offer(world: &World, person: &Person, concert: &Concert) -> Uuid {
    eventually("an offer", async || {
        let answer = standing(world, person, concert).await;
        let id = answer.json["offer"]["reservationId"].as_str()?.parse().ok();
        assert_eq!((&answer.json["status"], answer.json.get("place")), (&json!("offered"), None));
        id
    })
    .await
}

async fn cancel(world: &World, person: &Person, reservation: Uuid) -> Answer {
    world.delete(&format!("/reservation/{reservation}")).by(person).send().await
}

async fn expire(world: &World, reservation: Uuid) {
    let deadline = "UPDATE reservations SET payment_deadline = now_utc() WHERE id =";
    world.execute(&format!("{deadline} '{reservation}'")).await;
}

#[tokio::test]
async fn a_seat_goes_from_one_to_the_next_in_the_order_of_joining() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let holder = world.user("0").await;
    let held = world.hold(&holder, &concert, 0).await;
    let people = [world.user("100").await, world.user("100").await, world.user("100").await];
    for (n, person) in people.iter().enumerate() {
        for _ in 0..2 {
            let joined = join(&world, person, &concert, &json!({})).await;
            assert_eq!(joined.status, 200, "{}", joined.text);
            assert_eq!((&joined.json["status"], &joined.json["place"]), (&json!("waiting"), &json!(n + 1)));
        }
    }
    let [first, second, third] = &people;
    standing(&world, &holder, &concert).await.assert_problem(404, "not_found");

    // Given back: the first one's, at once, and nobody else's.
    assert_eq!(cancel(&world, &holder, held).await.status, 200);
    let offered = offer(&world, first, &concert).await;
    let reservation = world.get(&format!("/reservation/{offered}")).by(first).send().await;
    assert_eq!(reservation.json["status"], "pending");
    let left = reservation.json["expiresInSeconds"].as_u64().unwrap();
    assert!((595..=600).contains(&left), "{left}");
    let lock = world.lock(&concert, 0).await.unwrap();
    assert!(lock.starts_with(&first.id.compact()), "{lock}");
    let pass = world.admit(&holder, &concert).await;
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    world.post("/reservation", &body).by(&holder).pass(&pass).send().await.assert_problem(409, "seat_taken");
    // It is given back once only, whatever is repeated.
    assert_eq!(cancel(&world, &holder, held).await.status, 200);
    assert_eq!(standing(&world, second, &concert).await.json["place"], 1);
    // Who has an offer keeps it, and has no second place.
    assert_eq!(join(&world, first, &concert, &json!({})).await.json["offer"]["reservationId"], offered.to_string());
    assert_eq!(standing(&world, second, &concert).await.json["place"], 1);

    // Not paid in time: the next one's. Declined: the next one's. Paid: theirs.
    expire(&world, offered).await;
    let offered = offer(&world, second, &concert).await;
    standing(&world, first, &concert).await.assert_problem(404, "not_found");
    let declined = world.delete(&path(&concert)).by(second).send().await;
    assert_eq!((declined.status.as_u16(), &declined.json["status"]), (200, &json!("left")));
    let canceled = world.get(&format!("/reservation/{offered}")).by(second).send().await;
    assert_eq!(canceled.json["status"], "canceled");
    world.delete(&path(&concert)).by(second).send().await.assert_problem(404, "not_found");
    let offered = offer(&world, third, &concert).await;
    assert_eq!(world.post("/payment", &json!({ "reservationId": offered })).by(third).send().await.status, 200);
    standing(&world, third, &concert).await.assert_problem(404, "not_found");
    // Who has paid has nothing to decline.
    world.delete(&path(&concert)).by(third).send().await.assert_problem(404, "not_found");
    assert_eq!(world.sql("SELECT status FROM seats").await, "reserved_final");

    // Refunded, and somebody waits again; refunded, and nobody does.
    join(&world, first, &concert, &json!({})).await;
    assert_eq!(cancel(&world, third, offered).await.status, 200);
    let offered = offer(&world, first, &concert).await;
    assert_eq!(world.post("/payment", &json!({ "reservationId": offered })).by(first).send().await.status, 200);
    assert_eq!(cancel(&world, first, offered).await.status, 200);
    assert_eq!(world.sql("SELECT status FROM seats").await, "available");
    assert_eq!(world.lock(&concert, 0).await, None);
    world.assert_invariants().await;
}

#[tokio::test]
async fn who_can_not_have_a_seat_is_passed_over_and_keeps_their_place() {
    let world = world().await;
    // Sections 000 and 001.
    let concert = world.concert(100, "10").await;
    world.execute(&format!("UPDATE concerts SET seats_per_user = 1 WHERE id = '{}'", concert.id)).await;
    let (holder, sated, choosy, last) =
        (world.user("0").await, world.user("0").await, world.user("0").await, world.user("0").await);
    let held = world.hold(&holder, &concert, 0).await;
    let own = world.hold(&sated, &concert, 60).await;
    assert_eq!(join(&world, &sated, &concert, &json!({})).await.json["place"], 1);
    assert_eq!(join(&world, &choosy, &concert, &json!({ "section": "001" })).await.json["place"], 2);
    assert_eq!(join(&world, &last, &concert, &json!({ "section": "000" })).await.json["place"], 2, "of two for 000");
    join(&world, &last, &concert, &json!({ "section": "X" })).await.assert_problem(404, "not_found");

    assert_eq!(cancel(&world, &holder, held).await.status, 200);
    offer(&world, &last, &concert).await;
    assert_eq!(standing(&world, &sated, &concert).await.json["place"], 1);
    assert_eq!(standing(&world, &choosy, &concert).await.json["place"], 2);
    // Their own seat comes back: they may have one again, and are the first.
    assert_eq!(cancel(&world, &sated, own).await.status, 200);
    offer(&world, &sated, &concert).await;
    assert_eq!(standing(&world, &choosy, &concert).await.json["place"], 1);
    world.assert_invariants().await;
}

#[tokio::test]
async fn of_many_seats_at_once_the_first_get_one_each_and_nobody_comes_in_between() {
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(20, "10").await;
    world.execute(&format!("UPDATE concerts SET seats_per_user = 20 WHERE id = '{}'", concert.id)).await;
    let holder = world.user("0").await;
    let pass = world.admit(&holder, &concert).await;
    let all = json!({ "concertId": concert.id, "seatIds": concert.seats });
    assert_eq!(world.post("/reservation", &all).by(&holder).pass(&pass).send().await.status, 200);
    let mut people = Vec::new();
    for _ in 0..30 {
        let person = world.user("0").await;
        assert_eq!(join(&world, &person, &concert, &json!({})).await.status, 200);
        people.push(person);
    }
    let buyer = world.user("0").await;
    let buyer_pass = world.admit(&buyer, &concert).await;
    // Half end by their deadline, in whichever process sweeps, the others are given back through both at once.
    let reservations = world.sql("SELECT string_agg(id::text, ',') FROM reservations").await;
    let reservations: Vec<&str> = reservations.split(',').collect();
    let (late, given_back) = reservations.split_at(10);
    world
        .execute(&format!(
            "UPDATE reservations SET payment_deadline = now_utc() WHERE id = ANY('{{{}}}'::uuid[])",
            late.join(",")
        ))
        .await;
    let returns = given_back.iter().enumerate().map(|(n, id)| {
        let address = if n % 2 == 0 { world.address } else { other };
        let request = reqwest::Client::new().delete(format!("http://{address}/reservation/{id}"));
        let request = crate::client::Request::new(request).by(&holder);
        async move { assert_eq!(request.send().await.status, 200) }
    });
    let attempts = (0..60).map(|n| {
        let seat = concert.seats[n % 20];
        world.post("/reservation", &json!({ "concertId": concert.id, "seatId": seat })).by(&buyer).pass(&buyer_pass)
    });
    let attempts = attempts.map(|request| async move {
        request.send().await.assert_problem(409, "seat_taken");
    });
    tokio::join!(futures_util::future::join_all(returns), futures_util::future::join_all(attempts));
    for person in &people[..20] {
        offer(&world, person, &concert).await;
    }
    for (n, person) in people[20..].iter().enumerate() {
        assert_eq!(standing(&world, person, &concert).await.json["place"], json!(n + 1));
    }
    let given = "SELECT count(DISTINCT user_id) || ' of ' || count(DISTINCT seat_id) || ' of ' || count(*)
                 FROM reservations WHERE status = 'pending'";
    assert_eq!(world.sql(given).await, "20 of 20 of 20");
    world.assert_invariants().await;
}

#[tokio::test]
async fn an_offer_that_fails_half_way_is_made_again_and_the_seat_is_nobody_else_s_meanwhile() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let (holder, waiting) = (world.user("0").await, world.user("0").await);
    let held = world.hold(&holder, &concert, 0).await;
    join(&world, &waiting, &concert, &json!({})).await;
    // As late as can be: the reservation is written by then, and the lock handed on.
    world
        .execute(
            "CREATE FUNCTION crash() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
             CREATE TRIGGER crash BEFORE UPDATE ON waitlist FOR EACH ROW EXECUTE FUNCTION crash()",
        )
        .await;
    assert_eq!(cancel(&world, &holder, held).await.status, 200);
    assert_eq!(world.sql("SELECT status || handing_on FROM seats").await, "availabletrue");
    assert_eq!(world.lock(&concert, 0).await, None);
    assert_eq!(world.sql("SELECT count(*) FROM reservations WHERE status = 'pending'").await, "0");
    assert_eq!(standing(&world, &waiting, &concert).await.json["place"], 1);
    let pass = world.admit(&holder, &concert).await;
    let wanted = json!({ "concertId": concert.id, "seatId": concert.seats[0] });
    world.post("/reservation", &wanted).by(&holder).pass(&pass).send().await.assert_problem(409, "seat_taken");
    world.execute("DROP TRIGGER crash ON waitlist").await;
    offer(&world, &waiting, &concert).await;
    world.assert_invariants().await;
}

#[tokio::test]
async fn only_what_is_sold_is_waited_for_and_only_by_who_is_signed_in() {
    let world = world().await;
    let day = "now_utc()::date + 9";
    let later = world.concert_with(1, "10", day, "now_utc() + interval '1 minute'", "NULL").await;
    let over = world.concert_with(1, "10", day, "NULL", "now_utc()").await;
    let person = world.user("0").await;
    join(&world, &person, &later, &json!({})).await.assert_problem(409, "not_on_sale");
    join(&world, &person, &over, &json!({})).await.assert_problem(409, "sales_closed");
    let unknown = Concert { id: common::ids::ConcertId::generate(), seats: Vec::new() };
    join(&world, &person, &unknown, &json!({})).await.assert_problem(404, "not_found");
    for body in [json!({ "section": "" }), json!({ "section": 7 }), json!({ "section": "a\u{0}" }), json!([])] {
        join(&world, &person, &later, &body).await.assert_problem(400, "invalid_request");
    }
    world.post(&path(&later), &json!({})).send().await.assert_problem(401, "unauthenticated");
    world.get(&path(&later)).send().await.assert_problem(401, "unauthenticated");
    world.delete(&path(&later)).send().await.assert_problem(401, "unauthenticated");

    // A list of as many as may wait takes nobody more.
    let concert = world.concert(1, "10").await;
    world
        .execute(&format!(
            "WITH people AS (INSERT INTO users (id, username, email)
                             SELECT gen_random_uuid(), 'w', 'w' || n || '@example.com' FROM generate_series(1, 10000) n
                             RETURNING id)
             INSERT INTO waitlist (concert_id, user_id) SELECT '{}', id FROM people",
            concert.id
        ))
        .await;
    eventually("the concert is known", async || {
        (world.get(&format!("/concerts/{}", concert.id)).send().await.status == 200).then_some(())
    })
    .await;
    join(&world, &person, &concert, &json!({})).await.assert_problem(409, "waitlist_full");
}

#[tokio::test]
async fn nobody_is_offered_a_seat_of_a_sale_that_was_put_off() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    let (holder, waiting) = (world.user("0").await, world.user("0").await);
    let held = [world.hold(&holder, &concert, 0).await, world.hold(&holder, &concert, 1).await];
    join(&world, &waiting, &concert, &json!({})).await;
    for (held, column) in held.into_iter().zip(["sale_opens_at", "announced_at"]) {
        world.execute(&format!("UPDATE concerts SET {column} = now_utc() + interval '1 hour'")).await;
        assert_eq!(cancel(&world, &holder, held).await.status, 200);
        assert_eq!(standing(&world, &waiting, &concert).await.json["status"], "waiting", "{column}");
        world.execute(&format!("UPDATE concerts SET {column} = NULL")).await;
    }
    assert_eq!(world.sql("SELECT count(*) FROM seats WHERE status = 'available'").await, "2");
    assert_eq!((world.lock(&concert, 0).await, world.lock(&concert, 1).await), (None, None));
}

#[tokio::test]
async fn giving_back_again_offers_nobody_what_is_on_sale() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let (holder, waiting) = (world.user("0").await, world.user("0").await);
    let held = world.hold(&holder, &concert, 0).await;
    assert_eq!(cancel(&world, &holder, held).await.status, 200);
    assert_eq!(join(&world, &waiting, &concert, &json!({})).await.json["place"], 1);
    // The seat is anybody's by now, and none of this reservation's business.
    assert_eq!(cancel(&world, &holder, held).await.status, 200);
    assert_eq!(standing(&world, &waiting, &concert).await.json["status"], "waiting");
    assert_eq!(world.sql("SELECT status FROM seats").await, "available");
    assert_eq!(world.lock(&concert, 0).await, None);
}

/// As a process leaves a seat that dies right after it has ended its reservation.
async fn die_after_ending(world: &World) {
    world
        .execute(
            "WITH ended AS (UPDATE reservations SET status = 'canceled' RETURNING seat_id)
             UPDATE seats SET status = 'available' FROM ended WHERE id = seat_id",
        )
        .await;
}

#[tokio::test]
async fn a_seat_that_a_crash_left_in_the_middle_of_being_handed_on_is_the_next_one_s() {
    // The lock of the reservation that ended, the one that was passed on, and none where Redis has lost its memory.
    for lock in ["the ended one's", "passed on", "none"] {
        let world = world().await;
        let concert = world.concert(2, "10").await;
        let (gone, waiting) = (world.user("0").await, world.user("0").await);
        world.hold(&gone, &concert, 0).await;
        join(&world, &waiting, &concert, &json!({})).await;
        let key = format!("hold:v1:{{{}}}:seat:{}", concert.id, concert.seats[0]);
        match lock {
            "passed on" => drop(world.redis(&["SET", &key, &format!("{}:999", waiting.id.compact())]).await),
            "none" => drop(world.redis(&["DEL", &key]).await),
            _ => {}
        }
        die_after_ending(&world).await;
        let pass = world.admit(&gone, &concert).await;
        let wanted = json!({ "concertId": concert.id, "seatId": concert.seats[0] });
        let attempt = world.post("/reservation", &wanted).by(&gone).pass(&pass).send().await;
        attempt.assert_problem(409, "seat_taken");
        let (handing_on, now) = (world.handing_on(), std::time::Instant::now());
        handing_on.look(now).await.unwrap();
        handing_on.look(now + std::time::Duration::from_secs(5)).await.unwrap();
        offer(&world, &waiting, &concert).await;
        world.assert_invariants().await;
    }
}

#[tokio::test]
async fn a_seat_that_nobody_who_waits_takes_is_everybody_s() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    world.execute(&format!("UPDATE concerts SET seats_per_user = 1 WHERE id = '{}'", concert.id)).await;
    let (gone, sated) = (world.user("0").await, world.user("0").await);
    world.hold(&sated, &concert, 1).await;
    let held = world.hold(&gone, &concert, 0).await;
    join(&world, &sated, &concert, &json!({})).await;
    assert_eq!(cancel(&world, &gone, held).await.status, 200);
    assert_eq!(world.sql("SELECT count(*) FROM seats WHERE handing_on").await, "0");
    world.hold(&gone, &concert, 0).await;
    world.assert_invariants().await;
}
