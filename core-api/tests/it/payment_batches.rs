//! Payments that go out together: each is decided as if it were alone.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use crate::client::{Answer, Request};
use crate::gathering::{WAITING, behind, lose_a_key, poison};
use crate::support::{Concert, Person, World, eventually, world};

/// People with a balance and a held seat each.
async fn holders(world: &World, concert: &Concert, balances: &[&str]) -> Vec<(Person, Uuid)> {
    let mut holders = Vec::new();
    for (seat, balance) in balances.iter().enumerate() {
        let person = world.user(balance).await;
        let reservation = world.hold(&person, concert, seat).await;
        holders.push((person, reservation));
    }
    holders
}

/// Lets payments gather behind the first one.
async fn gathered(world: &World, first: (&Person, Uuid), requests: Vec<Request>) -> Vec<Answer> {
    behind(world, "payments", pay(world, first.0, first.1), requests, (&[], 0)).await
}

fn pay(world: &World, person: &Person, reservation: Uuid) -> Request {
    world.post("/payment", &json!({ "reservationId": reservation })).by(person)
}

#[tokio::test]
async fn what_gathers_goes_out_as_one_transaction_and_each_is_decided_for_itself() {
    let world = world().await;
    let concert = world.concert(8, "10").await;
    let people = holders(&world, &concert, &["10", "10", "9.99", "10", "10", "10"]).await;
    let stranger = world.user("50").await;
    world.delete(&format!("/reservation/{}", people[4].1)).by(&people[4].0).send().await;
    let requests = vec![
        pay(&world, &people[1].0, people[1].1).key("k"),
        pay(&world, &people[2].0, people[2].1),
        pay(&world, &people[3].0, people[3].1),
        pay(&world, &people[4].0, people[4].1),
        pay(&world, &people[5].0, Uuid::now_v7()),
        pay(&world, &stranger, people[3].1),
        pay(&world, &people[5].0, people[5].1).key("k"),
    ];
    let answers = gathered(&world, (&people[0].0, people[0].1), requests).await;
    let codes: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(codes, [200, 400, 200, 410, 404, 404, 200]);
    answers[1].assert_problem(400, "insufficient_balance");
    // xmin tells the transaction: one for the first, one for all the others.
    let transactions = world
        .sql("SELECT string_agg(n::text, ',' ORDER BY n) FROM (SELECT count(*) AS n FROM payments GROUP BY xmin) t")
        .await;
    assert_eq!(transactions, "1,3");
    // The answers are kept with their effects.
    for (index, person) in [(0, &people[1]), (6, &people[5])] {
        let replay = pay(&world, &person.0, person.1).key("k").send().await;
        assert_eq!((replay.header("idempotency-replayed"), &replay.bytes), (Some("true"), &answers[index].bytes));
    }
    // A retry after a decline works, and one after a payment pays nothing.
    world.post("/balance", &json!({ "amount": 1 })).by(&people[2].0).send().await;
    assert_eq!(pay(&world, &people[2].0, people[2].1).send().await.status, 200);
    pay(&world, &people[2].0, people[2].1).send().await.assert_problem(409, "already_paid");
    world.assert_invariants().await;
}

