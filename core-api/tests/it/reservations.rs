//! Holding seats, giving them back, and losing them to the clock.

use chrono::{TimeDelta, Utc};
use common::clock::Clock as _;
use common::tokens::PassId;
use serde_json::{Value, json};
use sqlx::Connection as _;

use crate::support::{Options, World, eventually, ticket, world, world_with};

async fn seat_status(world: &World, concert: &crate::support::Concert, seat: usize) -> String {
    world.sql(&format!("SELECT status FROM seats WHERE id = '{}'", concert.seats[seat])).await
}

#[tokio::test]
async fn a_seat_is_held_by_id_or_number_until_the_deadline() {
    let world = world().await;
    let concert = world.concert(5, "120").await;
    let person = world.user("0").await;
    let pass = world.admit(&person, &concert).await;
    let by_id = json!({ "concertId": concert.id, "seatId": concert.seats[0], "unknownField": 1 });
    let by_number = json!({ "concertId": concert.id, "seatNumber": 2 });
    let by_section = json!({ "concertId": concert.id, "seatNumber": 3, "section": "A" });
    for (n, body) in [by_id, by_number, by_section].iter().enumerate() {
        // The pass as a cookie works as well.
        let request = world.post("/reservation", body).by(&person).header("cookie", &format!("QueueToken={pass}"));
        let answer = request.send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let seat = json!({ "seatId": concert.seats[n], "seatNumber": n + 1, "section": "A", "price": 120.0 });
        assert_eq!(answer.json["seats"], json!([seat]));
        assert_eq!((&answer.json["expiresIn"], &answer.json["expiresInSeconds"]), (&json!("5분"), &json!(300)));
        assert_eq!((&answer.json["status"], &answer.json["amount"]), (&json!("pending"), &json!(120.0)));
        assert_eq!(answer.json.get("reservations"), None);
        let left = answer.json["expiresAt"].as_str().unwrap().parse::<chrono::DateTime<Utc>>().unwrap() - Utc::now();
        assert!((295..=300).contains(&left.num_seconds()), "{left}");
        assert_eq!(seat_status(&world, &concert, n).await, "reserved_temp");
        let fence = world
            .sql(&format!("SELECT hold_fence FROM reservations WHERE id = '{}'", answer.uuid("reservationId")))
            .await;
        assert_eq!(world.lock(&concert, n).await, Some(format!("{}:{fence}", person.id.compact())));
        let key = format!("hold:v1:{{{}}}:seat:{}", concert.id, concert.seats[n]);
        let life_ms: u64 = world.redis(&["PTTL", &key]).await.unwrap().parse().unwrap();
        assert!((300_000..=310_000).contains(&life_ms), "as long as it may be paid for, and the grace: {life_ms}");
    }
    let english = json!({ "concertId": concert.id, "seatNumber": 4 });
    let answer =
        world.post("/reservation", &english).by(&person).pass(&pass).header("accept-language", "en").send().await;
    assert_eq!(answer.json["expiresIn"], "5 minutes");
    world.assert_invariants().await;
}

#[tokio::test]
async fn several_seats_are_held_all_or_none() {
    let world = world().await;
    let concert = world.concert(5, "100.10").await;
    let (first, second) = (world.user("0").await, world.user("0").await);
    let (pass, other_pass) = (world.admit(&first, &concert).await, world.admit(&second, &concert).await);
    let body = |seats: &[usize]| {
        let ids: Vec<_> = seats.iter().map(|n| concert.seats[*n]).collect();
        json!({ "concertId": concert.id, "seatIds": ids })
    };
    // In the order they were asked for, whatever the order of their ids.
    let answer = world.post("/reservation", &body(&[3, 1])).by(&first).pass(&pass).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let reservations = answer.json["reservations"].as_array().unwrap();
    assert_eq!(reservations.len(), 2);
    assert_eq!(reservations[0]["reservationId"], answer.json["reservationId"]);
    for (reservation, n) in reservations.iter().zip([3, 1]) {
        assert_eq!(reservation["seatId"], json!(concert.seats[n]));
        assert_eq!(reservation["amount"], json!(100.1));
        let row = format!("SELECT seat_id FROM reservations WHERE id = {}", reservation["reservationId"]);
        assert_eq!(world.sql(&row.replace('"', "'")).await, concert.seats[n].to_string());
    }
    assert!(answer.text.contains("\"amount\":200.20,\"seats\""), "{}", answer.text);
    let before = world.everything().await;
    let overlapping = world.post("/reservation", &body(&[0, 1, 2])).by(&second).pass(&other_pass).send().await;
    overlapping.assert_problem(409, "seat_taken");
    assert_eq!(world.everything().await, before);
    assert_eq!((world.lock(&concert, 0).await, world.lock(&concert, 2).await), (None, None));
}

