//! What operators see of a room: right whichever gateway is asked, for nobody else, bounded, ended cleanly.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use common::ids::{ConcertId, UserId};
use common::tokens::Role;
use futures_util::StreamExt as _;
use gateway::Config;
use gateway::domain::{Counted, RoomSight};
use gateway::store::RoomKeys;
use http::Method;
use lua::Redis;
use lua::chart::ChartScripts;
use serde_json::{Value, json};
use stack::wait::PATIENCE;
use support::recorded::Recorded;
use support::server::{Answer, Site};
use support::{DEFAULTS, Rig};

/// A stream being read.
struct Live {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    read: String,
}

impl Live {
    async fn open(site: &Site, concert: ConcertId, session: &str, last_id: Option<&str>) -> Self {
        let mut request = site.http.get(url(site, concert)).bearer_auth(session);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        for (name, value) in [("x-accel-buffering", "no"), ("cache-control", "no-store")] {
            assert_eq!(response.headers()[name], value);
        }
        Self { body: Box::pin(response.bytes_stream()), read: String::new() }
    }

    async fn of_admin(site: &Site, concert: ConcertId) -> Self {
        Self::open(site, concert, &site.session_as(UserId::generate(), Role::Admin), None).await
    }

    /// The id and the data of the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some((block, rest)) = self.read.split_once("\n\n") {
                let field = |name| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                let event = field("id").zip(field("data"));
                let event = event.map(|(id, data)| (id.to_owned(), serde_json::from_str(data).unwrap()));
                self.read = String::from(rest);
                if event.is_some() {
                    return event;
                }
            }
            let part = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("silence")?;
            self.read.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
        }
    }
}

fn url(site: &Site, concert: ConcertId) -> String {
    format!("{}/admin/queues/{concert}/live", site.url)
}

#[tokio::test]
async fn an_operator_finds_a_concert_that_was_made_a_moment_ago() {
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(DEFAULTS, support::redis_settings(), &recorded.url()).await;
    let concert = ConcertId::generate();
    let path = concert.to_string();
    // A buyer's question is answered for two seconds with what was found.
    let frontier = format!("{}/queue/{concert}/frontier", site.url);
    Answer::of(site.http.get(&frontier)).await.is_problem(404, "not_found");
    site.admin(Method::GET, &path, None).await.is_problem(404, "not_found");
    site.core.set(concert, "on_sale", None);
    assert_eq!(site.admin(Method::GET, &path, None).await.status, 200);
}

/// Two gateways of the same rooms, with the same keys.
async fn two_gateways_with(change: impl Fn(&mut Config)) -> (Site, Site) {
    let (core, address) = support::server::start_core().await;
    let mut here = Site::config(DEFAULTS, support::redis_settings(), &[address]);
    change(&mut here);
    let there = here.clone();
    (Site::start_with(here, Arc::clone(&core)).await, Site::start_with(there, core).await)
}

/// What a column comes to, where each of its rates is of one second.
fn sum(seconds: &Value, name: &str) -> f64 {
    let times: Vec<i64> = seconds["at"].as_array().unwrap().iter().map(|at| at.as_i64().unwrap()).collect();
    let rates = seconds[name].as_array().unwrap();
    #[expect(clippy::cast_precision_loss, reason = "seconds between two points")]
    let of = |(at, rate): (usize, &Value)| {
        rate.as_f64().map_or(0.0, |rate| rate * (times[at] - times[at.saturating_sub(1)]).max(1) as f64)
    };
    rates.iter().enumerate().map(of).sum()
}

fn last<'a>(event: &'a Value, name: &str) -> &'a Value {
    event["seconds"][name].as_array().unwrap().last().unwrap_or(&Value::Null)
}

