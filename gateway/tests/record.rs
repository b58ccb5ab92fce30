//! What happens in a room is written behind to PostgreSQL, and operators read and steer by it.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::time::{Duration, Instant};

use common::ids::{ConcertId, UserId};
use gateway::domain::RoomDefaults;
use http::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, Executor as _, PgConnection};
use stack::postgres::{Postgres, PostgresOptions};
use stack::wait::PATIENCE;
use support::recorded::Recorded;
use support::server::Site;
use support::{DEFAULTS, redis_settings};

/// How long the record is away.
const OUTAGE: Duration = Duration::from_mins(1);
const ONE_INSIDE: RoomDefaults = RoomDefaults { admit_per_second: 50.0, burst: 50, max_active: 1, ..DEFAULTS };
const ROWS: &str =
    "SELECT string_agg(queue_position || ' ' || status, ', ' ORDER BY queue_position) FROM queue WHERE concert_id = $1";

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

#[tokio::test]
async fn places_admissions_and_departures_are_recorded_with_the_hash_of_the_token() {
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(ONE_INSIDE, redis_settings(), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 3).await;
    let inside = site.join(users[0], concert).await;
    let waiting = site.join(users[1], concert).await;
    let last = site.join(users[2], concert).await;
    recorded.until(ROWS, concert, "1 admitted, 2 waiting, 3 waiting").await;
    let tokens = "SELECT string_agg(token, ' ' ORDER BY queue_position) FROM queue WHERE concert_id = $1";
    let given = [&inside, &waiting, &last].map(|answer| hash(&answer.token())).join(" ");
    assert_eq!(recorded.text(tokens, concert).await, given);
    let wait = "SELECT wait_time FROM queue WHERE concert_id = $1 AND queue_position = 3";
    assert!(recorded.text(wait, concert).await.contains(['초', '분', '시']), "a wait in words");

    site.leave(&inside.token()).await;
    site.until(&waiting.token(), "admitted").await;
    recorded.until(ROWS, concert, "1 left, 2 admitted, 3 waiting").await;
}

#[tokio::test]
async fn someone_who_comes_again_has_one_row_with_their_newest_place() {
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(DEFAULTS, redis_settings(), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 1).await;
    for position in 1..=3 {
        let answer = site.join(users[0], concert).await;
        assert_eq!(answer.body["queueInfo"]["position"], position);
        site.leave(&answer.token()).await;
    }
    recorded.until(ROWS, concert, "3 left").await;
}

#[tokio::test]
async fn whom_the_database_does_not_know_waits_all_the_same() {
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(ONE_INSIDE, redis_settings(), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 1).await;
    let stranger = UserId::generate();
    site.join(stranger, concert).await;
    site.join(users[0], concert).await;
    recorded.until(ROWS, concert, "2 waiting").await;
    let events =
        "SELECT string_agg(event, ' ' ORDER BY stream_ms, stream_seq, number) FROM queue_events WHERE concert_id = $1";
    assert_eq!(recorded.text(events, concert).await, "admitted joined");
}

#[tokio::test]
async fn while_the_record_is_away_people_join_and_it_catches_up() {
    // It is killed: what it says it has written has to be there afterwards.
    let options = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let postgres = tokio::task::spawn_blocking(move || Postgres::start(&options)).await.unwrap().unwrap();
    let database = tokio::task::spawn_blocking({
        let server = postgres.server().clone();
        move || server.fresh_database("gateway", |url| server.apply(url, &stack::postgres::migrations()?))
    });
    let recorded = Recorded { database: database.await.unwrap().unwrap() };
    let site = Site::start_recorded(ONE_INSIDE, redis_settings(), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 40).await;
    site.join(users[0], concert).await;
    recorded.until(ROWS, concert, "1 admitted").await;
    postgres.process().kill();
    let away = Instant::now();
    for (at, user) in users.iter().enumerate().skip(1) {
        let answer = site.join(*user, concert).await;
        assert_eq!(answer.body["queueInfo"]["position"], at + 1, "{answer:?}");
        // They come all through the outage.
        tokio::time::sleep(OUTAGE / 40).await;
    }
    tokio::time::sleep(OUTAGE.saturating_sub(away.elapsed())).await;
    let kept = site.admin(Method::POST, &format!("{concert}/pause"), None).await;
    kept.is_problem(503, "service_unavailable");
    let _postgres = tokio::task::spawn_blocking(move || postgres.restart().map(|()| postgres)).await.unwrap().unwrap();
    let count = "SELECT count(*)::text FROM queue WHERE concert_id = $1";
    recorded.until(count, concert, "40").await;
}

