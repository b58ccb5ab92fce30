//! The door: a ticket lets in once, whatever scanners do.

use common::ids::{ConcertId, ReservationId};
use common::tokens::{EntryTicket, EntryTicketSigner, Role, generate_pass_key};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::{Answer, Request};
use crate::support::{Concert, ENTRY_TICKET_KEY, Person, World, world};

const CHECK_INS: &str = "/admin/check-ins";

/// The code of a reservation's ticket, as its owner has it.
async fn code(world: &World, owner: &Person, reservation: Uuid) -> String {
    let answer = world.get(&format!("/reservation/{reservation}/ticket")).by(owner).send().await;
    answer.json["code"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
}

/// The code of a ticket that nobody was given.
fn signed(reservation: Uuid, concert: ConcertId) -> String {
    let (reservation, seat) = (ReservationId::from(reservation), "A-1".to_owned());
    EntryTicketSigner::new(&[ENTRY_TICKET_KEY]).unwrap().sign(&EntryTicket { reservation, concert, seat })
}

fn check_in(world: &World, code: &str) -> Request {
    world.post(CHECK_INS, &json!({ "code": code }))
}

async fn undo(world: &World, reservation: Uuid, person: &Person) -> Answer {
    world.delete(&format!("{CHECK_INS}/{reservation}")).by(person).send().await
}

async fn refund(world: &World, reservation: Uuid, person: &Person) -> Answer {
    world.delete(&format!("/reservation/{reservation}")).by(person).send().await
}

/// A concert, somebody who bought its first seat, the reservation, and the code of its ticket.
async fn sold(world: &World) -> (Concert, Person, Uuid, String) {
    let concert = world.concert(2, "10").await;
    let owner = world.user("100").await;
    let reservation = world.buy(&owner, &concert, 0).await;
    let code = code(world, &owner, reservation).await;
    (concert, owner, reservation, code)
}

#[tokio::test]
async fn a_ticket_lets_in_once_and_who_did_is_told() {
    let world = world().await;
    let (concert, owner, reservation, code) = sold(&world).await;
    let (staff, admin) = (world.colleague(Role::Staff).await, world.colleague(Role::Admin).await);
    let body = json!({ "code": code, "concertId": concert.id });
    let answer = world.post(CHECK_INS, &body).by(&staff).send().await;
    let at = answer.json["checkedInAt"].clone();
    let expected = json!({
        "reservationId": reservation,
        "concertId": concert.id,
        "seat": { "section": "A", "seatNumber": 1 },
        "checkedInAt": at,
        "status": "checked_in",
    });
    assert_eq!((answer.status.as_u16(), &answer.json), (200, &expected), "{}", answer.text);
    let ticket = world.get(&format!("/reservation/{reservation}/ticket")).by(&owner).send().await;
    assert_eq!(ticket.json["checkedInAt"], at);
    let before = world.everything().await;
    for again in [&staff, &admin] {
        let refused = check_in(&world, &code).by(again).send().await;
        refused.assert_problem(409, "already_checked_in");
        assert_eq!((&refused.json["checkedInAt"], &refused.json["checkedInBy"]), (&at, &json!(staff.id)));
        assert!(refused.json["message"].as_str().unwrap().contains(at.as_str().unwrap()), "{}", refused.text);
    }
    assert_eq!(world.everything().await, before);
    let kept = format!("{reservation} {}", staff.id);
    assert_eq!(world.sql("SELECT concat_ws(' ', reservation_id, checked_in_by) FROM check_ins").await, kept);
    world.assert_invariants().await;
}

#[tokio::test]
async fn only_staff_and_administrators_stand_at_the_door() {
    let world = world().await;
    let (concert, owner, reservation, code) = sold(&world).await;
    let (staff, admin) = (world.colleague(Role::Staff).await, world.colleague(Role::Admin).await);
    let before = world.everything().await;
    let list = format!("/admin/concerts/{}/tickets", concert.id);
    let one = format!("{CHECK_INS}/{reservation}");
    check_in(&world, &code).by(&owner).send().await.assert_problem(403, "forbidden");
    check_in(&world, &code).send().await.assert_problem(401, "unauthenticated");
    world.get(&list).by(&owner).send().await.assert_problem(403, "forbidden");
    world.get(&list).send().await.assert_problem(401, "unauthenticated");
    for no_administrator in [&owner, &staff] {
        world.delete(&one).by(no_administrator).send().await.assert_problem(403, "forbidden");
    }
    world.delete(&one).send().await.assert_problem(401, "unauthenticated");
    assert_eq!(world.everything().await, before);
    assert_eq!(check_in(&world, &code).by(&admin).send().await.status, 200);
    for colleague in [&staff, &admin] {
        assert_eq!(world.get(&list).by(colleague).send().await.status, 200);
    }
}

#[tokio::test]
async fn what_is_no_good_ticket_lets_nobody_in() {
    let world = world().await;
    let (concert, owner, reservation, code) = sold(&world).await;
    let pending = world.hold(&owner, &concert, 1).await;
    let (staff, elsewhere) = (world.colleague(Role::Staff).await, world.concert(1, "10").await);
    let ticket = EntryTicket { reservation: reservation.into(), concert: concert.id, seat: "A-1".to_owned() };
    let forged = EntryTicketSigner::new(&[generate_pass_key().unwrap().0]).unwrap().sign(&ticket);
    let queue_ticket = crate::support::ticket(owner.id, concert.id);
    let pass = world.admit(&owner, &concert).await;
    let longer = format!("{code}A");
    let before = world.everything().await;
    for bad in [
        "",
        " ",
        "https://example.com/menu",
        "줄\n바꿈\0",
        &reservation.to_string(),
        &forged,
        &longer,
        &code[..code.len() - 2],
        &owner.session,
        &queue_ticket,
        &pass,
        &"x".repeat(60_000),
        &signed(Uuid::now_v7(), concert.id),
        &signed(reservation, elsewhere.id),
        &signed(pending, concert.id),
    ] {
        check_in(&world, bad).by(&staff).send().await.assert_problem(400, "ticket_invalid");
    }
    let wrong = json!({ "code": code, "concertId": elsewhere.id });
    world.post(CHECK_INS, &wrong).by(&staff).send().await.assert_problem(409, "wrong_concert");
    for body in [
        json!({}),
        json!({ "code": 7 }),
        json!({ "code": null }),
        json!({ "code": code, "concertId": "7" }),
        json!({ "code": code, "concertId": null }),
        json!({ "code": code, "concert": concert.id }),
    ] {
        world.post(CHECK_INS, &body).by(&staff).send().await.assert_problem(400, "invalid_request");
    }
    world
        .request(reqwest::Method::POST, CHECK_INS)
        .body("{")
        .by(&staff)
        .send()
        .await
        .assert_problem(400, "malformed_json");
    let text = world.request(reqwest::Method::POST, CHECK_INS).header("content-type", "text/plain").raw(code.into());
    text.by(&staff).send().await.assert_problem(415, "unsupported_media_type");
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn whoever_is_no_user_any_more_lets_nobody_in() {
    let world = world().await;
    let (_, _, reservation, code) = sold(&world).await;
    let (staff, admin) = (world.colleague(Role::Staff).await, world.colleague(Role::Admin).await);
    world.execute(&format!("DELETE FROM users WHERE id = '{}'", staff.id)).await;
    check_in(&world, &code).by(&staff).send().await.assert_problem(401, "invalid_session");
    check_in(&world, &code).by(&staff).key("k").send().await.assert_problem(401, "invalid_session");
    assert_eq!(check_in(&world, &code).by(&admin).send().await.status, 200);
    world.execute("ALTER TABLE check_ins DROP CONSTRAINT check_ins_checked_in_by_fkey").await;
    world.execute(&format!("DELETE FROM users WHERE id = '{}'", admin.id)).await;
    undo(&world, reservation, &admin).await.assert_problem(401, "invalid_session");
}

#[tokio::test]
async fn a_refunded_ticket_is_refused_and_the_seat_s_new_one_is_not() {
    let world = world().await;
    let (concert, first, before, old) = sold(&world).await;
    let (second, staff) = (world.user("10").await, world.colleague(Role::Staff).await);
    assert_eq!(refund(&world, before, &first).await.status, 200);
    check_in(&world, &old).by(&staff).send().await.assert_problem(410, "ticket_revoked");
    let after = world.buy(&second, &concert, 0).await;
    check_in(&world, &old).by(&staff).send().await.assert_problem(410, "ticket_revoked");
    let new = code(&world, &second, after).await;
    assert_eq!(check_in(&world, &new).by(&staff).send().await.status, 200);
    world.assert_invariants().await;
}

#[tokio::test]
async fn who_was_let_in_is_not_refunded() {
    let world = world().await;
    let (_, owner, reservation, code) = sold(&world).await;
    let (staff, admin) = (world.colleague(Role::Staff).await, world.colleague(Role::Admin).await);
    assert_eq!(check_in(&world, &code).by(&staff).send().await.status, 200);
    let before = world.everything().await;
    let refused = refund(&world, reservation, &owner).await;
    refused.assert_problem(409, "already_checked_in");
    assert_eq!(refused.json["checkedInBy"], Value::Null, "who it was is no customer's business");
    assert_eq!(world.everything().await, before);
    assert_eq!(undo(&world, reservation, &admin).await.status, 200);
    assert_eq!(refund(&world, reservation, &owner).await.status, 200);
    world.assert_invariants().await;
}

#[tokio::test]
async fn scanners_at_once_in_two_processes_let_in_once() {
    let world = world().await;
    let other = world.start_another().await;
    let (_, _, _, code) = sold(&world).await;
    let staff = [world.colleague(Role::Staff).await, world.colleague(Role::Staff).await];
    // All wait for the row, so that each finds out only after another is done.
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM reservations FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let many = (0..6).map(|n| {
        let body = json!({ "code": code });
        let request = if n % 2 == 0 { world.post(CHECK_INS, &body) } else { world.post_to(other, CHECK_INS, &body) };
        request.by(&staff[n / 3]).send()
    });
    let (answers, ()) = tokio::join!(futures_util::future::join_all(many.collect::<Vec<_>>()), async {
        world.locks_waited_for(6).await;
        transaction.rollback().await.unwrap();
    });
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(done.len(), 1);
    for answer in refused {
        answer.assert_problem(409, "already_checked_in");
        assert_eq!(answer.json["checkedInAt"], done[0].json["checkedInAt"]);
    }
    assert_eq!(world.sql("SELECT count(*) FROM check_ins").await, "1");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_refund_and_a_check_in_at_once_are_one_of_them() {
    let world = world().await;
    let other = world.start_another().await;
    let concert = world.concert(2, "10").await;
    let (owner, staff) = (world.user("100").await, world.colleague(Role::Staff).await);
    for (seat, first) in ["refund", "check-in"].into_iter().enumerate() {
        let reservation = world.buy(&owner, &concert, seat).await;
        let code = code(&world, &owner, reservation).await;
        let body = json!({ "code": code });
        let path = format!("/reservation/{reservation}");
        let mut transaction = world.pool.begin().await.unwrap();
        sqlx::query("SELECT FROM reservations FOR UPDATE").execute(&mut *transaction).await.unwrap();
        // Whoever waits first gets the row first.
        let refunding = async {
            world.locks_waited_for(usize::from(first == "check-in")).await;
            world.delete(&path).by(&owner).send().await
        };
        let checking_in = async {
            world.locks_waited_for(usize::from(first == "refund")).await;
            world.post_to(other, CHECK_INS, &body).by(&staff).send().await
        };
        let (refunded, checked_in, ()) = tokio::join!(refunding, checking_in, async {
            world.locks_waited_for(2).await;
            transaction.rollback().await.unwrap();
        });
        if first == "refund" {
            assert_eq!(refunded.status, 200, "{}", refunded.text);
            checked_in.assert_problem(410, "ticket_revoked");
        } else {
            assert_eq!(checked_in.status, 200, "{}", checked_in.text);
            refunded.assert_problem(409, "already_checked_in");
        }
        world.assert_invariants().await;
    }
}

#[tokio::test]
async fn a_scanner_that_lost_the_answer_is_told_it_again() {
    let world = world().await;
    let (concert, owner, _, first) = sold(&world).await;
    let staff = world.colleague(Role::Staff).await;
    let answer = check_in(&world, &first).by(&staff).key("scan-1").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let again = check_in(&world, &first).by(&staff).key("scan-1").send().await;
    assert_eq!((again.status, again.bytes.clone()), (answer.status, answer.bytes));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    // Another scan is another matter, and so is another ticket.
    check_in(&world, &first).by(&staff).key("scan-2").send().await.assert_problem(409, "already_checked_in");
    let other = world.buy(&owner, &concert, 1).await;
    let second = code(&world, &owner, other).await;
    check_in(&world, &second).by(&staff).key("scan-1").send().await.assert_problem(422, "idempotency_key_reused");
    // One that was refused for the moment is as new.
    assert_eq!(check_in(&world, &second).by(&staff).key("scan-2").send().await.status, 200);
    assert_eq!(world.sql("SELECT count(*) FROM check_ins").await, "2");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_mistake_is_undone_and_stays_on_record() {
    let world = world().await;
    let (_, _, reservation, code) = sold(&world).await;
    let (staff, admin) = (world.colleague(Role::Staff).await, world.colleague(Role::Admin).await);
    undo(&world, reservation, &admin).await.assert_problem(404, "not_found");
    undo(&world, Uuid::now_v7(), &admin).await.assert_problem(404, "not_found");
    let malformed = world.delete(&format!("{CHECK_INS}/7")).by(&admin).send().await;
    malformed.assert_problem(400, "invalid_request");
    let at = check_in(&world, &code).by(&staff).send().await.json["checkedInAt"].clone();
    let undone = undo(&world, reservation, &admin).await;
    let expected = json!({
        "reservationId": reservation,
        "status": "undone",
        "checkedInAt": at,
        "checkedInBy": staff.id,
        "undoneAt": undone.json["undoneAt"],
        "undoneBy": admin.id,
    });
    assert_eq!((undone.status.as_u16(), &undone.json), (200, &expected), "{}", undone.text);
    let before = world.everything().await;
    assert_eq!(undo(&world, reservation, &world.colleague(Role::Admin).await).await.json, expected);
    assert_eq!(world.sql("SELECT count(*) FROM check_ins WHERE undone_at IS NOT NULL").await, "1");
    assert!(before.contains(&admin.id.to_string()));
    // It lets in once more, and only once.
    assert_eq!(check_in(&world, &code).by(&staff).send().await.status, 200);
    check_in(&world, &code).by(&staff).send().await.assert_problem(409, "already_checked_in");
    let record = "SELECT string_agg((undone_at IS NULL)::text, ' ' ORDER BY id) FROM check_ins";
    assert_eq!(world.sql(record).await, "false true");
    for forbidden in [
        "DELETE FROM check_ins",
        "TRUNCATE check_ins",
        "UPDATE check_ins SET checked_in_at = now_utc()",
        "UPDATE check_ins SET undone_at = NULL, undone_by = NULL",
    ] {
        let error = sqlx::raw_sql(forbidden).execute(&world.pool).await.unwrap_err();
        let violated = error.as_database_error().and_then(|error| error.constraint()).map(str::to_owned);
        assert_eq!(violated.as_deref(), Some("check_ins_append_only"), "{forbidden}: {error}");
    }
}

#[tokio::test]
async fn doors_without_a_network_hold_a_list() {
    let world = world().await;
    let (concert, another) = (world.concert(4, "10").await, world.concert(1, "10").await);
    let (owner, staff) = (world.user("100").await, world.colleague(Role::Staff).await);
    let mut reservations = Vec::new();
    for seat in 0..3 {
        reservations.push(world.buy(&owner, &concert, seat).await);
    }
    // Neither held seats nor another concert's are tickets of this one.
    world.hold(&owner, &concert, 3).await;
    world.buy(&owner, &another, 0).await;
    let second = code(&world, &owner, reservations[1]).await;
    let at = check_in(&world, &second).by(&staff).send().await.json["checkedInAt"].clone();
    assert_eq!(refund(&world, reservations[2], &owner).await.status, 200);
    let path = format!("/admin/concerts/{}/tickets", concert.id);
    let first = world.get(&format!("{path}?limit=2")).by(&staff).send().await;
    let cursor = first.json["nextCursor"].as_str().unwrap().to_owned();
    let last = world.get(&format!("{path}?limit=2&cursor={cursor}")).by(&staff).send().await;
    assert_eq!((last.json["nextCursor"].clone(), first.header("cache-control")), (Value::Null, Some("no-store")));
    let all: Vec<Value> = [&first, &last].map(|page| page.json["data"].as_array().unwrap().clone()).concat();
    assert!(all.iter().all(|ticket| ticket["issuedAt"].is_string()) && all[2]["revokedAt"].is_string());
    let expected = [
        json!({ "status": "valid", "seat": { "section": "A", "seatNumber": 1 } }),
        json!({ "status": "valid", "seat": { "section": "A", "seatNumber": 2 }, "checkedInAt": at, "checkedInBy": staff.id }),
        json!({ "status": "revoked", "seat": { "section": "A", "seatNumber": 3 }, "revokedAt": all[2]["revokedAt"] }),
    ];
    assert_eq!(all.len(), expected.len());
    for ((told, mut expected), id) in all.iter().zip(expected).zip(reservations) {
        expected["reservationId"] = json!(id);
        expected["issuedAt"] = told["issuedAt"].clone();
        assert_eq!(told, &expected);
    }
    assert!(!first.text.contains(&second), "who has the list can't make tickets of it");
    for bad in ["limit=0", "limit=101", "cursor=7"] {
        world.get(&format!("{path}?{bad}")).by(&staff).send().await.assert_problem(400, "invalid_request");
    }
    let nowhere = format!("/admin/concerts/{}/tickets", Uuid::now_v7());
    world.get(&nowhere).by(&staff).send().await.assert_problem(404, "not_found");
    world.get("/admin/concerts/7/tickets").by(&staff).send().await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn a_check_in_without_its_ticket_is_noticed_by_the_audit() {
    let world = world().await;
    let (_, _, reservation, code) = sold(&world).await;
    let staff = world.colleague(Role::Staff).await;
    assert_eq!(check_in(&world, &code).by(&staff).send().await.status, 200);
    world.assert_invariants().await;
    let ended = "UPDATE reservations SET status = 'canceled', completed_at = NULL";
    world.execute(&format!("{ended} WHERE id = '{reservation}'")).await;
    let check = invariants::CHECKS.iter().find(|check| check.name == "check_in_is_completed").unwrap();
    let broken: Vec<(i64, String)> = sqlx::query_as(check.sql).fetch_all(&world.pool).await.unwrap();
    assert!(broken.len() == 1 && broken[0].1.contains(&reservation.to_string()), "{broken:?}");
}