#[tokio::test]
async fn of_fifty_buyers_of_one_seat_one_gets_it() {
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(1, "10").await;
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    let mut buyers = Vec::new();
    for n in 0..50 {
        let person = world.user("0").await;
        let pass = world.admit(&person, &concert).await;
        let request =
            if n % 2 == 0 { world.post("/reservation", &body) } else { world.post_to(other, "/reservation", &body) };
        buyers.push(request.by(&person).pass(&pass).send());
    }
    let answers = futures_util::future::join_all(buyers).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((won.len(), lost.len()), (1, 49));
    for answer in &lost {
        answer.assert_problem(409, "seat_taken");
    }
    assert_eq!(world.sql("SELECT count(*) FROM reservations").await, "1");
    world.assert_invariants().await;
}

#[tokio::test]
async fn overlapping_groups_at_once_never_share_or_split() {
    let world = world().await;
    let concert = world.concert(8, "10").await;
    let mut requests = Vec::new();
    for n in 0..24_usize {
        let person = world.user("0").await;
        let pass = world.admit(&person, &concert).await;
        // Neighbours around a ring, half of them in the other order.
        let mut seats = [concert.seats[n % 8], concert.seats[(n + 1) % 8], concert.seats[(n + 2) % 8]];
        if n % 2 == 0 {
            seats.reverse();
        }
        let body = json!({ "concertId": concert.id, "seatIds": seats });
        requests.push(world.post("/reservation", &body).by(&person).pass(&pass).send());
    }
    let answers = futures_util::future::join_all(requests).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((1..=2).contains(&won), "{won}");
    let users = "SELECT count(*) FROM (SELECT FROM reservations GROUP BY user_id HAVING count(*) = 3) t";
    assert_eq!(world.sql(users).await, won.to_string());
    assert_eq!(world.sql("SELECT count(*) FROM reservations").await, (won * 3).to_string());
    world.assert_invariants().await;
}

#[tokio::test]
async fn losing_touches_no_postgres() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    let (winner, loser) = (world.user("10").await, world.user("0").await);
    // One seat is paid for, so that it has no lock any more, and one is held.
    let paid = world.hold(&winner, &concert, 1).await;
    assert_eq!(world.post("/payment", &json!({ "reservationId": paid })).by(&winner).send().await.status, 200);
    world.hold(&winner, &concert, 0).await;
    let pass = world.admit(&loser, &concert).await;
    let attempt = async |seat: usize| {
        let body = json!({ "concertId": concert.id, "seatNumber": seat + 1 });
        world.post("/reservation", &body).by(&loser).pass(&pass).send().await.assert_problem(409, "seat_taken");
    };
    world.execute("CREATE SEQUENCE tries; CREATE FUNCTION count_try() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('tries'); RETURN NULL; END $$; CREATE TRIGGER count_try BEFORE INSERT ON reservations FOR EACH STATEMENT EXECUTE FUNCTION count_try()").await;
    let inserts = "SELECT is_called FROM tries";
    // What is known of the hall is two seconds old at most: soon it is known that the seat is sold.
    eventually("no try for the sold seat reaches the database", async || {
        attempt(1).await;
        let reached = world.sql(inserts).await == "true";
        world.execute("ALTER SEQUENCE tries RESTART").await;
        (!reached).then_some(())
    })
    .await;
    // Whatever got further than what is read for everybody would wait for this now, and then fail.
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE reservations, users IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    attempt(0).await;
    transaction.rollback().await.unwrap();
}

