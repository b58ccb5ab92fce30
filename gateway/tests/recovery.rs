//! Redis loses its memory, or its latest part, or goes away: nobody loses their place, no number is given twice, nobody
//! inside is thrown out, limits hold, and nothing is made up meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use common::ids::{ConcertId, UserId};
use gateway::domain::RoomDefaults;
use gateway::store::{QueueStore, RoomContext, RoomKeys};
use http::Method;
use lua::{Mode, Redis as Client, RedisSettings};
use serde_json::json;
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;
use support::DEFAULTS;
use support::recorded::Recorded;
use support::server::Site;

/// Nobody follows whoever is inside within the time of a test.
const SLOW: RoomDefaults =
    RoomDefaults { admit_per_second: 0.001, burst: 3, max_active: 3, session: Duration::from_mins(10), ..DEFAULTS };
/// How long Redis does not answer.
const OUTAGE: Duration = Duration::from_secs(30);

/// A Redis of one's own, since it is about to lose everything.
async fn own_redis() -> Redis {
    tokio::task::spawn_blocking(|| Redis::start(&RedisOptions::default())).await.unwrap().unwrap()
}

fn settings(redis: &Redis) -> RedisSettings {
    RedisSettings { urls: vec![redis.url()], mode: Mode::Standalone, call_timeout: Duration::from_secs(2) }
}

