//! A master is killed in the middle of a run, behind Sentinel and in Redis Cluster: the room goes on with whoever takes
//! over, also where that one lacks the last writes.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::time::{Duration, Instant};

use common::ids::{ConcertId, UserId};
use gateway::domain::RoomDefaults;
use gateway::store::RoomKeys;
use http::Method;
use lua::{Mode, RedisSettings, SentinelSettings};
use stack::redis::{RedisCluster, RedisSentinel};
use stack::wait::PATIENCE;
use support::DEFAULTS;
use support::recorded::Recorded;
use support::server::{Answer, Site};

/// Nobody follows whoever is inside within the time of a test.
const SLOW: RoomDefaults =
    RoomDefaults { admit_per_second: 0.001, burst: 3, max_active: 3, session: Duration::from_mins(10), ..DEFAULTS };
fn settings(urls: &str, mode: Mode) -> RedisSettings {
    let urls = urls.split(',').map(str::to_owned).collect();
    RedisSettings { urls, mode, call_timeout: Duration::from_millis(800) }
}

async fn join_all(site: &Site, concert: ConcertId, users: &[UserId]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for user in users {
        answers.push(site.join(*user, concert).await);
    }
    answers
}

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

/// Everyone is where they were: the first three inside, the others in line at their own positions. Until service is
/// back, the answer is 503 and nothing else.
async fn all_are_back(site: &Site, answers: &[Answer]) {
    let deadline = Instant::now() + PATIENCE;
    for (at, answer) in answers.iter().enumerate() {
        let now = loop {
            let now = site.status(&answer.token()).await;
            if now.status == 200 {
                break now;
            }
            now.is_problem(503, "service_unavailable");
            assert!(Instant::now() < deadline, "not back in time: {now:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let wanted = if at < 3 { "admitted" } else { "waiting" };
        assert_eq!((now.body["status"].as_str(), &now.body["queueInfo"]["position"]), (Some(wanted), &(at + 1).into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinel_a_replica_takes_over_that_lacks_the_last_writes() {
    let recorded = Recorded::new().await;
    let sentinel = tokio::task::spawn_blocking(RedisSentinel::start).await.unwrap().unwrap();
    let mode = Mode::Sentinel(SentinelSettings { master: "onsale".to_owned(), password: None });
    let site = Site::start_recorded(SLOW, settings(&sentinel.urls(), mode), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 40).await;
    let mut answers = join_all(&site, concert, &users[..30]).await;
    until_recorded(&site, concert).await;
    // Of what comes now the replicas hear nothing: they stand still, and their connections are cut.
    for node in &sentinel.nodes()[1..] {
        node.process().pause();
    }
    sentinel.nodes()[0].command(&["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
    answers.extend(join_all(&site, concert, &users[30..]).await);
    let old = sentinel.kill_master().unwrap();
    for node in &sentinel.nodes()[1..] {
        node.process().resume();
    }
    tokio::task::block_in_place(|| sentinel.wait_for_failover(old)).unwrap();
    all_are_back(&site, &answers).await;
    let epoch = async |token: &str| site.config.tickets.verify(token).unwrap().epoch;
    let last = &answers[39].token();
    assert!(epoch(&site.status(last).await.token()).await > epoch(last).await, "the room has noticed its loss");
    let newcomer = site.join(UserId::generate(), concert).await;
    assert!(newcomer.body["queueInfo"]["position"].as_u64().unwrap() > 40, "no number twice: {newcomer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_the_death_of_a_room_s_master_costs_nobody_their_place() {
    let recorded = Recorded::new().await;
    let cluster = tokio::task::spawn_blocking(RedisCluster::start_with_replicas).await.unwrap().unwrap();
    let site = Site::start_recorded(SLOW, settings(&cluster.urls(), Mode::Cluster), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 40).await;
    let answers = join_all(&site, concert, &users).await;
    let keys = RoomKeys::of(concert);
    let old = cluster.kill_master_of(&keys.all()[0]).unwrap();
    tokio::task::block_in_place(|| cluster.wait_for_failover(old, &keys.all()[0])).unwrap();
    all_are_back(&site, &answers).await;
}
