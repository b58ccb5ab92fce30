//! Seats that core-api chooses: so many, side by side, the best there are, whoever else asks at the same moment.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::{Concert, Options, Person, World, world, world_with};

async fn ask(world: &World, person: &Person, concert: &Concert, wish: &Value) -> Answer {
    let pass = world.admit(person, concert).await;
    let mut body = wish.clone();
    body["concertId"] = json!(concert.id);
    world.post("/reservation", &body).by(person).pass(&pass).send().await
}

fn numbers(answer: &Answer) -> Vec<u64> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json["seats"].as_array().unwrap().iter().map(|seat| seat["seatNumber"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_best_seats_side_by_side_are_held() {
    let world = world().await;
    let concert = world.concert(10, "10").await;
    let person = world.user("100").await;
    let answer = ask(&world, &person, &concert, &json!({ "quantity": 2 })).await;
    assert_eq!(numbers(&answer), [5, 6]);
    assert_eq!(answer.json["amount"], json!(20.0));
    let ids: Vec<_> =
        answer.json["reservations"].as_array().unwrap().iter().map(|r| r["reservationId"].clone()).collect();
    assert_eq!((ids.len(), &ids[0]), (2, &answer.json["reservationId"]));
    let paid = world.post("/payment", &json!({ "reservationIds": ids })).by(&person).send().await;
    assert_eq!(paid.status, 200, "{}", paid.text);
    // Whichever three of four: one is left alone, so they are those in the middle with the lowest numbers.
    let other = world.user("0").await;
    assert_eq!(numbers(&ask(&world, &other, &concert, &json!({ "quantity": 3 })).await), [2, 3, 4]);
    world.assert_invariants().await;
}

#[tokio::test]
async fn what_is_not_to_be_had_is_refused_and_nothing_changes() {
    let world = world().await;
    let concert = world.concert(5, "10").await;
    world.execute(&format!("UPDATE seats SET price = 99 WHERE id = '{}'", concert.seats[4])).await;
    let (holder, person) = (world.user("0").await, world.user("0").await);
    world.hold(&holder, &concert, 2).await;
    let before = world.everything().await;
    for (wish, status, error) in [
        (json!({ "quantity": 3 }), 409, "no_seats_together"),
        (json!({ "quantity": 2, "maxPrice": 9.99 }), 409, "no_seats_together"),
        (json!({ "quantity": 4, "maxPrice": 10, "adjacent": false }), 409, "no_seats_together"),
        (json!({ "quantity": 5 }), 409, "seat_limit"),
        (json!({ "quantity": 1, "section": "B" }), 404, "not_found"),
        (json!({ "quantity": 0 }), 400, "invalid_request"),
        (json!({ "quantity": 21 }), 400, "invalid_request"),
        (json!({ "quantity": -1 }), 400, "invalid_request"),
        (json!({ "quantity": 1.5 }), 400, "invalid_request"),
        (json!({ "quantity": "2" }), 400, "invalid_request"),
        (json!({ "quantity": 1e300 }), 400, "invalid_request"),
        (json!({ "quantity": 1, "maxPrice": -1 }), 400, "invalid_request"),
        (json!({ "quantity": 1, "maxPrice": "10" }), 400, "invalid_request"),
        (json!({ "quantity": 1, "adjacent": "no" }), 400, "invalid_request"),
        (json!({ "quantity": 1, "seatNumber": 1 }), 400, "invalid_request"),
        (json!({ "quantity": 1, "seatIds": [concert.seats[0]] }), 400, "invalid_request"),
    ] {
        ask(&world, &person, &concert, &wish).await.assert_problem(status, error);
    }
    assert_eq!(world.everything().await, before);
    // Split where that is allowed, and dear where nothing is said against it.
    let split = ask(&world, &person, &concert, &json!({ "quantity": 3, "adjacent": false, "maxPrice": 10 })).await;
    assert_eq!(numbers(&split), [1, 2, 4]);
}

#[tokio::test]
async fn who_asks_at_the_same_time_gets_other_seats() {
    // Two processes, and so few connections and so much at once that they do meet.
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(100, "10").await;
    let mut buyers = Vec::new();
    for n in 0..40 {
        let person = world.user("0").await;
        let pass = world.admit(&person, &concert).await;
        let body = json!({ "concertId": concert.id, "quantity": 2 });
        let request =
            if n % 2 == 0 { world.post("/reservation", &body) } else { world.post_to(other, "/reservation", &body) };
        buyers.push(request.by(&person).pass(&pass).send());
    }
    let answers = futures_util::future::join_all(buyers).await;
    let mut given = HashSet::new();
    for answer in &answers {
        let seats = answer.json["seats"].as_array().unwrap_or_else(|| panic!("{}", answer.text));
        assert_eq!(seats.len(), 2);
        assert_eq!(seats[0]["section"], seats[1]["section"]);
        assert_eq!(seats[0]["seatNumber"].as_u64().unwrap() + 1, seats[1]["seatNumber"].as_u64().unwrap());
        given.extend(seats.iter().map(|seat| seat["seatId"].as_str().unwrap().to_owned()));
    }
    assert_eq!(given.len(), 80, "a seat was given twice");
    assert_eq!(world.sql("SELECT count(*) FROM reservations WHERE status = 'pending'").await, "80");
    world.assert_invariants().await;
}

#[tokio::test]
async fn the_last_seats_are_found_though_all_others_are_locked_by_somebody_elsewhere() {
    let world = world_with(Options::default()).await;
    let concert = world.concert(20, "10").await;
    // Locks that no reservation shows yet, as another process has them that is about to write.
    for seat in 0..18 {
        let key = format!("hold:v1:{{{}}}:seat:{}", concert.id, concert.seats[seat]);
        world.redis(&["SET", &key, "someone:1", "PX", "60000"]).await;
    }
    let person = world.user("0").await;
    assert_eq!(numbers(&ask(&world, &person, &concert, &json!({ "quantity": 2 })).await), [19, 20]);
    ask(&world, &person, &concert, &json!({ "quantity": 1 })).await.assert_problem(409, "no_seats_together");
    // What is released elsewhere, without this process hearing of it, is found as well.
    let key = format!("hold:v1:{{{}}}:seat:{}", concert.id, concert.seats[3]);
    world.redis(&["DEL", &key]).await;
    assert_eq!(numbers(&ask(&world, &person, &concert, &json!({ "quantity": 1 })).await), [4]);
}

#[tokio::test]
async fn redis_without_its_memory_gives_nothing_twice() {
    let redis = tokio::task::spawn_blocking(|| stack::redis::Redis::start(&stack::redis::RedisOptions::default()));
    let redis = redis.await.unwrap().unwrap();
    let world = world_with(Options { redis_url: Some(redis.url()), ..Options::default() }).await;
    let concert = world.concert(8, "10").await;
    let (first, second) = (world.user("0").await, world.user("0").await);
    assert_eq!(numbers(&ask(&world, &first, &concert, &json!({ "quantity": 4 })).await), [3, 4, 5, 6]);
    redis.command(&["FLUSHALL"]).unwrap();
    assert_eq!(numbers(&ask(&world, &second, &concert, &json!({ "quantity": 2 })).await), [1, 2]);
    assert_eq!(numbers(&ask(&world, &second, &concert, &json!({ "quantity": 2 })).await), [7, 8]);
    world.assert_invariants().await;
}