/// What Redis holds of a room: everyone in line by position, and everyone inside.
async fn line(redis: &Redis, concert: ConcertId) -> Line {
    let client = Client::new(&settings(redis)).unwrap();
    let keys = RoomKeys::of(concert);
    let range = async |key: usize| -> Vec<(String, f64)> {
        let command = redis::cmd("ZRANGE").arg(&keys.all()[key]).arg(0).arg(-1).arg("WITHSCORES").to_owned();
        client.run(command).await.unwrap()
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions are whole numbers")]
    let waiting = range(1).await.into_iter().map(|(user, position)| (position as u32, user)).collect();
    (waiting, range(5).await.into_iter().map(|(user, _)| user).collect())
}

type Line = (Vec<(u32, String)>, BTreeSet<String>);

/// Waits until everyone is where they were.
async fn until_back(redis: &Redis, concert: ConcertId, before: &Line) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let after = line(redis, concert).await;
        if after == *before {
            return;
        }
        let first = after.0.iter().zip(&before.0).find(|(after, before)| after != before);
        assert!(
            Instant::now() < deadline,
            "in line {} of {}, inside {:?} of {:?}, first difference {first:?}",
            after.0.len(),
            before.0.len(),
            after.1,
            before.1
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Has people join as through another gateway, many in a call.
async fn join_elsewhere(redis: &Redis, room: RoomDefaults, concert: ConcertId, users: &[UserId]) {
    let store = QueueStore::new(Client::new(&settings(redis)).unwrap());
    let context = RoomContext { recorded: true, ..RoomContext::new(room.into()) };
    for part in users.chunks(500) {
        store.join(&RoomKeys::of(concert), &context, part).await.unwrap();
    }
}

/// Asks until the answer is no longer "away".
async fn until_served(site: &Site, token: &str) {
    let begun = Instant::now();
    loop {
        let answer = site.status(token).await;
        if answer.status == 200 {
            return;
        }
        answer.is_problem(503, "service_unavailable");
        assert!(begun.elapsed() < PATIENCE, "not back in time: {answer:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until everything that happened is recorded.
async fn until_recorded(site: &Site, concert: ConcertId) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let figures = site.admin(Method::GET, &concert.to_string(), None).await.body["figures"].clone();
        if figures["unrecorded"] == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{figures}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_wiped_redis_in_the_middle_of_fifty_thousand_waiting_costs_nobody_their_place() {
    let (recorded, redis) = (Recorded::new().await, own_redis().await);
    let site = Site::start_recorded(SLOW, settings(&redis), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 50_300).await;
    let (early, late) = users.split_at(50_000);
    let inside = site.join(early[0], concert).await;
    assert_eq!(inside.body["status"], "admitted");
    join_elsewhere(&redis, SLOW, concert, early).await;
    let known = site.join(early[40_000], concert).await;
    until_recorded(&site, concert).await;
    let left = site.join(early[100], concert).await;
    site.leave(&left.token()).await;
    // The last moments: some known to this gateway only, some to nobody but themselves, by their tickets.
    let mut tickets: BTreeMap<u32, String> = BTreeMap::new();
    for user in &late[..200] {
        let answer = site.join(*user, concert).await;
        tickets.insert(u32::try_from(answer.body["queueInfo"]["position"].as_u64().unwrap()).unwrap(), answer.token());
    }
    let before = line(&redis, concert).await;

    redis.command(&["FLUSHALL"]).unwrap();
    until_served(&site, &known.token()).await;
    // Everyone who waited is back, in the same order, though only few have asked since.
    until_back(&redis, concert, &before).await;
    for (position, ticket) in &tickets {
        let answer = site.status(ticket).await;
        assert_eq!(
            (&answer.body["status"], &answer.body["queueInfo"]["position"]),
            (&json!("waiting"), &json!(position))
        );
    }
    assert_eq!(site.status(&inside.token()).await.body["status"], "admitted", "nobody inside is lost");
    assert_eq!(site.status(&left.token()).await.body["status"], "left", "who left is not brought back");

    // Numbers go on behind all that were ever given.
    let newcomer = site.join(late[200], concert).await;
    assert!(newcomer.body["queueInfo"]["position"].as_u64().unwrap() > 50_200, "{newcomer:?}");
}

#[tokio::test]
async fn with_all_gateways_new_a_wiped_room_is_put_together_from_the_record_alone() {
    let (recorded, redis) = (Recorded::new().await, own_redis().await);
    let site = Site::start_recorded(SLOW, settings(&redis), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 50).await;
    let mut answers = Vec::new();
    for user in &users {
        answers.push(site.join(*user, concert).await);
    }
    site.admin(Method::PUT, &concert.to_string(), Some(json!({"maxActive": 7, "paused": true}))).await;
    until_recorded(&site, concert).await;
    let before = line(&redis, concert).await;
    site.lifecycle.stop();
    redis.command(&["FLUSHALL"]).unwrap();

    let other = Site::start_with(site.config.clone(), std::sync::Arc::clone(&site.core)).await;
    let token = answers[30].token();
    until_served(&other, &token).await;
    other.until(&token, "waiting").await;
    until_back(&redis, concert, &before).await;
    let seen = other.admin(Method::GET, &concert.to_string(), None).await;
    assert_eq!((&seen.body["maxActive"], &seen.body["paused"]), (&json!(7), &json!(true)), "settings are kept too");
    // Even someone who has lost their ticket gets their own place, and nobody gets it a second time.
    let again = other.join(users[10], concert).await;
    assert_eq!(again.body["queueInfo"]["position"], answers[10].body["queueInfo"]["position"]);
    let newcomer = other.join(UserId::generate(), concert).await;
    assert!(newcomer.body["queueInfo"]["position"].as_u64().unwrap() > 50, "{newcomer:?}");
}

#[tokio::test]
async fn a_loss_gives_no_turns_beyond_the_capacity() {
    let room = RoomDefaults { admit_per_second: 100.0, burst: 100, max_active: 5, ..SLOW };
    let (recorded, redis) = (Recorded::new().await, own_redis().await);
    let site = Site::start_recorded(room, settings(&redis), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 20).await;
    let mut tokens = Vec::new();
    for user in &users {
        tokens.push(site.join(*user, concert).await.token());
    }
    until_recorded(&site, concert).await;
    redis.command(&["FLUSHALL"]).unwrap();
    until_served(&site, &tokens[0]).await;
    // Longer than turns are held back after a loss.
    let deadline = Instant::now() + Duration::from_secs(8);
    while Instant::now() < deadline {
        let figures = site.admin(Method::GET, &concert.to_string(), None).await.body["figures"].clone();
        if let (Some(active), Some(offered)) = (figures["active"].as_u64(), figures["offered"].as_u64()) {
            assert!(active + offered <= 5, "{figures}");
        }
        site.status(&tokens[6]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (at, token) in tokens.iter().enumerate() {
        let wanted = if at < 5 { "admitted" } else { "waiting" };
        assert_eq!(site.status(token).await.body["status"], wanted, "number {}", at + 1);
    }
    site.leave(&tokens[0]).await;
    site.until(&tokens[5], "admitted").await;
}

#[tokio::test]
async fn while_redis_is_stopped_the_answer_says_so_and_all_goes_on_after() {
    let (recorded, redis) = (Recorded::new().await, own_redis().await);
    let site = Site::start_recorded(SLOW, settings(&redis), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 10).await;
    let mut answers = Vec::new();
    for user in &users {
        answers.push(site.join(*user, concert).await);
    }
    let stopped = Instant::now();
    redis.process().pause();
    // What this gateway saw is good for two seconds.
    let deadline = Instant::now() + PATIENCE;
    while site.status(&answers[9].token()).await.status == 200 {
        assert!(Instant::now() < deadline, "still answered from an old view");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // From here on until the end of the outage every answer is a 503, and each request gets one.
    while stopped.elapsed() < OUTAGE {
        site.status(&answers[9].token()).await.is_problem(503, "service_unavailable");
        site.status(&answers[0].token()).await.is_problem(503, "service_unavailable");
        site.join(UserId::generate(), concert).await.is_problem(503, "service_unavailable");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    redis.process().resume();
    until_served(&site, &answers[9].token()).await;
    for (at, answer) in answers.iter().enumerate() {
        let now = site.until(&answer.token(), if at < 3 { "admitted" } else { "waiting" }).await;
        assert_eq!(now.body["queueInfo"]["position"], at + 1);
    }
}

#[tokio::test]
async fn a_replica_that_takes_over_without_the_last_writes_is_told_them_again() {
    let (recorded, redis) = (Recorded::new().await, own_redis().await);
    let site = Site::start_recorded(SLOW, settings(&redis), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 30).await;
    let mut answers = Vec::new();
    for user in &users[..20] {
        answers.push(site.join(*user, concert).await);
    }
    // The state that the replica has.
    let client = Client::new(&settings(&redis)).unwrap();
    let keys = RoomKeys::of(concert);
    let mut dumps: Vec<Option<Vec<u8>>> = Vec::new();
    for key in keys.all() {
        dumps.push(client.run(redis::cmd("DUMP").arg(key).to_owned()).await.unwrap());
    }
    // What it will never hear of: people who joined, one who was admitted, one who left.
    for user in &users[20..] {
        answers.push(site.join(*user, concert).await);
    }
    site.leave(&answers[0].token()).await;
    site.leave(&answers[15].token()).await;
    site.admin(Method::POST, &format!("{concert}/admit"), Some(json!({"count": 1}))).await;
    site.until(&answers[3].token(), "admitted").await;
    let before = line(&redis, concert).await;
    // It takes over, all at once.
    let mut takes_over = redis::pipe();
    takes_over.atomic();
    for (key, dump) in keys.all().iter().zip(&dumps) {
        takes_over.cmd("DEL").arg(key).ignore();
        if let Some(dump) = dump {
            takes_over.cmd("RESTORE").arg(key).arg(0).arg(dump.as_slice()).ignore();
        }
    }
    takes_over.query_async::<()>(&mut client.clone()).await.unwrap();

    until_served(&site, &answers[29].token()).await;
    until_back(&redis, concert, &before).await;
    assert_eq!(site.status(&answers[3].token()).await.body["status"], "admitted");
    assert_eq!(site.status(&answers[15].token()).await.body["status"], "left");
}
