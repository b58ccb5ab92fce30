//! What a failing Redis costs: calls that fail in their time, for some seconds, and no more.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use lua::{Mode, REDIS_SENTINEL_MASTER, Redis, RedisSettings, Script, SentinelSettings, StoreError};
use stack::redis::{RedisCluster, RedisOptions, RedisSentinel, RedisSentinelOptions, SENTINEL_MASTER};
use stack::wait::PATIENCE;

const CALL_TIMEOUT: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(20);
/// The hash tag of a cluster's keys here.
const TAG: &str = "{room}";

fn connect(urls: &str, mode: Mode, call_timeout: Duration) -> Redis {
    let urls = urls.split(',').map(str::to_owned).collect();
    Redis::new(&RedisSettings { urls, mode, call_timeout }).unwrap()
}

fn by_sentinel(sentinel: &RedisSentinel) -> Redis {
    connect(&sentinel.urls(), sentinel_mode(None), CALL_TIMEOUT)
}

fn sentinel_mode(password: Option<&str>) -> Mode {
    let master = REDIS_SENTINEL_MASTER.default.unwrap().to_owned();
    Mode::Sentinel(SentinelSettings { master, password: password.map(str::to_owned) })
}

/// Adds one under the key, by a script.
async fn count(redis: &Redis, key: &str) -> Result<i64, StoreError> {
    let script = Script::new("count", "#!lua\nreturn redis.call('INCR', KEYS[1])", 1);
    script.call().key(key).run(redis).await
}

async fn command<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    redis.run(command).await.unwrap()
}

