//! Servers start, stop, come back and are gone when they should be.
#![expect(clippy::print_stdout, reason = "the victim tells its killer where its servers are")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Result;
use stack::nginx::Nginx;
use stack::postgres::{Postgres, PostgresOptions};
use stack::process::Launch;
use stack::redis::{Redis, RedisCluster, RedisOptions, RedisSentinel};
use stack::scratch::Scratch;
use stack::{ports, wait};

#[test]
fn redis_with_appendonly_keeps_its_data_over_a_restart_and_a_crash() -> Result<()> {
    let redis = Redis::start(&RedisOptions {
        appendonly: true,
        more: vec!["--appendfsync".into(), "always".into()],
        ..RedisOptions::default()
    })?;
    redis.command(&["SET", "name", "a value"])?;
    redis.restart()?;
    assert_eq!(redis.command(&["GET", "name"])?, "a value");
    redis.process().kill();
    assert!(redis.command(&["PING"]).is_err());
    redis.restart()?;
    assert_eq!(redis.command(&["GET", "name"])?, "a value");
    Ok(())
}

#[test]
fn redis_without_appendonly_comes_back_empty() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    redis.command(&["SET", "name", "value"])?;
    redis.restart()?;
    assert_eq!(redis.command(&["DBSIZE"])?, "0");
    Ok(())
}

#[test]
fn a_paused_redis_is_silent_until_it_is_resumed() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    redis.process().pause();
    assert!(redis.process().is_running());
    let asked = std::thread::scope(|scope| {
        let answer = scope.spawn(|| redis.command(&["PING"]));
        assert!(!answer.is_finished());
        redis.process().resume();
        answer.join().expect("the asking thread panicked")
    });
    assert_eq!(asked?, "PONG");
    Ok(())
}

#[test]
fn a_restart_with_another_variable_is_remembered_by_the_next() -> Result<()> {
    let scratch = Scratch::new("restart")?;
    let log = scratch.path().join("log");
    let process = Launch::new("echo", "sh", &log)
        .args(["-c", "echo $KEPT $CHANGED"])
        .env("KEPT", "kept")
        .env("CHANGED", "before")
        .start()?;
    let ended = || wait::until("its end", wait::PATIENCE, || Ok(process.exit_status()));
    ended()?;
    process.restart_with(&[("CHANGED".to_owned(), "after".to_owned())].into())?;
    ended()?;
    process.restart()?;
    ended()?;
    assert_eq!(std::fs::read_to_string(&log)?, "kept before\nkept after\nkept after\n");
    Ok(())
}

#[test]
fn a_cluster_serves_every_slot_and_redirects() -> Result<()> {
    let cluster = RedisCluster::start()?;
    assert_eq!(cluster.urls().split(',').count(), 3);
    let served = (0..64).filter(|n| cluster.nodes()[0].command(&["SET", &format!("k{n}"), "v"]).is_ok()).count();
    assert!((1..64).contains(&served), "{served} of 64 keys on one node");
    Ok(())
}

#[test]
fn a_cluster_s_replica_takes_over_its_master_s_slots_with_their_data() -> Result<()> {
    let cluster = RedisCluster::start_with_replicas()?;
    let master = cluster.master_of("key")?;
    master.command(&["SET", "key", "value"])?;
    // Replication is asynchronous: only what the replica acknowledged is sure to survive.
    assert_eq!(master.command(&["WAIT", "1", "5000"])?, "1");
    let killed = cluster.kill_master_of("key")?;
    assert_eq!(killed.port(), master.port());
    let promoted = cluster.wait_for_failover(killed, "key")?;
    assert_ne!(promoted.port(), killed.port());
    assert_eq!(promoted.command(&["GET", "key"])?, "value");
    Ok(())
}

#[test]
fn sentinels_replace_a_dead_master_and_take_it_back_as_a_replica() -> Result<()> {
    let sentinel = RedisSentinel::start()?;
    let master = sentinel.master()?;
    master.command(&["SET", "key", "value"])?;
    assert_eq!(master.command(&["WAIT", "2", "5000"])?, "2");
    let killed = sentinel.kill_master()?;
    let promoted = sentinel.wait_for_failover(killed)?;
    assert_ne!(promoted.port(), killed.port());
    assert_eq!(promoted.command(&["GET", "key"])?, "value");
    killed.restart()?;
    sentinel.wait_until_follows(killed)?;
    assert_eq!((killed.role().as_str(), promoted.role().as_str()), ("slave", "master"));
    assert_eq!(killed.command(&["GET", "key"])?, "value");
    Ok(())
}

#[test]
fn postgres_keeps_its_data_over_a_restart_and_a_crash() -> Result<()> {
    let postgres = Postgres::start(&PostgresOptions::default())?;
    let server = postgres.server();
    server.create_database("kept")?;
    let found = "SELECT count(*) FROM pg_database WHERE datname = 'kept'";
    postgres.restart()?;
    assert_eq!(server.admin_sql(found)?.trim(), "1");
    postgres.process().kill();
    assert!(server.admin_sql(found).is_err());
    postgres.restart()?;
    assert_eq!(server.admin_sql(found)?.trim(), "1");
    assert!(postgres.url("kept").starts_with("postgres://onsale@127.0.0.1:"));
    Ok(())
}

