//! When a dependency is away the answer says so, and nothing is left half done.

use serde_json::json;
use stack::postgres::{Postgres, PostgresOptions};
use stack::redis::{Redis, RedisOptions};

use crate::support::{Options, eventually, world, world_with};

async fn own_redis() -> Redis {
    tokio::task::spawn_blocking(|| Redis::start(&RedisOptions { appendonly: true, ..RedisOptions::default() }))
        .await
        .unwrap()
        .unwrap()
}

async fn own_postgres() -> Postgres {
    tokio::task::spawn_blocking(|| Postgres::start(&PostgresOptions::default())).await.unwrap().unwrap()
}

#[tokio::test]
async fn without_redis_nothing_is_held_and_all_else_goes_on() {
    let redis = own_redis().await;
    let world = world_with(Options { redis_url: Some(redis.url()), ..Options::default() }).await;
    let concert = world.concert(3, "10").await;
    let person = world.user("100").await;
    let held = world.hold(&person, &concert, 0).await;
    let given_back = world.hold(&person, &concert, 2).await;
    let pass = world.admit(&person, &concert).await;
    let body = json!({ "concertId": concert.id, "seatNumber": 2 });
    let attempt = || world.post("/reservation", &body).by(&person).pass(&pass).key("k").send();
    for fault in ["stopped", "silent"] {
        match fault {
            "stopped" => redis.stop(),
            _ => redis.process().pause(),
        }
        let before = world.everything().await;
        attempt().await.assert_problem(503, "service_unavailable");
        assert_eq!(world.everything().await, before);
        let health = world.get("/health").send().await;
        assert_eq!((health.status.as_u16(), &health.json["status"]), (500, &json!("ERROR")));
        assert_eq!(health.json["checks"], json!({ "postgres": "OK", "redis": "ERROR" }));
        assert_eq!((&health.json["code"], &health.json["error"]), (&json!(500), &json!("unhealthy")));
        assert!(health.json["timestamp"].is_string() && health.json["message"].is_string());
        assert_eq!(health.json["requestId"].as_str(), health.header("x-request-id"));
        world.get("/health/ready").send().await.assert_problem(503, "service_unavailable");
        assert_eq!(world.get("/health/live").send().await.status, 200);
        assert_eq!(world.get(&format!("/concerts/{}/seats", concert.id)).send().await.status, 200);
        if fault == "stopped" {
            // Giving back and paying need no Redis: the locks run out.
            assert_eq!(world.delete(&format!("/reservation/{given_back}")).by(&person).send().await.status, 200);
            assert_eq!(world.post("/payment", &json!({ "reservationId": held })).by(&person).send().await.status, 200);
            redis.restart().unwrap();
        } else {
            redis.process().resume();
        }
        eventually("ready again", async || (world.get("/health/ready").send().await.status == 200).then_some(())).await;
    }
    // The lock of what was given back meanwhile is released once Redis can be reached.
    eventually("the lock is released", async || world.lock(&concert, 2).await.is_none().then_some(())).await;
    world.hold(&person, &concert, 2).await;
    world.assert_invariants().await;
}