/// How many transactions a database has seen, as another database of its server tells.
async fn transactions(world: &World) -> i64 {
    let (server, name) = world.database_url.rsplit_once('/').unwrap();
    let mut connection = sqlx::PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
    let count = sqlx::query_scalar("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1")
        .bind(name)
        .fetch_one(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    count
}

#[tokio::test]
async fn a_thousand_who_lose_cost_postgres_no_transaction_of_their_own() {
    // One connection, which the sweeper keeps busy, so that what it did is soon in the statistics.
    let world = world_with(Options { settings: vec![("DATABASE_MAX_CONNECTIONS", "1")], ..Options::default() }).await;
    let concert = world.concert(2, "10").await;
    let (winner, loser) = (world.user("0").await, world.user("0").await);
    world.hold(&winner, &concert, 0).await;
    let pass = world.admit(&loser, &concert).await;
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    let counted = async || {
        // Statistics come in about once a second: the second that comes from now on was made from now on.
        let mut last = transactions(&world).await;
        for _ in 0..2 {
            last = eventually("statistics", async || Some(transactions(&world).await).filter(|count| *count != last))
                .await;
        }
        last
    };
    let before = counted().await;
    let started = std::time::Instant::now();
    for _ in 0..20 {
        let attempts = (0..50).map(|_| world.post("/reservation", &body).by(&loser).pass(&pass).send());
        for answer in futures_util::future::join_all(attempts).await {
            answer.assert_problem(409, "seat_taken");
        }
    }
    let cost = counted().await - before;
    // Sweeps, and what is read for everybody: so many a second however many ask.
    let of_everybody = 15 * (i64::try_from(started.elapsed().as_secs()).unwrap() + 2);
    assert!(cost <= of_everybody && of_everybody < 500, "{cost} transactions, {of_everybody} of them for everybody");
}

#[tokio::test]
async fn nobody_gets_more_seats_of_a_concert_than_the_limit_even_at_once() {
    let world = world().await;
    let (concert, another) = (world.concert(10, "10").await, world.concert(1, "10").await);
    let person = world.user("100").await;
    let pass = world.admit(&person, &concert).await;
    let body = |seat: usize| json!({ "concertId": concert.id, "seatId": concert.seats[seat] });
    let all = (0..10).map(|seat| world.post("/reservation", &body(seat)).by(&person).pass(&pass).send());
    let answers: Vec<_> = futures_util::future::join_all(all.collect::<Vec<_>>()).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 4);
    for (seat, answer) in answers.iter().enumerate().filter(|(_, answer)| answer.status != 200) {
        answer.assert_problem(409, "seat_limit");
        assert_eq!(world.lock(&concert, seat).await, None, "the lock is given back");
    }
    // Paid seats count, canceled ones do not; another concert is another limit.
    let held = answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.uuid("reservationId"));
    let held: Vec<_> = held.collect();
    let free = answers.iter().position(|answer| answer.status != 200).unwrap();
    let paid = world.post("/payment", &json!({ "reservationId": held[0] })).by(&person).send().await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    world.post("/reservation", &body(free)).by(&person).pass(&pass).send().await.assert_problem(409, "seat_limit");
    assert_eq!(world.delete(&format!("/reservation/{}", held[1])).by(&person).send().await.status, 200);
    assert_eq!(world.post("/reservation", &body(free)).by(&person).pass(&pass).send().await.status, 200);
    world.hold(&person, &another, 0).await;
    let five = json!({ "concertId": concert.id, "seatIds": &concert.seats[5..10] });
    world.post("/reservation", &five).by(&person).pass(&pass).send().await.assert_problem(409, "seat_limit");
}