#[tokio::test]
async fn operators_see_and_steer_rooms_and_every_change_is_kept() {
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(ONE_INSIDE, redis_settings(), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 4).await;
    let tokens: Vec<String> = {
        let mut tokens = Vec::new();
        for user in &users {
            tokens.push(site.join(*user, concert).await.token());
        }
        tokens
    };
    let path = concert.to_string();

    let seen = site.admin(Method::GET, &path, None).await;
    assert_eq!(
        (seen.status.as_u16(), &seen.body["version"], &seen.body["maxActive"]),
        (200, &json!(0), &json!(1)),
        "{seen:?}"
    );

    let paused = site.admin(Method::POST, &format!("{path}/pause"), None).await;
    assert_eq!((&paused.body["paused"], &paused.body["version"]), (&json!(true), &json!(1)), "{paused:?}");
    site.leave(&tokens[0]).await;
    let admitted = site.admin(Method::POST, &format!("{path}/admit"), Some(json!({"count": 5}))).await;
    assert_eq!(admitted.body, json!({"offered": 1}), "one place inside, paused or not");
    site.until(&tokens[1], "admitted").await;

    let applied = site
        .admin(Method::PUT, &path, Some(json!({"paused": false, "maxActive": 2, "admitPerSecond": 2.5, "burst": 3})))
        .await;
    assert_eq!((&applied.body["maxActive"], &applied.body["admitPerSecond"]), (&json!(2), &json!(2.5)), "{applied:?}");
    site.until(&tokens[2], "admitted").await;

    let removed = site.admin(Method::DELETE, &format!("{path}/visitors/{}", users[3]), None).await;
    assert_eq!(removed.body, json!({"removed": true}));
    assert_eq!(site.status(&tokens[3]).await.body["status"], "left");

    let changes = site.admin(Method::GET, &format!("{path}/changes?limit=3"), None).await;
    let actions = |body: &serde_json::Value| -> Vec<String> {
        body["data"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(actions(&changes.body), ["remove", "change", "admit"]);
    let change = &changes.body["data"][1];
    assert_eq!((&change["before"]["maxActive"], &change["after"]["maxActive"]), (&json!(1), &json!(2)));
    assert!(change["changedBy"].is_string() && change["changedAt"].as_str().unwrap().ends_with('Z'));
    let cursor = changes.body["nextCursor"].as_str().unwrap();
    let rest = site.admin(Method::GET, &format!("{path}/changes?cursor={cursor}"), None).await;
    assert_eq!(actions(&rest.body), ["pause"]);

    recorded.until(ROWS, concert, "1 left, 2 admitted, 3 admitted, 4 removed").await;
    let visitor = site.admin(Method::GET, &format!("{path}/visitors/{}", users[1]), None).await;
    let events: Vec<&str> =
        visitor.body["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["joined", "offered", "admitted"], "{visitor:?}");
    assert_eq!((&visitor.body["status"], &visitor.body["position"]), (&json!("admitted"), &json!(2)));
    let by_position =
        async |position: &str| site.admin(Method::GET, &format!("{path}/visitors?position={position}"), None).await;
    assert_eq!(by_position("2").await.body, visitor.body);
    by_position("5").await.is_problem(404, "not_found");
    for wrong in ["0", "-1", "2147483648", "two", ""] {
        by_position(wrong).await.is_problem(400, "invalid_request");
    }
}

#[tokio::test]
async fn a_change_is_refused_that_makes_no_sense_or_comes_too_late() {
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(DEFAULTS, redis_settings(), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let path = concert.to_string();
    for body in [
        json!({"admitPerSecond": 0}),
        json!({"admitPerSecond": -1}),
        json!({"burst": 0}),
        json!({"maxActive": "many"}),
        json!({"mode": "open"}),
        json!({"maxactive": 5}),
        json!({"opensAt": "tomorrow"}),
        json!([]),
    ] {
        let answer = site.admin(Method::PUT, &path, Some(body.clone())).await;
        answer.is_problem(400, "invalid_request");
    }
    for body in
        [json!({"order": "random_at_open"}), json!({"order": "random_at_open", "opensAt": "2020-01-01T00:00:00Z"})]
    {
        site.admin(Method::PUT, &path, Some(body)).await.is_problem(409, "draw_not_possible");
    }
    assert_eq!(site.admin(Method::PUT, &path, Some(json!({"version": 0, "burst": 7}))).await.body["version"], 1);
    let late = site.admin(Method::PUT, &path, Some(json!({"version": 0, "burst": 8}))).await;
    late.is_problem(409, "settings_changed");
    for action in ["pause", "resume", "close"] {
        let of_before = site.admin(Method::POST, &format!("{path}/{action}?version=0"), None).await;
        of_before.is_problem(409, "settings_changed");
        let nonsense = site.admin(Method::POST, &format!("{path}/{action}?version=x"), None).await;
        nonsense.is_problem(400, "invalid_request");
    }
    let paused = site.admin(Method::POST, &format!("{path}/pause?version=1"), None).await;
    assert_eq!((&paused.body["paused"], &paused.body["version"]), (&json!(true), &json!(2)), "{paused:?}");
    // What was read can be edited and sent back.
    let read = site.admin(Method::GET, &path, None).await.body;
    assert_eq!(site.admin(Method::PUT, &path, Some(read)).await.body["burst"], 7);
    site.admin(Method::GET, &UserId::generate().to_string(), None).await.is_problem(404, "not_found");
    site.admin(Method::GET, "x", None).await.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn only_administrators_get_in() {
    let site = Site::start(DEFAULTS).await;
    let concert = site.core.concert("on_sale", None);
    for endpoint in gateway::http::endpoints().iter().filter(|endpoint| endpoint.path.starts_with("/admin/")) {
        let path = endpoint.path.replace("{concertId}", &concert.to_string()).replace("{userId}", &concert.to_string());
        let request =
            || site.http.request(endpoint.method.clone(), format!("{}{path}", site.url)).json(&json!({"count": 1}));
        support::server::Answer::of(request()).await.is_problem(401, "unauthenticated");
        let user = site.session_of(UserId::generate());
        support::server::Answer::of(request().bearer_auth(user)).await.is_problem(403, "forbidden");
    }
    site.admin(Method::POST, &format!("{concert}/pause"), None).await.is_problem(501, "record_not_configured");
}

#[tokio::test]
async fn a_change_reaches_every_gateway() {
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(ONE_INSIDE, redis_settings(), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 3).await;
    let mut config = site.config.clone();
    config.room.admit_per_second = 49.0;
    let other = Site::start_with(config, std::sync::Arc::clone(&site.core)).await;
    site.join(users[0], concert).await;
    let waiting = other.join(users[1], concert).await;
    site.admin(Method::POST, &format!("{concert}/close"), None).await;
    let begun = std::time::Instant::now();
    while other.status(&waiting.token()).await.body["status"] != "closed" {
        assert!(begun.elapsed() < PATIENCE, "the other gateway has not heard of it");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.join(users[2], concert).await.is_problem(409, "sales_closed");
}

#[tokio::test]
async fn a_gateway_may_do_nothing_else_in_the_database() {
    let recorded = Recorded::new().await;
    let concert = ConcertId::generate();
    recorded.populate(concert, 1).await;
    let mut gateway = PgConnection::connect(&recorded.url()).await.unwrap();
    for forbidden in [
        "SELECT email FROM users",
        "SELECT password_hash FROM credentials",
        "SELECT FROM reservations",
        "SELECT FROM ledger_entries",
        "UPDATE users SET balance = 1",
        "UPDATE seats SET status = 'available'",
        "UPDATE concerts SET sale_closed_at = NULL",
        "INSERT INTO payments SELECT",
        "DELETE FROM queue",
        "UPDATE queue_events SET event = 'left'",
        "DELETE FROM queue_changes",
        "TRUNCATE queue",
        "CREATE TABLE mine ()",
        "SELECT grant_queue_record('gateway')",
    ] {
        let refused = gateway.execute(forbidden).await.unwrap_err();
        let code = refused.as_database_error().and_then(|error| error.code().map(String::from));
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
    // Whatever table comes later: it has rights to these four and no others, and of two more it sees ids.
    let tables = "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
                    AND (has_table_privilege('gateway', oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                         OR has_any_column_privilege('gateway', oid, 'SELECT, INSERT, UPDATE, REFERENCES'))";
    let tables: String = sqlx::query_scalar(tables).fetch_one(&mut gateway).await.unwrap();
    assert_eq!(tables, "concerts queue queue_changes queue_events queue_settings users");
    let known: i64 = sqlx::query_scalar("SELECT count(id) FROM users").fetch_one(&mut gateway).await.unwrap();
    assert_eq!(known, 1);
}
