//! What a room costs Redis: memory for each person in line, CPU for each join. `cargo bench -p gateway --bench room_cost`
//! prints the figures; it judges nothing.

#![allow(clippy::unwrap_used, reason = "a benchmark that can not go on stops")]
#![expect(clippy::print_stdout, reason = "what it is for is what it prints")]

use std::time::{Duration, Instant};

use common::ids::{ConcertId, UserId};
use gateway::domain::RoomDefaults;
use gateway::store::{QueueStore, RoomContext, RoomKeys};
use lua::{Mode, Redis as Client, RedisSettings};
use stack::redis::{Redis, RedisOptions};

const PEOPLE: usize = 1_000_000;
/// What one call of a gateway carries at most.
const BATCH: usize = 512;
const ROOM: RoomDefaults = RoomDefaults {
    admit_per_second: 50.0,
    burst: 50,
    max_active: 500,
    session: Duration::from_mins(10),
    claim: Duration::from_secs(45),
};

/// A figure of Redis' INFO.
fn info(redis: &Redis, section: &str, field: &str) -> f64 {
    let info = redis.command(&["INFO", section]).unwrap();
    let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.and_then(|value| value.trim().parse().ok()).unwrap()
}

fn cpu_seconds(redis: &Redis) -> f64 {
    info(redis, "cpu", "used_cpu_user") + info(redis, "cpu", "used_cpu_sys")
}

/// Joins everyone in calls of `batch`, and tells what that cost: µs of CPU a join, bytes a person, joins a second.
async fn measure(people: usize, batch: usize, recorded: bool) -> (f64, f64, f64) {
    let redis = Redis::start(&RedisOptions::default()).unwrap();
    let settings =
        RedisSettings { urls: vec![redis.url()], mode: Mode::Standalone, call_timeout: Duration::from_secs(3) };
    let store = QueueStore::new(Client::new(&settings).unwrap());
    let keys = RoomKeys::of(ConcertId::generate());
    let context = RoomContext { recorded, ..RoomContext::new(ROOM.into()) };
    let users: Vec<UserId> = (0..people).map(|_| UserId::generate()).collect();
    // Whoever walks in while the room is idle is not in line.
    store.join(&keys, &context, &(0..100).map(|_| UserId::generate()).collect::<Vec<_>>()).await.unwrap();
    let (cpu, memory, begun) = (cpu_seconds(&redis), info(&redis, "memory", "used_memory"), Instant::now());
    for part in users.chunks(batch) {
        store.join(&keys, &context, part).await.unwrap();
    }
    let elapsed = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a million")]
    let joins = people as f64;
    let cpu_us = (cpu_seconds(&redis) - cpu) * 1e6 / joins;
    (cpu_us, (info(&redis, "memory", "used_memory") - memory) / joins, joins / elapsed)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    println!("| Joins | A call | Recorded | Redis CPU a join | Redis memory a person | Joins a second |");
    println!("|---|---|---|---|---|---|");
    for (people, batch, recorded) in
        [(PEOPLE, BATCH, false), (PEOPLE, BATCH, true), (100_000, 100, true), (100_000, 1, true)]
    {
        let (cpu_us, bytes, per_second) = measure(people, batch, recorded).await;
        let is_recorded = if recorded { "yes" } else { "no" };
        println!("| {people} | {batch} | {is_recorded} | {cpu_us:.2} µs | {bytes:.0} B | {per_second:.0} |");
    }
}
