//! Holds that go out together: each is decided as if it were alone.

use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::gathering::{Gate, WAITING, behind, lose_a_key, poison};
use crate::support::{Concert, Person, World, eventually, world};

/// Somebody who may hold seats of a concert.
struct Buyer {
    person: Person,
    pass: String,
}

async fn buyers(world: &World, concert: &Concert, count: usize) -> Vec<Buyer> {
    let mut buyers = Vec::new();
    for _ in 0..count {
        let person = world.user("100").await;
        let pass = world.admit(&person, concert).await;
        buyers.push(Buyer { person, pass });
    }
    buyers
}

fn reserve(world: &World, buyer: &Buyer, body: &Value) -> Request {
    world.post("/reservation", body).by(&buyer.person).pass(&buyer.pass)
}

fn seat(concert: &Concert, seat: usize) -> Value {
    json!({ "concertId": concert.id, "seatId": concert.seats[seat] })
}

/// Lets holds gather behind that of the last seat by the first buyer.
async fn gathered(
    world: &World,
    concert: &Concert,
    first: &Buyer,
    requests: Vec<Request>,
    locks: (&[&Concert], usize),
) -> Vec<Answer> {
    let opening = reserve(world, first, &seat(concert, concert.seats.len() - 1));
    behind(world, "reservations", opening, requests, locks).await
}

/// How many reservations each transaction has written, the fewest first.
async fn by_transaction(world: &World) -> String {
    // xmin tells the transaction.
    world
        .sql("SELECT string_agg(n::text, ',' ORDER BY n) FROM (SELECT count(*) AS n FROM reservations GROUP BY xmin) t")
        .await
}

#[tokio::test]
async fn what_gathers_goes_out_as_one_transaction_and_each_is_decided_for_itself() {
    let world = world().await;
    let concert = world.concert(20, "10").await;
    let another = world.concert(1, "7").await;
    let people = buyers(&world, &concert, 6).await;
    let stranger = buyers(&world, &another, 1).await;
    for held in 0..3 {
        world.hold(&people[5].person, &concert, held).await;
    }
    let before = by_transaction(&world).await;
    let requests = vec![
        reserve(&world, &people[1], &seat(&concert, 4)).key("k"),
        reserve(&world, &people[2], &json!({ "concertId": concert.id, "seatIds": &concert.seats[5..8] })),
        reserve(&world, &people[3], &json!({ "concertId": concert.id, "seatNumber": 12 })).key("k"),
        reserve(&world, &stranger[0], &seat(&another, 0)),
        // One more is theirs, two are too many.
        reserve(&world, &people[5], &json!({ "concertId": concert.id, "seatIds": &concert.seats[8..10] })),
    ];
    let answers = gathered(&world, &concert, &people[0], requests, (&[&concert, &another], 8)).await;
    let codes: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(codes, [200, 200, 200, 200, 409], "{answers:?}");
    answers[4].assert_problem(409, "seat_limit");
    assert_eq!((&answers[1].json["amount"], &answers[3].json["amount"]), (&json!(30.0), &json!(7.0)));
    assert_eq!((before.as_str(), by_transaction(&world).await.as_str()), ("1,1,1", "1,1,1,1,6"));
    for seat in [8, 9] {
        assert_eq!(world.lock(&concert, seat).await, None, "the lock of what is refused is given back");
    }
    // The answers are kept with their effects.
    let replay = reserve(&world, &people[1], &seat(&concert, 4)).key("k").send().await;
    assert_eq!((replay.header("idempotency-replayed"), &replay.bytes), (Some("true"), &answers[0].bytes));
    world.assert_invariants().await;
}

#[tokio::test]
async fn holds_of_one_user_in_a_batch_see_each_other() {
    let world = world().await;
    let concert = world.concert(8, "10").await;
    let people = buyers(&world, &concert, 2).await;
    // Four are theirs at most, and three of one user's requests are at work at once.
    let pair = |first: usize| json!({ "concertId": concert.id, "seatIds": &concert.seats[first..first + 2] });
    let requests = [0, 2, 4].map(|first| reserve(&world, &people[1], &pair(first))).into();
    let answers = gathered(&world, &concert, &people[0], requests, (&[&concert], 6)).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2, "{answers:?}");
    answers.iter().find(|answer| answer.status != 200).unwrap().assert_problem(409, "seat_limit");
    assert_eq!(by_transaction(&world).await, "1,4");
    world.assert_invariants().await;
}