/// Calls one after the other until one succeeds after others have failed, and answers their errors. Fails if a
/// call never ends.
async fn call_through_a_failover(redis: &Redis, key: &str) -> Vec<StoreError> {
    let begun = Instant::now();
    let mut errors = Vec::new();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no call has succeeded since {errors:?}");
        let outcome = tokio::time::timeout(PATIENCE, count(redis, key)).await.expect("a call that ends");
        match outcome {
            Ok(_) if !errors.is_empty() => return errors,
            Ok(_) => {}
            Err(error) => errors.push(error),
        }
        tokio::time::sleep(STEP).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_master_s_death_the_replica_that_sentinels_promote_is_written_to() {
    let sentinel = RedisSentinel::start().unwrap();
    let redis = by_sentinel(&sentinel);
    assert_eq!(count(&redis, "before").await.unwrap(), 1);
    assert_eq!(command::<i64>(&redis, &["WAIT", "2", "5000"]).await, 2);

    let killed = sentinel.kill_master().unwrap();
    call_through_a_failover(&redis, "after").await;
    let promoted = sentinel.wait_for_failover(killed).unwrap();
    assert_eq!(promoted.command(&["EXISTS", "after"]).unwrap(), "1");
    assert_eq!(count(&redis, "before").await.unwrap(), 2, "what the replica had is there");

    // It comes back as a master, empty, and is one until the sentinels have told it otherwise.
    killed.restart().unwrap();
    assert_eq!(killed.role(), "master");
    let mut written = 0;
    while killed.role() == "master" {
        count(&redis, "with two masters").await.unwrap();
        written += 1;
        tokio::time::sleep(STEP).await;
    }
    assert!(written > 1);
    assert_eq!(promoted.command(&["GET", "with two masters"]).unwrap(), written.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_hangs_is_left_for_the_one_that_replaced_it() {
    let sentinel = RedisSentinel::start().unwrap();
    let redis = by_sentinel(&sentinel);
    count(&redis, "before").await.unwrap();

    // As a machine that vanishes: no connection is closed.
    let hung = sentinel.master().unwrap();
    hung.process().pause();
    call_through_a_failover(&redis, "after").await;
    let promoted = sentinel.wait_for_failover(hung).unwrap();
    let written: i64 = promoted.command(&["GET", "after"]).unwrap().parse().unwrap();
    // It takes itself for the master still.
    hung.process().resume();
    assert_eq!(hung.role(), "master");
    assert_eq!(count(&redis, "after").await.unwrap(), written + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_was_demoted_and_lives_on_is_left() {
    let sentinel = RedisSentinel::start().unwrap();
    let redis = by_sentinel(&sentinel);
    count(&redis, "before").await.unwrap();

    // By hand, so that the connection is not closed: all that tells is the answer READONLY.
    let (old, new) = (&sentinel.nodes()[0], &sentinel.nodes()[1]);
    let (host, port) = ("127.0.0.1", new.port().to_string());
    sentinel.tell(&["SENTINEL", "REMOVE", SENTINEL_MASTER]).unwrap();
    new.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    old.command(&["REPLICAOF", host, &port]).unwrap();
    sentinel.tell(&["SENTINEL", "MONITOR", SENTINEL_MASTER, host, &port, "2"]).unwrap();
    let refusal = count(&redis, "after").await.unwrap_err();
    assert!(matches!(&refusal, StoreError::Redis(error) if error.code() == Some("READONLY")), "{refusal}");
    assert_eq!(count(&redis, "after").await.unwrap(), 1);
    assert_eq!(new.command(&["GET", "after"]).unwrap(), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_share_one_new_connection() {
    const CALLERS: usize = 200;
    let sentinel = RedisSentinel::start().unwrap();
    let redis = by_sentinel(&sentinel);
    count(&redis, "before").await.unwrap();
    let killed = sentinel.kill_master().unwrap();
    let caller = |n| {
        let redis = redis.clone();
        tokio::spawn(async move { call_through_a_failover(&redis, &format!("after:{n}")).await })
    };
    for caller in (0..CALLERS).map(caller).collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    let promoted = sentinel.wait_for_failover(killed).unwrap();
    let clients = promoted.command(&["CLIENT", "LIST", "TYPE", "normal"]).unwrap();
    let asking = clients.lines().filter(|line| line.contains("cmd=client")).count();
    let ours = clients.lines().filter(|line| line.contains(" name= ")).count() - asking;
    assert_eq!(ours, 1, "{clients}");
    // Sentinels, the other replica and this test connect too, some dozen times.
    let stats = promoted.command(&["INFO", "stats"]).unwrap();
    let connections = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    assert!(connections.parse::<usize>().unwrap() < CALLERS / 2, "{connections}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_that_is_down_or_hangs_is_skipped() {
    let sentinel = RedisSentinel::start().unwrap();
    let before = by_sentinel(&sentinel);
    count(&before, "before").await.unwrap();
    let mut sentinels = sentinel.sentinels();
    let first = sentinels.next().unwrap();
    first.kill();
    assert_eq!(count(&by_sentinel(&sentinel), "down").await.unwrap(), 1);
    first.restart().unwrap();
    first.pause();
    let patient = connect(&sentinel.urls(), sentinel_mode(None), 4 * CALL_TIMEOUT);
    assert_eq!(count(&patient, "hangs").await.unwrap(), 1);

    // With none left nobody finds the master, but who has found it keeps it.
    first.kill();
    sentinels.for_each(stack::process::Process::kill);
    assert!(count(&by_sentinel(&sentinel), "lost").await.is_err());
    assert_eq!(count(&before, "before").await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_sentinels_get_their_own_passwords_and_nobody_else_sees_them() {
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    let sentinel = RedisSentinel::start_with(&RedisSentinelOptions {
        nodes: words("--user fan on >hunter2 ~* &* +@all"),
        sentinels: vec!["requirepass hunter3".to_owned(), "sentinel sentinel-pass hunter3".to_owned()],
    })
    .unwrap();
    let url = |password: &str| sentinel.urls().replacen("redis://", &format!("redis://fan:{password}@"), 1);
    // The database comes after the first URL.
    let urls = |password: &str| url(password).replacen(',', "/1,", 1);
    let redis = connect(&urls("hunter2"), sentinel_mode(Some("hunter3")), CALL_TIMEOUT);
    let client: String = command(&redis, &["CLIENT", "INFO"]).await;
    assert!(client.contains(" user=fan ") && client.contains(" db=1 "), "{client}");

    for (node, own) in [("hunter4", "hunter3"), ("hunter2", "hunter4")] {
        let redis = connect(&urls(node), sentinel_mode(Some(own)), CALL_TIMEOUT);
        let error = redis.ping().await.unwrap_err();
        let shown = format!("{redis:?} {error:?} {error}");
        assert!(!shown.contains("hunter"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_server_in_doubt_is_connected_to_anew() {
    let server = stack::redis::Redis::start(&RedisOptions::default()).unwrap();
    let redis = connect(&server.url(), Mode::Standalone, CALL_TIMEOUT);
    let (nowhere, set): (&[&str], _) = (&["REPLICAOF", "127.0.0.1", "1"], "CONFIG");
    let cases: [(&[&str], &[&str], &str); 2] = [
        (nowhere, &["REPLICAOF", "NO", "ONE"], "READONLY"),
        (&[set, "SET", "min-replicas-to-write", "1"], &[set, "SET", "min-replicas-to-write", "0"], "NOREPLICAS"),
    ];
    for (spoil, repair, code) in cases {
        let before: u64 = command(&redis, &["CLIENT", "ID"]).await;
        server.command(spoil).unwrap();
        let refusal = count(&redis, "key").await.unwrap_err();
        assert!(matches!(&refusal, StoreError::Redis(error) if error.code() == Some(code)), "{refusal}");
        server.command(repair).unwrap();
        count_from_another_connection_than(before, &redis).await;
    }
    let before: u64 = command(&redis, &["CLIENT", "ID"]).await;
    server.process().pause();
    assert!(matches!(count(&redis, "key").await, Err(StoreError::Timeout(_))));
    server.process().resume();
    count_from_another_connection_than(before, &redis).await;
}

/// The old connection may serve until the new one is there.
async fn count_from_another_connection_than(before: u64, redis: &Redis) {
    let begun = Instant::now();
    while command::<u64>(redis, &["CLIENT", "ID"]).await == before {
        assert!(begun.elapsed() < PATIENCE, "the connection is still the old one");
        tokio::time::sleep(STEP).await;
    }
    count(redis, "key").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_death_of_a_cluster_s_master_its_replica_is_written_to() {
    let cluster = RedisCluster::start_with_replicas().unwrap();
    let redis = connect(&cluster.urls(), Mode::Cluster, CALL_TIMEOUT);
    let (before, after) = (format!("{TAG}:before"), format!("{TAG}:after"));
    count(&redis, &before).await.unwrap();
    let master = cluster.master_of(TAG).unwrap();
    wait_for_replica(master);
    let killed = cluster.kill_master_of(TAG).unwrap();
    let errors = call_through_a_failover(&redis, &after).await;
    // What is known to be down is told at once.
    let late = errors.iter().filter(|error| matches!(error, StoreError::Timeout(_))).count();
    assert!(late < errors.len() / 2, "{errors:?}");
    let promoted = cluster.wait_for_failover(killed, TAG).unwrap();
    assert_eq!(promoted.command(&["EXISTS", &after]).unwrap(), "1");
    assert_eq!(count(&redis, &before).await.unwrap(), 2, "what the replica had is there");
}

/// Waits until the replica has what its master has.
fn wait_for_replica(master: &stack::redis::Redis) {
    let offsets = || {
        let info = master.command(&["INFO", "replication"]).unwrap();
        let own = info.lines().find_map(|line| line.strip_prefix("master_repl_offset:"))?.to_owned();
        let replica = info.lines().find(|line| line.starts_with("slave0:"))?.to_owned();
        Some(replica.contains(&format!("offset={own},")))
    };
    stack::wait::until("the replica", PATIENCE, || Ok(offsets().unwrap_or_default().then_some(()))).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_s_master_that_hangs_is_left_and_takes_no_other_with_it() {
    let cluster = RedisCluster::start_with_replicas().unwrap();
    let redis = connect(&cluster.urls(), Mode::Cluster, CALL_TIMEOUT);
    let after = format!("{TAG}:after");
    count(&redis, &after).await.unwrap();
    let hung = cluster.master_of(TAG).unwrap();
    let elsewhere = |tag: &String| cluster.master_of(tag).unwrap().port() != hung.port();
    let other = (0..100).map(|n| format!("{{{n}}}")).find(elsewhere).unwrap();
    // Not known to any node yet, and none but its own is needed to make it known.
    let new_script = Script::new("new", "#!lua\nreturn redis.call('INCRBY', KEYS[1], 1)", 1);

    hung.process().pause();
    // Many, as in a room: what they do to find the node must not be at others' cost.
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (redis, after) = (redis.clone(), after.clone());
            tokio::spawn(async move { call_through_a_failover(&redis, &after).await })
        })
        .collect();
    while !callers.iter().all(tokio::task::JoinHandle::is_finished) {
        let _: i64 = new_script.call().key(&other).run(&redis).await.unwrap();
        tokio::time::sleep(STEP).await;
    }
    for caller in callers {
        caller.await.unwrap();
    }
    let promoted = cluster.wait_for_failover(hung, TAG).unwrap();
    assert_eq!(promoted.command(&["EXISTS", &after]).unwrap(), "1");
}
