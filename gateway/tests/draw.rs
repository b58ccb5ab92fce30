//! The draw of `random_at_open`: announced, made once, dealt to everyone as anyone can recompute, kept over a loss.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use common::draw::Seed;
use common::ids::{ConcertId, UserId};
use gateway::domain::RoomDefaults;
use http::Method;
use lua::{Mode, RedisSettings};
use serde_json::{Value, json};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;
use support::recorded::Recorded;
use support::server::{Answer, Site};
use support::{DEFAULTS, redis_settings};

const SLOW: RoomDefaults = RoomDefaults { admit_per_second: 0.001, burst: 1, max_active: 1, ..DEFAULTS };

async fn frontier(site: &Site, concert: ConcertId) -> Value {
    Answer::of(site.http.get(format!("{}/queue/{concert}/frontier", site.url))).await.body
}

/// A concert whose order is drawn when it opens, in an hour.
async fn drawn_concert(site: &Site) -> ConcertId {
    let concert = site.core.concert("scheduled", None);
    let opens_at = Utc::now() + TimeDelta::hours(1);
    let set = json!({"order": "random_at_open", "opensAt": opens_at});
    let answer = site.admin(Method::PUT, &concert.to_string(), Some(set)).await;
    assert_eq!(answer.body["order"], "random_at_open", "{answer:?}");
    concert
}

/// Opens the sale now.
async fn open(site: &Site, concert: ConcertId) {
    site.core.set(concert, "on_sale", None);
    let answer = site.admin(Method::PUT, &concert.to_string(), Some(json!({"opensAt": null}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn positions_are_dealt_once_as_the_published_seed_says() {
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(SLOW, redis_settings(), &recorded.url()).await;
    let concert = drawn_concert(&site).await;
    let users = recorded.populate(concert, 30).await;
    let mut entries: BTreeMap<u32, (UserId, Answer)> = BTreeMap::new();
    for user in &users {
        let answer = site.join(*user, concert).await;
        assert_eq!((&answer.body["status"], &answer.body["queueInfo"]["drawn"]), (&json!("waiting"), &json!(false)));
        let entry = u32::try_from(answer.body["queueInfo"]["position"].as_u64().unwrap()).unwrap();
        entries.insert(entry, (*user, answer));
    }
    // Someone who goes before the draw leaves their position empty.
    let (gone, _) = &entries[&12];
    site.leave(&entries[&12].1.token()).await;
    let before = frontier(&site, concert).await;
    let hash = before["draw"]["seedHash"].as_str().unwrap().to_owned();
    assert_eq!((&before["draw"]["seed"], &before["draw"]["entries"]), (&Value::Null, &Value::Null));
    assert_eq!((&before["status"], &before["frontier"]), (&json!("scheduled"), &json!(0)));

    open(&site, concert).await;
    let latecomer = site.join(UserId::generate(), concert).await;
    let after = loop {
        let after = frontier(&site, concert).await;
        if after["draw"]["seed"].is_string() && after["status"] != "drawing" {
            break after;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let seed = Seed::from_hex(after["draw"]["seed"].as_str().unwrap()).unwrap();
    assert_eq!((seed.hash(), after["draw"]["seedHash"].as_str()), (hash.clone(), Some(hash.as_str())));
    assert_eq!(after["draw"]["entries"], 30);
    let positions = seed.positions(concert, 30);
    let first = entries
        .iter()
        .filter(|(_, (user, _))| user != gone)
        .min_by_key(|(entry, _)| positions[**entry as usize - 1])
        .map(|(entry, _)| *entry)
        .unwrap();
    for (entry, (user, answer)) in entries.iter().filter(|(_, (user, _))| user != gone) {
        let now = if *entry == first {
            site.until(&answer.token(), "admitted").await
        } else {
            site.status(&answer.token()).await
        };
        assert_eq!(now.body["queueInfo"]["position"], positions[*entry as usize - 1], "entry {entry} of {user}");
        assert_eq!(now.body["queueInfo"].get("drawn"), None);
    }
    assert_eq!(latecomer.body["queueInfo"]["position"], 31, "who comes later is behind, first come first served");
    // No second draw, whatever is set.
    let opens_at = Utc::now() + TimeDelta::hours(1);
    let again = json!({"order": "random_at_open", "opensAt": opens_at});
    let fifo = site.admin(Method::PUT, &concert.to_string(), Some(json!({"order": "fifo"}))).await;
    assert_eq!(fifo.status, 200);
    site.admin(Method::PUT, &concert.to_string(), Some(again)).await.is_problem(409, "draw_not_possible");
}

#[tokio::test]
async fn a_draw_outlives_the_loss_of_redis_before_and_after_it_is_made() {
    let recorded = Recorded::new().await;
    let redis = tokio::task::spawn_blocking(|| Redis::start(&RedisOptions::default())).await.unwrap().unwrap();
    let settings =
        RedisSettings { urls: vec![redis.url()], mode: Mode::Standalone, call_timeout: Duration::from_secs(2) };
    let site = Site::start_recorded(SLOW, settings, &recorded.url()).await;
    let concert = drawn_concert(&site).await;
    let users = recorded.populate(concert, 20).await;
    let mut answers = Vec::new();
    for user in &users {
        answers.push(site.join(*user, concert).await);
    }
    let hash = frontier(&site, concert).await["draw"]["seedHash"].clone();
    redis.command(&["FLUSHALL"]).unwrap();
    for answer in &answers {
        let now = site.until(&answer.token(), "waiting").await;
        assert_eq!(now.body["queueInfo"]["position"], answer.body["queueInfo"]["position"], "entries are kept");
    }
    assert_eq!(frontier(&site, concert).await["draw"]["seedHash"], hash, "the announced draw is the one to be made");

    // Turns, and with them the draw, are held back for some seconds after a loss.
    open(&site, concert).await;
    let drawn = loop {
        let drawn = frontier(&site, concert).await;
        if drawn["draw"]["seed"].is_string() && drawn["status"] != "drawing" {
            break drawn;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let entries = u32::try_from(drawn["draw"]["entries"].as_u64().unwrap()).unwrap();
    let positions = Seed::from_hex(drawn["draw"]["seed"].as_str().unwrap()).unwrap().positions(concert, entries);
    redis.command(&["FLUSHALL"]).unwrap();
    for answer in &answers {
        let entry = answer.body["queueInfo"]["position"].as_u64().unwrap();
        let begun = std::time::Instant::now();
        let now = loop {
            let now = site.status(&answer.token()).await;
            if now.status == 200 {
                break now;
            }
            assert!(begun.elapsed() < PATIENCE, "{now:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let position = positions[usize::try_from(entry).unwrap() - 1];
        assert_eq!(now.body["queueInfo"]["position"], position, "entry {entry}: {now:?}");
    }
    assert_eq!(frontier(&site, concert).await["draw"], drawn["draw"], "no second draw");
}