#[tokio::test]
async fn payments_of_one_user_in_a_batch_see_each_other() {
    let world = world().await;
    let concerts = [world.concert(3, "10").await, world.concert(1, "10").await];
    let opener = world.user("10").await;
    let first = world.hold(&opener, &concerts[1], 0).await;
    let person = world.user("25").await;
    let mut held = Vec::new();
    for seat in 0..3 {
        held.push(world.hold(&person, &concerts[0], seat).await);
    }
    let requests = vec![
        pay(&world, &person, held[0]),
        world.post("/payment", &json!({ "reservationIds": [held[1], held[0]] })).by(&person),
        world.post("/payment", &json!({ "reservationIds": [held[2], held[1]] })).by(&person),
    ];
    let answers = gathered(&world, (&opener, first), requests).await;
    let mut counts = HashMap::new();
    for answer in &answers {
        *counts.entry(answer.status.as_u16()).or_insert(0) += 1;
    }
    // In whichever order they came, 25 pays for two at most, and never for half a request.
    assert!(counts.get(&200).is_some_and(|paid| *paid == 1), "{answers:?}");
    let paid: f64 = answers.iter().filter_map(|answer| answer.json["amount"].as_f64()).sum();
    assert_eq!(world.get("/balance").by(&person).send().await.json["balance"], 25.0 - paid);
    assert_eq!(world.sql("SELECT count(DISTINCT xmin::text) FROM payments").await, "2");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_poisoned_payment_fails_alone() {
    let world = world().await;
    let concert = world.concert(6, "10").await;
    let people = holders(&world, &concert, &["10"; 6]).await;
    // One can't be written, and one only turns out so at the commit.
    let poisoned = ("reservation_id", people[2].1);
    poison(&world, poisoned, ("at_write", "TRIGGER at_write BEFORE INSERT ON payments")).await;
    for at_commit in [false, true] {
        if at_commit {
            world.execute("DROP TRIGGER at_write ON payments").await;
            let kind = "CONSTRAINT TRIGGER at_commit AFTER INSERT ON payments DEFERRABLE INITIALLY DEFERRED";
            poison(&world, poisoned, ("at_commit", kind)).await;
        }
        let (opener, others) = if at_commit { (3, [2, 4, 5]) } else { (0, [1, 2, 2]) };
        let requests = others.iter().map(|other| pay(&world, &people[*other].0, people[*other].1)).collect();
        let answers = gathered(&world, (&people[opener].0, people[opener].1), requests).await;
        for (other, answer) in others.iter().zip(answers) {
            let expected = if *other == 2 { 500 } else { 200 };
            assert_eq!(answer.status, expected, "{}", answer.text);
        }
    }
    assert_eq!(world.sql("SELECT count(*) FROM payments").await, "5");
    world.execute("DROP TRIGGER at_commit ON payments").await;
    assert_eq!(pay(&world, &people[2].0, people[2].1).send().await.status, 200, "nothing of it was left behind");
    world.assert_invariants().await;
}

#[tokio::test]
async fn what_somebody_has_locked_holds_up_nobody_else() {
    let world = world().await;
    let concert = world.concert(3, "10").await;
    let people = holders(&world, &concert, &["10", "10", "10"]).await;
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM reservations WHERE id = $1 FOR UPDATE")
        .bind(people[0].1)
        .execute(&mut *transaction)
        .await
        .unwrap();
    sqlx::query("SELECT FROM users WHERE id = $1 FOR UPDATE")
        .bind(people[1].0.id.as_uuid())
        .execute(&mut *transaction)
        .await
        .unwrap();
    let slow = [pay(&world, &people[0].0, people[0].1).send(), pay(&world, &people[1].0, people[1].1).send()];
    let (slow, ()) = tokio::join!(futures_util::future::join_all(slow), async {
        eventually("both wait", async || (world.sql(WAITING).await == "2").then_some(())).await;
        assert_eq!(pay(&world, &people[2].0, people[2].1).send().await.status, 200);
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
    let people = holders(&world, &concert, &["10", "10", "10"]).await;
    lose_a_key(&world).await;
    let requests =
        vec![pay(&world, &people[1].0, people[1].1).key("lost"), pay(&world, &people[2].0, people[2].1).key("kept")];
    let answers = gathered(&world, (&people[0].0, people[0].1), requests).await;
    answers[0].assert_problem(409, "idempotency_in_progress");
    assert_eq!(answers[1].status, 200, "{}", answers[1].text);
    assert_eq!(world.sql("SELECT count(*) FROM payments").await, "2");
    assert_eq!(world.get("/balance").by(&people[1].0).send().await.json["balance"], 10.0);
    world.assert_invariants().await;
}

#[tokio::test]
async fn who_hangs_up_has_paid_nonetheless_and_once() {
    let world = world().await;
    let concert = world.concert(1, "10").await;
    let person = world.user("10").await;
    let reservation = world.hold(&person, &concert, 0).await;
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE payments IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    let mut request = Box::pin(pay(&world, &person, reservation).send());
    tokio::select! {
        _ = &mut request => panic!("it can't be answered yet"),
        () = eventually("the payment waits", async || (world.sql(WAITING).await == "1").then_some(())) => {}
    }
    drop(request);
    transaction.rollback().await.unwrap();
    eventually("it is paid though nobody waits", async || {
        (world.sql("SELECT count(*) FROM payments").await == "1").then_some(())
    })
    .await;
    pay(&world, &person, reservation).send().await.assert_problem(409, "already_paid");
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_commit_that_nobody_saw_is_told_by_its_key() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    let people = holders(&world, &concert, &["10", "10"]).await;
    // The caller gives up while the commit goes on.
    world
        .execute(
            "CREATE FUNCTION nap() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(TG_ARGV[0]::float); RETURN NEW; END $$;
             CREATE TRIGGER slow_insert BEFORE INSERT ON payments FOR EACH STATEMENT EXECUTE FUNCTION nap(2.6);
             CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON payments DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nap(3)",
        )
        .await;
    let answer = pay(&world, &people[0].0, people[0].1).key("k").send().await;
    answer.assert_problem(503, "service_unavailable");
    world.execute("DROP TRIGGER slow_insert ON payments; DROP TRIGGER slow_commit ON payments").await;
    eventually("the commit ends", async || (world.sql("SELECT count(*) FROM payments").await == "1").then_some(()))
        .await;
    let retry = pay(&world, &people[0].0, people[0].1).key("k").send().await;
    assert_eq!((retry.status.as_u16(), retry.header("idempotency-replayed")), (200, Some("true")), "{}", retry.text);
    pay(&world, &people[0].0, people[0].1).send().await.assert_problem(409, "already_paid");
    assert_eq!(world.get("/balance").by(&people[0].0).send().await.json["balance"], 0.0);
    world.assert_invariants().await;
}
