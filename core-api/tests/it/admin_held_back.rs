//! Seats that administrators keep out of the sale: nobody gets one, and what anybody has can't be kept.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Answer;
use crate::support::{Concert, Person, World, eventually, world};

fn path(concert: &Concert) -> String {
    format!("/admin/concerts/{}/held-back", concert.id)
}

fn ids(concert: &Concert, seats: &[usize]) -> Value {
    json!({ "seatIds": seats.iter().map(|seat| concert.seats[*seat]).collect::<Vec<_>>() })
}

async fn hold_back(world: &World, admin: &Person, concert: &Concert, body: &Value) -> Answer {
    world.post(&path(concert), body).by(admin).send().await
}

async fn release(world: &World, admin: &Person, concert: &Concert, body: &Value) -> Answer {
    world.request(Method::DELETE, &path(concert)).json(body).by(admin).send().await
}

#[track_caller]
fn assert_changed(answer: &Answer, changed: u64, held_back: u64) {
    let told = (answer.status.as_u16(), answer.json["changed"].as_u64(), answer.json["heldBack"].as_u64());
    assert_eq!(told, (200, Some(changed), Some(held_back)), "{}", answer.text);
}

#[tokio::test]
async fn what_is_held_back_is_nobodys_until_it_is_released() {
    let world = world().await;
    let other = world.start_another().await;
    let (admin, fan) = (world.administrator().await, world.user("100").await);
    let concert = world.concert(4, "10").await;
    let public = format!("/concerts/{}", concert.id);
    let pass = world.admit(&fan, &concert).await;
    let reserve = async |wish: Value| {
        let mut body = json!({ "concertId": concert.id });
        body.as_object_mut().unwrap().extend(wish.as_object().unwrap().clone());
        world.post("/reservation", &body).by(&fan).pass(&pass).send().await
    };
    // Both processes know all four as free.
    for address in [world.address, other] {
        eventually("it is known", async || {
            let seats = world.get_from(address, &format!("{public}/seats")).await;
            (seats.json[0]["status"] == "available").then_some(())
        })
        .await;
    }
    let range = json!({ "section": "A", "fromSeatNumber": 2, "toSeatNumber": 4 });
    assert_changed(&hold_back(&world, &admin, &concert, &range).await, 3, 3);
    // Again: nothing to do, and no record of it.
    assert_changed(&hold_back(&world, &admin, &concert, &json!({ "section": "A", "fromSeatNumber": 3 })).await, 0, 3);
    for address in [world.address, other] {
        eventually("it is seen", async || {
            let seats = world.get_from(address, &format!("{public}/seats")).await.json;
            let statuses: Vec<_> = seats.as_array()?.iter().map(|seat| seat["status"].as_str().unwrap()).collect();
            (statuses == ["available", "reserved", "reserved", "reserved"]).then_some(())
        })
        .await;
    }
    let counts = world.get(&public).send().await;
    let counts = [&counts.json["totalSeats"], &counts.json["availableSeats"], &counts.json["heldSeats"]];
    assert_eq!(counts, [4, 1, 0]);
    reserve(json!({ "seatId": concert.seats[1] })).await.assert_problem(409, "seat_taken");
    reserve(json!({ "seatIds": concert.seats })).await.assert_problem(409, "seat_taken");
    reserve(json!({ "quantity": 2 })).await.assert_problem(409, "no_seats_together");
    assert_eq!(world.sql("SELECT count(*) FROM reservations").await, "0");
    let best = reserve(json!({ "quantity": 1 })).await;
    assert_eq!(best.json["seats"][0]["seatNumber"], 1, "{}", best.text);
    // With the last one that is in the sale it is sold out.
    let pay = json!({ "reservationId": best.uuid("reservationId") });
    assert_eq!(world.post("/payment", &pay).by(&fan).send().await.status, 200);
    eventually("it is sold out", async || (world.get(&public).send().await.json["status"] == "sold_out").then_some(()))
        .await;

    let list = world.get(&format!("{}?limit=2&page=2", path(&concert))).by(&admin).send().await;
    assert_eq!(list.json["pagination"], json!({ "currentPage": 2, "totalPages": 2, "totalItems": 3 }));
    let fourth = json!({ "seatId": concert.seats[3], "seatNumber": 4, "section": "A", "price": 10.0 });
    assert_eq!(list.json["data"], json!([fourth]));
    for query in ["page=0", "limit=101", "limit=x"] {
        let bad = world.get(&format!("{}?{query}", path(&concert))).by(&admin).send().await;
        bad.assert_problem(400, "invalid_request");
    }

    // Released, of those that are asked for only what is held back; at once where it was asked for, soon elsewhere.
    assert_changed(&release(&world, &admin, &concert, &ids(&concert, &[0, 1, 2])).await, 2, 1);
    assert_eq!(world.get(&public).send().await.json["status"], "on_sale");
    let held = reserve(json!({ "seatId": concert.seats[1] })).await;
    assert_eq!(held.status, 200, "{}", held.text);
    eventually("the other process sells it", async || {
        let body = json!({ "concertId": concert.id, "seatId": concert.seats[2] });
        let answer = world.post_to(other, "/reservation", &body).by(&fan).pass(&pass).send().await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_changed(&release(&world, &admin, &concert, &ids(&concert, &[1])).await, 0, 1);
    let kept = world
        .sql("SELECT string_agg(action || ' ' || before || ' ' || after, ', ' ORDER BY id) FROM admin_changes")
        .await;
    assert_eq!(
        kept,
        "hold_back {\"heldBack\": 0} {\"seats\": {\"A\": [2, 3, 4]}, \"heldBack\": 3}, \
         release {\"heldBack\": 3} {\"seats\": {\"A\": [2, 3]}, \"heldBack\": 1}"
    );
    world.assert_invariants().await;
}

#[tokio::test]
async fn what_somebody_has_is_not_held_back_nor_is_anything_beside_it() {
    let world = world().await;
    let (admin, fan) = (world.administrator().await, world.user("100").await);
    let (concert, foreign) = (world.concert(4, "10").await, world.concert(1, "10").await);
    let sold = world.hold(&fan, &concert, 0).await;
    assert_eq!(world.post("/payment", &json!({ "reservationId": sold })).by(&fan).send().await.status, 200);
    world.hold(&fan, &concert, 1).await;
    let before = world.everything().await;
    for taken in [ids(&concert, &[3, 0]), ids(&concert, &[3, 1]), json!({ "section": "A" })] {
        let refused = hold_back(&world, &admin, &concert, &taken).await;
        refused.assert_problem(409, "seat_taken");
        assert!(refused.json["message"].as_str().unwrap().contains("A "), "it says which: {}", refused.text);
    }
    let unknown = json!({ "seatIds": [concert.seats[3], foreign.seats[0]] });
    for missing in
        [unknown, json!({ "section": "X" }), json!({ "section": "A", "fromSeatNumber": 3, "toSeatNumber": 2 })]
    {
        hold_back(&world, &admin, &concert, &missing).await.assert_problem(404, "not_found");
        release(&world, &admin, &concert, &missing).await.assert_problem(404, "not_found");
    }
    let too_many: Vec<_> = (0..501).map(|_| uuid::Uuid::now_v7()).collect();
    for bad in [
        json!({}),
        json!({ "seatIds": [] }),
        json!({ "seatIds": ["x"] }),
        json!({ "seatIds": too_many }),
        json!({ "seatIds": [concert.seats[3]], "section": "A" }),
        json!({ "seatIds": [concert.seats[3]], "fromSeatNumber": 1 }),
        json!({ "section": null, "seatIds": [concert.seats[3]] }),
        json!({ "section": "A", "toSeatNumber": 51 }),
        json!({ "fromSeatNumber": 1 }),
        json!({ "section": "A", "to": 2 }),
    ] {
        hold_back(&world, &admin, &concert, &bad).await.assert_problem(400, "invalid_request");
        release(&world, &admin, &concert, &bad).await.assert_problem(400, "invalid_request");
    }
    assert_eq!(world.everything().await, before);
    assert_eq!(world.sql("SELECT count(*) FROM admin_changes").await, "0");
}

#[tokio::test]
async fn who_holds_and_who_holds_back_at_the_same_time_never_both_get_a_seat() {
    let world = world().await;
    let (admin, fan) = (world.administrator().await, world.user("0").await);
    let concert = world.concert(2, "10").await;
    let pass = world.admit(&fan, &concert).await;
    let body = |seat: usize| json!({ "concertId": concert.id, "seatId": concert.seats[seat] });

    // Somebody is about to hold the first: not waited for, refused at once; and nothing is left of it.
    let mut holding = world.pool.begin().await.unwrap();
    sqlx::raw_sql("UPDATE seats SET status = 'reserved_temp' WHERE seat_number = 1")
        .execute(&mut *holding)
        .await
        .unwrap();
    hold_back(&world, &admin, &concert, &ids(&concert, &[0, 1])).await.assert_problem(409, "seat_taken");
    holding.rollback().await.unwrap();
    assert_eq!(world.sql("SELECT count(*) FROM seats WHERE status = 'available'").await, "2");

    // The administrator was first, and has still to commit: the hold waits, and loses.
    let mut keeping = world.pool.begin().await.unwrap();
    sqlx::raw_sql("LOCK TABLE admin_changes IN SHARE MODE").execute(&mut *keeping).await.unwrap();
    let seats = ids(&concert, &[0]);
    let (kept, held, ()) = tokio::join!(
        hold_back(&world, &admin, &concert, &seats),
        async {
            world.waiting_for_locks("1").await;
            world.post("/reservation", &body(0)).by(&fan).pass(&pass).send().await
        },
        async {
            world.waiting_for_locks("2").await;
            keeping.rollback().await.unwrap();
        }
    );
    assert_changed(&kept, 1, 1);
    held.assert_problem(409, "seat_taken");
    assert_eq!(world.sql("SELECT count(*) FROM reservations").await, "0");
    assert_eq!(world.lock(&concert, 0).await, None);
    world.assert_invariants().await;
}

#[tokio::test]
async fn in_a_rush_each_seat_is_held_or_held_back_in_two_processes_at_once() {
    let world = world().await;
    let other = world.start_another().await;
    let admin = world.administrator().await;
    let concert = world.concert(40, "10").await;
    world.execute(&format!("UPDATE concerts SET seats_per_user = 20 WHERE id = '{}'", concert.id)).await;
    let mut people = Vec::new();
    for _ in 0..4 {
        let person = world.user("0").await;
        let pass = world.admit(&person, &concert).await;
        people.push((person, pass));
    }
    let addresses = [world.address, other];
    let holds = (0..40).map(|n| {
        // Several seats in a row, in either direction: who locks many in another order could wait in a circle.
        let mut seats: Vec<_> = (n..n + 3).map(|seat| concert.seats[seat % 40]).collect();
        if n % 2 == 0 {
            seats.reverse();
        }
        let (person, pass) = &people[n % 4];
        let body = json!({ "concertId": concert.id, "seatIds": seats });
        let request = world.post_to(addresses[n % 2], "/reservation", &body).by(person).pass(pass);
        async move { request.send().await.status.as_u16() }
    });
    let keeps = (0..40).map(|n| {
        let body = ids(&concert, &[n, (n + 7) % 40]);
        let request = world.post_to(addresses[(n + 1) % 2], &path(&concert), &body).by(&admin);
        async move { request.send().await.status.as_u16() }
    });
    let (holds, keeps) = tokio::join!(futures_util::future::join_all(holds), futures_util::future::join_all(keeps));
    for status in holds.iter().chain(&keeps) {
        assert!([200, 409].contains(status), "{holds:?} {keeps:?}");
    }
    assert!(keeps.contains(&200));
    let both = "SELECT count(*) FROM seats s JOIN reservations r ON r.seat_id = s.id
                WHERE s.status = 'held_back' AND r.status IN ('pending', 'completed')";
    assert_eq!(world.sql(both).await, "0");
    let kept = "SELECT coalesce(sum(jsonb_array_length(after #> '{seats,A}')), 0) FROM admin_changes";
    assert_eq!(world.sql(kept).await, world.sql("SELECT count(*) FROM seats WHERE status = 'held_back'").await);
    world.assert_invariants().await;
}

#[tokio::test]
async fn what_is_released_is_first_of_those_who_wait() {
    let world = world().await;
    let admin = world.administrator().await;
    let concert = world.concert(5, "10").await;
    assert_changed(&hold_back(&world, &admin, &concert, &json!({ "section": "A" })).await, 5, 5);
    let waitlist = format!("/concerts/{}/waitlist", concert.id);
    let people = [world.user("0").await, world.user("0").await];
    for person in &people {
        let joined = world.post(&waitlist, &json!({})).by(person).send().await;
        assert_eq!((joined.status.as_u16(), &joined.json["status"]), (200, &json!("waiting")), "{}", joined.text);
    }
    // Somebody tries all five all the time, from before they are released.
    let buyer = world.user("0").await;
    let pass = world.admit(&buyer, &concert).await;
    let attempts = (0..40).map(|n| {
        let body = json!({ "concertId": concert.id, "seatId": concert.seats[n % 3] });
        world.post("/reservation", &body).by(&buyer).pass(&pass).send()
    });
    let first = ids(&concert, &[0]);
    assert_changed(&release(&world, &admin, &concert, &first).await, 1, 4);
    let offered = world.get(&waitlist).by(&people[0]).send().await;
    assert_eq!(offered.json["status"], "offered", "{}", offered.text);
    assert_eq!(world.get(&waitlist).by(&people[1]).send().await.json["place"], 1);
    let rest = ids(&concert, &[1, 2]);
    let (released, attempts) =
        tokio::join!(release(&world, &admin, &concert, &rest), futures_util::future::join_all(attempts));
    assert_changed(&released, 2, 2);
    assert_eq!(world.get(&waitlist).by(&people[1]).send().await.json["status"], "offered");
    // One is left for everybody.
    let bought = attempts.iter().filter(|answer| answer.status == 200).count();
    assert!(bought <= 1, "{bought}");
    let live =
        "SELECT count(*) FROM reservations r JOIN waitlist w ON w.reservation_id = r.id WHERE r.status = 'pending'";
    assert_eq!(world.sql(live).await, "2");
    if bought == 0 {
        let body = json!({ "concertId": concert.id, "quantity": 1 });
        assert_eq!(world.post("/reservation", &body).by(&buyer).pass(&pass).send().await.status, 200);
    }
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_release_that_fails_leaves_the_seat_held_back_and_no_lock() {
    let world = world().await;
    let (admin, waiting) = (world.administrator().await, world.user("0").await);
    let concert = world.concert(1, "10").await;
    hold_back(&world, &admin, &concert, &json!({ "section": "A" })).await;
    world.post(&format!("/concerts/{}/waitlist", concert.id), &json!({})).by(&waiting).send().await;
    world
        .execute(
            "CREATE FUNCTION crash() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;
             CREATE TRIGGER crash BEFORE INSERT ON admin_changes FOR EACH ROW EXECUTE FUNCTION crash()",
        )
        .await;
    release(&world, &admin, &concert, &json!({ "section": "A" })).await.assert_problem(503, "service_unavailable");
    assert_eq!(world.sql("SELECT status FROM seats").await, "held_back");
    assert_eq!(world.lock(&concert, 0).await, None);
    world.execute("DROP TRIGGER crash ON admin_changes").await;
    assert_changed(&release(&world, &admin, &concert, &json!({ "section": "A" })).await, 1, 0);
    let offered = world.get(&format!("/concerts/{}/waitlist", concert.id)).by(&waiting).send().await;
    assert_eq!(offered.json["status"], "offered");
    world.assert_invariants().await;
}