/// The first event of a new stream, once it is as `wanted`.
async fn shown(site: &Site, concert: ConcertId, session: &str, wanted: impl Fn(&Value) -> bool) -> (String, Value) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (id, event) = Live::open(site, concert, session, None).await.next().await.unwrap();
        if wanted(&event) {
            return (id, event);
        }
        assert!(Instant::now() < deadline, "still {event}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn the_figures_are_those_of_all_gateways() {
    let (here, there) = two_gateways_with(|_| {}).await;
    let concert = here.core.concert("on_sale", None);
    let stock = json!({ "id": concert, "status": "on_sale", "saleOpensAt": null,
        "availableSeats": 40, "heldSeats": 3, "soldSeats": 7 });
    here.core.concerts.lock().unwrap().insert(concert, stock);
    // Watched on one gateway before anybody comes, so that the first point is of an empty room.
    let mut live = Live::of_admin(&here, concert).await;
    let mut seconds = Vec::new();
    while seconds.is_empty() {
        let (_, event) = live.next().await.unwrap();
        seconds.extend(event["seconds"]["at"].as_array().unwrap().clone());
    }
    for site in [&here, &there, &there] {
        let token = site.join(UserId::generate(), concert).await.token();
        for _ in 0..3 {
            site.status(&token).await;
        }
    }
    here.core.concerts.lock().unwrap().get_mut(&concert).unwrap()["soldSeats"] = 9.into();
    // Two core-apis tell of payments that failed.
    let (scripts, redis) = (ChartScripts::default(), Redis::new(&support::redis_settings()).unwrap());
    let [counted, _] = RoomKeys::chart(concert);
    for failed in [1, 3] {
        let _: u64 = scripts.fail.call().key(&counted).arg(failed).arg(900).run(&redis).await.unwrap();
    }
    let session = here.session_as(UserId::generate(), Role::Admin);
    // A gateway that has shown nobody anything tells the same: the past is no gateway's own.
    for site in [&here, &there] {
        let (id, event) = shown(site, concert, &session, |event| {
            let all = [("joins", 3.0), ("polls", 9.0), ("sold", 2.0), ("failedPayments", 4.0)];
            let reached = |(name, sum_min)| sum(&event["seconds"], &format!("{name}PerSecond")) > sum_min - 0.1;
            all.into_iter().all(reached) && *last(event, "active") == 3
        })
        .await;
        let seconds = &event["seconds"];
        assert_eq!(id, last(&event, "at").to_string());
        assert!((sum(seconds, "joinsPerSecond") - 3.0).abs() < 0.1, "{seconds}");
        assert!((sum(seconds, "pollsPerSecond") - 9.0).abs() < 0.1, "{seconds}");
        assert!((sum(seconds, "soldPerSecond") - 2.0).abs() < 0.1, "{seconds}");
        assert!((sum(seconds, "failedPaymentsPerSecond") - 4.0).abs() < 0.1, "{seconds}");
        assert_eq!((last(&event, "active"), last(&event, "capacity")), (&json!(3), &json!(20)), "{event}");
        assert_eq!((last(&event, "availableSeats"), last(&event, "soldSeats")), (&json!(40), &json!(9)));
        assert_eq!((&event["queue"]["maxActive"], &event["sale"]["status"]), (&json!(20), &json!("on_sale")));
        let lengths: Vec<_> = seconds.as_object().unwrap().values().map(|one| one.as_array().unwrap().len()).collect();
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    }
}

#[tokio::test]
async fn nobody_but_an_administrator_watches_and_only_while_they_are_one() {
    let site = Site::start(DEFAULTS).await;
    let concert = site.core.concert("on_sale", None);
    let ask = |session: Option<String>| {
        let request = site.http.get(url(&site, concert));
        Answer::of(if let Some(session) = session { request.bearer_auth(session) } else { request })
    };
    ask(None).await.is_problem(401, "unauthenticated");
    for role in [Role::User, Role::Staff] {
        ask(Some(site.session_as(UserId::generate(), role))).await.is_problem(403, "forbidden");
    }
    let admin = site.session_as(UserId::generate(), Role::Admin);
    let nowhere = site.http.get(url(&site, ConcertId::generate())).bearer_auth(&admin);
    Answer::of(nowhere).await.is_problem(404, "not_found");
    let mut live = Live::open(&site, concert, &admin, None).await;
    assert!(live.next().await.is_some());
    site.clock.advance(TimeDelta::seconds(3_601));
    let ended = async { while live.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, ended).await.expect("they are shown more than they may see");
}

#[tokio::test]
async fn who_comes_back_is_told_only_what_is_new() {
    let site = Site::start(DEFAULTS).await;
    let concert = site.core.concert("on_sale", None);
    let mut live = Live::of_admin(&site, concert).await;
    let mut id = String::from("0");
    while id == "0" {
        id = live.next().await.unwrap().0;
    }
    let session = site.session_as(UserId::generate(), Role::Admin);
    let mut resumed = Live::open(&site, concert, &session, Some(&id)).await;
    let (_, event) = resumed.next().await.unwrap();
    let known: i64 = id.parse().unwrap();
    assert!(event["seconds"]["at"].as_array().unwrap().iter().all(|at| at.as_i64().unwrap() > known), "{event}");
    assert!(Live::open(&site, concert, &session, Some("nonsense")).await.next().await.is_some());
}