#[tokio::test]
async fn without_postgres_nothing_is_done_and_no_lock_stays() {
    let postgres = own_postgres().await;
    let world = world_with(Options { postgres: Some(postgres.server().clone()), ..Options::default() }).await;
    let concert = world.concert(2, "10").await;
    let person = world.user("100").await;
    let held = world.hold(&person, &concert, 0).await;
    let pass = world.admit(&person, &concert).await;
    let body = json!({ "concertId": concert.id, "seatNumber": 2 });
    world.get(&format!("/concerts/{}/seats", concert.id)).send().await;
    postgres.stop();
    // Concerts are still remembered, so this one gets as far as the lock and has to give it back.
    world.post("/reservation", &body).by(&person).pass(&pass).send().await.assert_problem(503, "service_unavailable");
    assert_eq!(world.lock(&concert, 1).await, None);
    let health = world.get("/health").send().await;
    assert_eq!((health.status.as_u16(), &health.json["checks"]["postgres"]), (500, &json!("ERROR")));
    let requests = [
        world.get("/concerts"),
        world.get("/balance").by(&person),
        world.get("/reservation").by(&person),
        world.get("/balance/entries").by(&person),
        world.delete(&format!("/reservation/{held}")).by(&person),
        world.post("/payment", &json!({ "reservationId": held })).by(&person),
        world.post("/balance", &json!({ "amount": 1 })).by(&person).key("k"),
        world.post("/auth/login", &json!({ "userId": "a@b.c", "password": "x" })),
        world.post("/auth/signup", &json!({ "username": "a", "email": "a@b.c", "password": "12345678" })),
        world.post("/reservation", &body).by(&person).pass(&pass),
    ];
    let answers = futures_util::future::join_all(requests.into_iter().map(crate::client::Request::send)).await;
    for answer in &answers {
        answer.assert_problem(503, "service_unavailable");
    }
    postgres.restart().unwrap();
    eventually("ready again", async || (world.get("/health/ready").send().await.status == 200).then_some(())).await;
    world.hold(&person, &concert, 1).await;
    // The sweeper has survived it, too.
    world.shift_database_clock("6 minutes").await;
    eventually("the sweeper", async || {
        (world.sql("SELECT count(*) FROM seats WHERE status = 'reserved_temp'").await == "0").then_some(())
    })
    .await;
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_silent_postgres_is_not_waited_for_without_end() {
    let postgres = own_postgres().await;
    let world = world_with(Options { postgres: Some(postgres.server().clone()), ..Options::default() }).await;
    let concert = world.concert(1, "10").await;
    let person = world.user("100").await;
    let pass = world.admit(&person, &concert).await;
    world.get(&format!("/concerts/{}", concert.id)).send().await;
    let connections =
        "SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE application_name = 'onsale-core-api'";
    let backends: Vec<String> = world.sql(connections).await.split(',').map(str::to_owned).collect();
    let signal = |name: &str| {
        let name = name.to_owned();
        let backends = backends.clone();
        // The server's own children: pausing the parent alone would not silence a connection that is made.
        let sent =
            std::process::Command::new("sh").args(["-c", &format!("kill -{name} {}", backends.join(" "))]).status();
        assert!(sent.unwrap().success());
    };
    postgres.process().pause();
    signal("STOP");
    let (balance, charge) = tokio::join!(
        world.get("/balance").by(&person).send(),
        world.post("/balance", &json!({ "amount": 1 })).by(&person).send()
    );
    balance.assert_problem(503, "service_unavailable");
    charge.assert_problem(503, "service_unavailable");
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    world.post("/reservation", &body).by(&person).pass(&pass).send().await.assert_problem(503, "service_unavailable");
    signal("CONT");
    postgres.process().resume();
    eventually("ready again", async || (world.get("/health/ready").send().await.status == 200).then_some(())).await;
    world.assert_invariants().await;
}

#[tokio::test]
async fn a_commit_that_nobody_saw_is_found_again() {
    let world = world().await;
    let concert = world.concert(2, "10").await;
    let person = world.user("0").await;
    let pass = world.admit(&person, &concert).await;
    // Inserting and committing take so long together that the caller gives up while the commit goes on.
    world
        .execute(
            "CREATE FUNCTION nap() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(TG_ARGV[0]::float); RETURN NEW; END $$;
             CREATE TRIGGER slow_insert BEFORE INSERT ON reservations FOR EACH STATEMENT EXECUTE FUNCTION nap(2.6);
             CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON reservations DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nap(3)",
        )
        .await;
    let body = json!({ "concertId": concert.id, "seatNumber": 1 });
    let answer = world.post("/reservation", &body).by(&person).pass(&pass).key("k").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let id = answer.uuid("reservationId");
    assert_eq!(world.sql("SELECT string_agg(id::text, ',') FROM reservations").await, id.to_string());
    assert!(world.lock(&concert, 0).await.is_some());
    let replay = world.post("/reservation", &body).by(&person).pass(&pass).key("k").send().await;
    assert_eq!((replay.header("idempotency-replayed"), &replay.bytes), (Some("true"), &answer.bytes));
    // And one that failed for good is known to have: its lock is given back.
    world.execute("DROP TRIGGER slow_insert ON reservations; DROP TRIGGER slow_commit ON reservations; CREATE FUNCTION crash() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$; CREATE CONSTRAINT TRIGGER slow_commit AFTER INSERT ON reservations DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION crash()").await;
    let body = json!({ "concertId": concert.id, "seatNumber": 2 });
    world
        .post("/reservation", &body)
        .by(&person)
        .pass(&pass)
        .key("l")
        .send()
        .await
        .assert_problem(503, "service_unavailable");
    assert_eq!(world.lock(&concert, 1).await, None);
    world.execute("DROP TRIGGER slow_commit ON reservations").await;
    assert_eq!(world.post("/reservation", &body).by(&person).pass(&pass).key("l").send().await.status, 200);
    world.assert_invariants().await;
}

#[tokio::test]
async fn more_than_can_be_served_at_once_is_refused_and_health_is_not() {
    let world = world_with(Options { settings: vec![("CORE_API_MAX_IN_FLIGHT", "1")], ..Options::default() }).await;
    let person = world.user("0").await;
    let mut transaction = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").execute(&mut *transaction).await.unwrap();
    let slow = world.get("/balance").by(&person).send();
    let (slow, ()) = tokio::join!(slow, async {
        eventually("overload", async || (world.get("/concerts").send().await.status == 503).then_some(())).await;
        world.get("/concerts").send().await.assert_problem(503, "overloaded");
        assert_eq!(world.get("/health/ready").send().await.status, 200);
        transaction.rollback().await.unwrap();
    });
    assert_eq!(slow.status, 200);
    assert_eq!(world.get("/concerts").send().await.status, 200);
}