#[test]
fn a_fresh_database_is_a_private_copy_of_what_was_migrated_once() -> Result<()> {
    let postgres = Postgres::start(&PostgresOptions::default())?;
    let server = postgres.server();
    let files = Scratch::new("migrations")?;
    let file = files.path().join("1.sql");
    std::fs::write(&file, "CREATE TABLE things (id int); INSERT INTO things VALUES (1);")?;
    let mut migrations = 0;
    let mut fresh = || {
        server.fresh_database("things", |url| {
            migrations += 1;
            server.apply(url, std::slice::from_ref(&file))
        })
    };
    let (first, second) = (fresh()?, fresh()?);
    assert_eq!(migrations, 1);
    assert_ne!(first.url(), second.url());
    let more = files.path().join("2.sql");
    std::fs::write(&more, "INSERT INTO things VALUES (2);")?;
    server.apply(&first.url(), std::slice::from_ref(&more))?;
    // The second copy knows nothing of it: a row there would make this fail.
    let check = files.path().join("3.sql");
    std::fs::write(&check, "CREATE UNIQUE INDEX ON things ((true));")?;
    server.apply(&second.url(), std::slice::from_ref(&check))?;
    assert!(server.apply(&first.url(), std::slice::from_ref(&check)).is_err());
    let name = first.name().to_owned();
    drop(first);
    let found = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(server.admin_sql(&found)?.trim(), "0");
    Ok(())
}

#[test]
fn a_crashed_child_is_noticed_with_the_end_of_its_log() -> Result<()> {
    let folder = Scratch::new("crash")?;
    let child = Launch::new("crasher", "sh", folder.path().join("log"))
        .args(["-c", "echo first; echo the reason >&2; exit 3"])
        .start()?;
    wait::until("the child to end", wait::PATIENCE, || Ok((!child.is_running()).then_some(())))?;
    let error = child.ensure_running().unwrap_err().to_string();
    assert!(error.contains("crasher has ended (exit status: 3)"), "{error}");
    assert!(error.ends_with("first\nthe reason"), "{error}");
    assert_eq!(child.log_tail(1), "the reason");
    Ok(())
}

#[test]
fn a_child_that_ignores_the_signal_is_killed_after_the_timeout() -> Result<()> {
    let folder = Scratch::new("stubborn")?;
    let child = Launch::new("stubborn", "sh", folder.path().join("log"))
        .args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"])
        .start()?;
    wait::until("the trap", wait::PATIENCE, || Ok((child.log_tail(1) == "ready").then_some(())))?;
    assert!(!child.terminate(Duration::from_millis(100)));
    assert!(!child.is_running());
    Ok(())
}

#[test]
fn a_child_sees_only_what_it_is_given() -> Result<()> {
    let folder = Scratch::new("environment")?;
    let child = Launch::new("env", "env", folder.path().join("log")).env("GIVEN", "yes").start()?;
    wait::until("env to end", wait::PATIENCE, || Ok((!child.is_running()).then_some(())))?;
    let seen = child.log_tail(100);
    assert!(seen.contains("GIVEN=yes") && seen.contains("PATH="), "{seen}");
    // Cargo sets this for every test.
    assert!(std::env::var("CARGO_MANIFEST_DIR").is_ok());
    assert!(!seen.contains("CARGO_MANIFEST_DIR"), "{seen}");
    Ok(())
}

#[test]
fn nothing_is_left_after_drop() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let port = redis.port();
    assert!(!ports::is_free(port));
    drop(redis);
    assert!(ports::is_free(port));
    Ok(())
}

/// Set for the copy of this test executable that is going to be killed.
const VICTIM: &str = "ONSALE_STACK_TEST_VICTIM";

/// Not a test by itself: starts servers, says where, and waits to be killed.
#[test]
fn victim() -> Result<()> {
    if std::env::var_os(VICTIM).is_none() {
        return Ok(());
    }
    let redis = Redis::start(&RedisOptions::default())?;
    let postgres = Postgres::start(&PostgresOptions::default())?;
    let folder = Scratch::new("victim")?;
    let nginx_port = ports::free_port()?;
    let http = format!("server {{ listen 127.0.0.1:{nginx_port}; }}");
    let _nginx = Nginx::start(folder.path(), &http, nginx_port)?;
    println!("\nstarted {} {} {nginx_port} {}", redis.port(), postgres.port(), folder.path().display());
    std::thread::sleep(Duration::from_mins(1));
    Ok(())
}

#[test]
fn nothing_outlives_a_killed_owner() -> Result<()> {
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["victim", "--exact", "--nocapture"])
        .env(VICTIM, "yes")
        .stdout(Stdio::piped())
        .spawn()?;
    let output = BufReader::new(victim.stdout.take().expect("its output is piped"));
    let started = output.lines().map_while(std::io::Result::ok).find(|line| line.starts_with("started"));
    victim.kill()?;
    victim.wait()?;
    let started = started.expect("the victim starts its servers");
    let words: Vec<&str> = started.split(' ').collect();
    let servers: Vec<u16> = words[1..4].iter().map(|port| port.parse()).collect::<Result<_, _>>()?;
    let folder = Path::new(words[4]);
    wait::until("the servers' end", wait::PATIENCE, || {
        let gone = servers.iter().all(|port| ports::is_free(*port)) && !folder.exists();
        Ok(gone.then_some(()))
    })
}

#[test]
fn children_outlive_the_thread_that_started_them() -> Result<()> {
    let redis = std::thread::spawn(|| Redis::start(&RedisOptions::default())).join().expect("the thread panicked")?;
    // The signal would have come with the thread's end, before join returned or just after.
    for _ in 0..20 {
        assert_eq!(redis.command(&["PING"])?, "PONG");
    }
    Ok(())
}
