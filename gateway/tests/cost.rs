//! What a poll costs Redis: nothing, as Redis itself counts.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::time::{Duration, Instant};

use common::ids::UserId;
use common::tokens::Ticket;
use futures_util::StreamExt as _;
use gateway::domain::RoomDefaults;
use gateway::store::{QueueStore, RoomContext, RoomKeys};
use lua::{Mode, Redis as Client, RedisSettings};
use stack::redis::{Redis, RedisOptions};
use support::DEFAULTS;
use support::server::Site;

/// Nobody gets nearer while the test polls.
const STILL: RoomDefaults = RoomDefaults { admit_per_second: 0.001, burst: 1, max_active: 1, ..DEFAULTS };
const NEAR: usize = 2_000;
const FAR: usize = 10_000;

/// Commands that Redis has run, those in scripts included.
fn commands(redis: &Redis) -> f64 {
    let info = redis.command(&["INFO", "commandstats"]).unwrap();
    let calls = info.lines().filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<f64>().ok());
    calls.sum()
}

#[tokio::test]
async fn polls_far_from_the_front_cause_no_commands() {
    let redis = tokio::task::spawn_blocking(|| Redis::start(&RedisOptions::default())).await.unwrap().unwrap();
    let settings =
        RedisSettings { urls: vec![redis.url()], mode: Mode::Standalone, call_timeout: Duration::from_secs(2) };
    let (core, address) = support::server::start_core().await;
    let site = Site::start_before(STILL, settings.clone(), core, &[address]).await;
    let concert = site.core.concert("on_sale", None);
    let first = site.join(UserId::generate(), concert).await;

    let store = QueueStore::new(Client::new(&settings).unwrap());
    let (keys, context) = (RoomKeys::of(concert), RoomContext::new(STILL.into()));
    let users: Vec<UserId> = (0..NEAR + FAR).map(|_| UserId::generate()).collect();
    let mut epoch = 0;
    for part in users.chunks(500) {
        epoch = store.join(&keys, &context, part).await.unwrap().seen.epoch;
    }
    let ticket = |(at, user): (usize, &UserId)| {
        let ahead = u32::try_from(at).unwrap();
        let ticket = Ticket { user: *user, concert, position: ahead + 2, epoch, issued_at: 0, ahead: Some(ahead) };
        site.config.tickets.sign(&ticket)
    };
    let tokens: Vec<String> = users.iter().enumerate().skip(NEAR).map(ticket).collect();
    site.status(&first.token()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;

    // What the room itself costs at rest: its ticks.
    let (begun, before) = (Instant::now(), commands(&redis));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let at_rest = (commands(&redis) - before) / begun.elapsed().as_secs_f64();

    let (begun, before) = (Instant::now(), commands(&redis));
    let polls = futures_util::stream::iter(&tokens).map(|token| site.status(token)).buffer_unordered(20);
    let waiting = polls.filter(|answer| std::future::ready(answer.body["status"] == "waiting")).count().await;
    let with_polls = (commands(&redis) - before) / begun.elapsed().as_secs_f64();
    assert_eq!(waiting, FAR);
    assert!(with_polls - at_rest < 100.0, "{FAR} polls: {with_polls:.0} commands a second, {at_rest:.0} at rest");
}