#[tokio::test]
async fn what_somebody_else_changes_is_seen() {
    let recorded = Recorded::new().await;
    let (here, there) = two_gateways_with(|config| {
        config.record = Some(gateway::RecordSettings::new(recorded.url(), 4));
    })
    .await;
    let concert = here.core.concert("on_sale", None);
    let users = recorded.populate(concert, 1).await;
    here.join(users[0], concert).await;
    let mut live = Live::of_admin(&here, concert).await;
    assert_eq!(live.next().await.unwrap().1["queue"]["paused"], false);
    // An administrator is known to the record.
    let paused = there.admin(Method::POST, &format!("{concert}/pause"), None).await;
    assert_eq!(paused.status, 200, "{:?}", paused.body);
    let seen = async { while live.next().await.unwrap().1["queue"]["paused"] == false {} };
    tokio::time::timeout(PATIENCE, seen).await.expect("the change is never shown");
}

#[tokio::test]
async fn streams_are_bounded_and_not_by_those_of_buyers() {
    let (core, address) = support::server::start_core().await;
    let mut config = Site::config(DEFAULTS, support::redis_settings(), &[address]);
    config.max_streams = 0;
    let site = Site::start_with(config, core).await;
    let concert = site.core.concert("on_sale", None);
    let session = site.session_as(UserId::generate(), Role::Admin);
    let mut open = Vec::new();
    for _ in 0..100 {
        open.push(Live::open(&site, concert, &session, None).await);
    }
    let ask = || site.http.get(url(&site, concert)).bearer_auth(&session);
    let ask_status = async || ask().send().await.unwrap().status();
    Answer::of(ask()).await.is_problem(503, "overloaded");
    assert!(open[99].next().await.is_some());
    open.truncate(99);
    // The gateway notices a closed connection when it next writes to it.
    let deadline = Instant::now() + PATIENCE;
    while ask_status().await != 200 {
        assert!(Instant::now() < deadline, "the place of a closed stream stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_gateway_that_stops_ends_the_stream() {
    let site = Site::start(DEFAULTS).await;
    let concert = site.core.concert("on_sale", None);
    let mut live = Live::of_admin(&site, concert).await;
    assert!(live.next().await.is_some());
    site.lifecycle.stop();
    while live.next().await.is_some() {}
}

#[tokio::test]
async fn a_quarter_of_an_hour_is_kept_in_redis_once_for_each_second() {
    for Rig { store, redis, .. } in Rig::on_both(DEFAULTS) {
        let concert = ConcertId::generate();
        let sight = RoomSight::from_line("1,2,3,4,5,6,7,8,9,10").unwrap();
        let counted = Counted { joins: 1, polls: 2, errors: 3 };
        let at = |second: i64| store.add_to_chart(concert, counted, &sight, second * 1_000 + 250);
        for second in 1..=1_000 {
            assert!(at(second).await.unwrap());
        }
        assert!(!at(1_000).await.unwrap(), "another gateway came first in this second");
        assert!(!at(995).await.unwrap(), "a clock that is a little behind is waited for");
        let points = store.chart(concert, None).await.unwrap();
        assert_eq!((points.len(), points[0].second, points[899].second), (900, 101, 1_000));
        assert_eq!(points[899].sums.counted, Counted { joins: 1_000, polls: 2_000, errors: 3_000 });
        assert!(at(1_001).await.unwrap());
        let new = store.chart(concert, Some(1_000)).await.unwrap();
        assert_eq!(new[0].sums.counted.joins, 1_003, "what came in between counts, though it made no point");
        for key in RoomKeys::chart(concert) {
            let lives: i64 = redis.run(redis::cmd("TTL").arg(key).to_owned()).await.unwrap();
            assert!((1..=900).contains(&lives), "{lives}");
        }
        // A server whose clock is far behind begins anew.
        assert!(at(50).await.unwrap());
        assert_eq!(store.chart(concert, None).await.unwrap().len(), 1);
    }
}