#[tokio::test]
async fn only_the_admitted_reserve() {
    let world = world().await;
    let (concert, another) = (world.concert(3, "10").await, world.concert(3, "10").await);
    let (person, stranger) = (world.user("0").await, world.user("0").await);
    let id = PassId { position: 7, nonce: 3 };
    let later = world.clock.now() + TimeDelta::minutes(5);
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    let valid = world.admit(&person, &concert).await;
    let before = world.everything().await;
    let attempt = async |pass: &str| world.post("/reservation", &body).by(&person).pass(pass).send().await;

    world.post("/reservation", &body).by(&person).send().await.assert_problem(403, "not_admitted");
    world.post("/reservation", &body).pass(&valid).send().await.assert_problem(401, "unauthenticated");
    attempt(&ticket(person.id, concert.id)).await.assert_problem(403, "not_admitted");
    attempt(&world.admit(&stranger, &concert).await).await.assert_problem(403, "not_admitted");
    attempt(&world.admit(&person, &another).await).await.assert_problem(403, "not_admitted");
    let expired = world.pass(person.id, concert.id, id, world.clock.now() - TimeDelta::seconds(1));
    attempt(&expired).await.assert_problem(403, "not_admitted");
    // A pass of an earlier admission.
    let earlier = world.pass(person.id, concert.id, PassId { position: 7, nonce: 2 }, later);
    attempt(&earlier).await.assert_problem(403, "not_admitted");
    let forged = common::tokens::PassSigner::new(&[common::tokens::generate_pass_key().unwrap().0]).unwrap();
    let forged = forged.sign(&common::tokens::Pass { user: person.id, concert: concert.id, id, expires_at: later });
    attempt(&forged).await.assert_problem(401, "invalid_queue_token");
    for nonsense in ["x", "a.b.c", &"x".repeat(4_000)] {
        attempt(nonsense).await.assert_problem(401, "invalid_queue_token");
    }
    // The pass lasts, its lease has ended: its bearer left, or somebody's clock was wrong.
    world.lease(&person, &concert, id, Utc::now() - TimeDelta::milliseconds(1)).await;
    attempt(&valid).await.assert_problem(403, "not_admitted");
    assert_eq!(world.everything().await, before);
    world.lease(&person, &concert, id, Utc::now() + TimeDelta::minutes(1)).await;
    assert_eq!(attempt(&valid).await.status, 200);
}