#[tokio::test]
async fn two_who_have_the_same_seat_by_a_lost_lock_are_told_apart() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let people = buyers(&world, &concert, 3).await;
    let gate = Gate::shut(&world, "reservations").await;
    let opening = reserve(&world, &people[0], &seat(&concert, 2)).send();
    let (opened, answers) = tokio::join!(opening, async {
        gate.somebody_waits().await;
        let first = tokio::spawn(reserve(&world, &people[1], &seat(&concert, 0)).send());
        eventually("the first has the lock", async || world.lock(&concert, 0).await).await;
        world.redis(&["DEL", &format!("hold:v1:{{{}}}:seat:{}", concert.id, concert.seats[0])]).await;
        let second = tokio::spawn(reserve(&world, &people[2], &seat(&concert, 0)).send());
        eventually("the second has it as well", async || world.lock(&concert, 0).await).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        gate.open().await;
        [first.await.unwrap(), second.await.unwrap()]
    });
    assert_eq!((opened.status.as_u16(), answers[0].status.as_u16()), (200, 200), "{answers:?}");
    answers[1].assert_problem(409, "seat_taken");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_poisoned_hold_fails_alone() {
    let world = world().await;
    let concert = world.concert(8, "10").await;
    let people = buyers(&world, &concert, 4).await;
    // One can't be written, and one only turns out so at the commit.
    for (turn, (name, kind)) in [
        ("at_write", "TRIGGER at_write BEFORE INSERT ON reservations"),
        ("at_commit", "CONSTRAINT TRIGGER at_commit AFTER INSERT ON reservations DEFERRABLE INITIALLY DEFERRED"),
    ]
    .into_iter()
    .enumerate()
    {
        poison(&world, ("seat_id", concert.seats[0]), (name, kind)).await;
        let requests = vec![
            reserve(&world, &people[1], &seat(&concert, 0)),
            reserve(&world, &people[2], &seat(&concert, 1 + turn)),
            reserve(&world, &people[3], &seat(&concert, 3 + turn)),
        ];
        let opening = reserve(&world, &people[0], &seat(&concert, 6 + turn));
        let answers = behind(&world, "reservations", opening, requests, (&[&concert], 3)).await;
        let codes: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(codes, [500, 200, 200], "{answers:?}");
        assert_eq!(world.lock(&concert, 0).await, None, "its lock is given back");
        world.execute(&format!("DROP TRIGGER {name} ON reservations")).await;
    }
    assert_eq!(reserve(&world, &people[1], &seat(&concert, 0)).send().await.status, 200, "nothing was left behind");
    world.assert_invariants().await;
}

#[tokio::test]
async fn what_somebody_has_locked_holds_up_nobody_else() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let people = buyers(&world, &concert, 3).await;
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM seats WHERE id = $1 FOR UPDATE")
        .bind(concert.seats[0])
        .execute(&mut *transaction)
        .await
        .unwrap();
    // As somebody does who is being offered a seat that came back.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('hold:' || $1::text || ':' || $2::text, 0))")
        .bind(concert.id.to_string())
        .bind(people[1].person.id.to_string())
        .execute(&mut *transaction)
        .await
        .unwrap();
    let slow = [0, 1].map(|number| reserve(&world, &people[number], &seat(&concert, number)).send());
    let (slow, ()) = tokio::join!(futures_util::future::join_all(slow), async {
        eventually("both wait", async || (world.sql(WAITING).await == "2").then_some(())).await;
        assert_eq!(reserve(&world, &people[2], &seat(&concert, 2)).send().await.status, 200);
        assert_eq!(world.sql(WAITING).await, "2", "they wait still");
        transaction.rollback().await.unwrap();
    });
    assert!(slow.iter().all(|answer| answer.status == 200), "{slow:?}");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_superseded_attempt_takes_only_itself_out() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let people = buyers(&world, &concert, 3).await;
    lose_a_key(&world).await;
    let requests = vec![
        reserve(&world, &people[1], &seat(&concert, 0)).key("lost"),
        reserve(&world, &people[2], &seat(&concert, 1)).key("kept"),
    ];
    let answers = gathered(&world, &concert, &people[0], requests, (&[&concert], 2)).await;
    answers[0].assert_problem(409, "idempotency_in_progress");
    assert_eq!(answers[1].status, 200, "{}", answers[1].text);
    assert_eq!(world.lock(&concert, 0).await, None);
    assert_eq!(world.sql("SELECT count(*) FROM reservations").await, "2");
    world.assert_invariants().await;
}