#[tokio::test]
async fn what_does_not_exist_or_is_not_on_sale_is_not_held() {
    let world = world().await;
    let (concert, another) = (world.concert(3, "10").await, world.concert(3, "10").await);
    let day = "now_utc()::date + 9";
    let later = world.concert_with(1, "10", day, "now_utc() + interval '1 minute'", "NULL").await;
    let over = world.concert_with(1, "10", day, "NULL", "now_utc()").await;
    let yesterday = world.concert_with(1, "10", "now_utc()::date - 1", "NULL", "NULL").await;
    let sold = world.concert(1, "10").await;
    world.execute(&format!("UPDATE seats SET status = 'reserved_final' WHERE concert_id = '{}'", sold.id)).await;
    let unknown = crate::support::Concert { id: common::ids::ConcertId::generate(), seats: Vec::new() };
    let person = world.user("0").await;
    let before = world.everything().await;
    for (concert, seat, status, error) in [
        (&concert, json!({ "seatId": another.seats[0] }), 404, "not_found"),
        (&concert, json!({ "seatIds": [concert.seats[0], uuid::Uuid::nil()] }), 404, "not_found"),
        (&concert, json!({ "seatNumber": 4 }), 404, "not_found"),
        (&concert, json!({ "seatNumber": 1, "section": "B" }), 404, "not_found"),
        (&unknown, json!({ "seatNumber": 1 }), 404, "not_found"),
        (&later, json!({ "seatNumber": 1 }), 409, "not_on_sale"),
        (&over, json!({ "seatNumber": 1 }), 409, "sales_closed"),
        (&later, json!({ "quantity": 1 }), 409, "not_on_sale"),
        (&over, json!({ "quantity": 1 }), 409, "sales_closed"),
        (&unknown, json!({ "quantity": 1 }), 404, "not_found"),
        (&sold, json!({ "quantity": 1 }), 409, "no_seats_together"),
        (&yesterday, json!({ "seatNumber": 1 }), 409, "sales_closed"),
        (&sold, json!({ "seatNumber": 1 }), 409, "seat_taken"),
    ] {
        let pass = world.admit(&person, concert).await;
        let mut body = seat.clone();
        body["concertId"] = json!(concert.id);
        let answer = world.post("/reservation", &body).by(&person).pass(&pass).send().await;
        answer.assert_problem(status, error);
    }
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn a_reservation_is_its_owner_s_to_see() {
    let world = world().await;
    let concert = world.concert(4, "10").await;
    let (person, stranger) = (world.user("100").await, world.user("0").await);
    let mut held = Vec::new();
    for seat in 0..3 {
        held.push(world.hold(&person, &concert, seat).await);
    }
    let path = format!("/reservation/{}", held[0]);
    let one = world.get(&path).by(&person).send().await;
    assert_eq!(one.status, 200);
    assert_eq!(one.uuid("reservationId"), held[0]);
    assert_eq!(one.json["concertId"], concert.id.to_string());
    assert!(one.json["expiresInSeconds"].as_u64().unwrap() > 290);
    assert_eq!(one.json.get("completedAt"), None);
    world.get(&path).by(&stranger).send().await.assert_problem(404, "not_found");
    world.get(&path).send().await.assert_problem(401, "unauthenticated");
    world.delete(&path).by(&stranger).send().await.assert_problem(404, "not_found");
    assert_eq!(world.get(&path).by(&person).send().await.json["status"], "pending");

    let paid = world.post("/payment", &json!({ "reservationId": held[0] })).by(&person).send().await;
    assert_eq!(paid.status, 200);
    let one = world.get(&path).by(&person).send().await;
    assert_eq!((&one.json["status"], &one.json["expiresInSeconds"]), (&json!("completed"), &json!(0)));
    assert!(one.json["completedAt"].as_str().unwrap().ends_with('Z'));

    let first = world.get("/reservation?limit=2").by(&person).send().await;
    let ids = |answer: &Value| -> Vec<String> {
        answer["data"].as_array().unwrap().iter().map(|r| r["reservationId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&first.json), [held[2].to_string(), held[1].to_string()]);
    let cursor = first.json["nextCursor"].as_str().unwrap();
    let second = world.get(&format!("/reservation?limit=2&cursor={cursor}")).by(&person).send().await;
    assert_eq!((ids(&second.json), &second.json["nextCursor"]), (vec![held[0].to_string()], &Value::Null));
    assert_eq!(world.get("/reservation").by(&stranger).send().await.json, json!({ "data": [], "nextCursor": null }));
}

#[tokio::test]
async fn a_cluster_does_as_well() {
    let world = world_with(Options { cluster: true, ..Options::default() }).await;
    let concert = world.concert(3, "10").await;
    let person = world.user("0").await;
    // The test's own connection knows one node only, so the lease goes in through a cluster client.
    let urls = tokio::task::spawn_blocking(|| stack::shared::redis_cluster_urls().unwrap()).await.unwrap();
    let client = redis::cluster::ClusterClient::new(urls.split(',')).unwrap();
    let mut cluster = client.get_async_connection().await.unwrap();
    let id = PassId { position: 7, nonce: 3 };
    let end = Utc::now() + TimeDelta::minutes(1);
    let key = |name: &str| format!("wr:v1:{{{}}}:{name}", concert.id);
    let _: () = redis::cmd("ZADD")
        .arg(key("leases"))
        .arg(end.timestamp_millis())
        .arg(person.id.compact())
        .query_async(&mut cluster)
        .await
        .unwrap();
    let _: () = redis::cmd("HSET")
        .arg(key("passes"))
        .arg(person.id.compact())
        .arg(id.to_string())
        .query_async(&mut cluster)
        .await
        .unwrap();
    let pass = world.pass(person.id, concert.id, id, end);
    let body = json!({ "concertId": concert.id, "seatIds": concert.seats });
    let held = world.post("/reservation", &body).by(&person).pass(&pass).send().await;
    assert_eq!(held.status, 200, "{}", held.text);
    world
        .post("/reservation", &json!({ "concertId": concert.id, "seatNumber": 1 }))
        .by(&person)
        .pass(&pass)
        .send()
        .await
        .assert_problem(409, "seat_taken");
    let path = format!("/reservation/{}", held.uuid("reservationId"));
    assert_eq!(world.delete(&path).by(&person).send().await.status, 200);
    let again = json!({ "concertId": concert.id, "seatNumber": 1 });
    assert_eq!(world.post("/reservation", &again).by(&person).pass(&pass).send().await.status, 200);
}
