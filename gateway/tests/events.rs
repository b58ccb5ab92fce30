//! The wait as a stream: what polls would tell, pushed; resumed where it broke off; ended cleanly.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use common::ids::UserId;
use futures_util::StreamExt as _;
use gateway::domain::RoomDefaults;
use serde_json::Value;
use stack::wait::PATIENCE;
use support::DEFAULTS;
use support::server::{Answer, Site};

const ONE_INSIDE: RoomDefaults = RoomDefaults { admit_per_second: 50.0, burst: 50, max_active: 1, ..DEFAULTS };

/// One event as it came.
#[derive(Debug, Default)]
struct Event {
    name: String,
    id: String,
    data: Value,
}

/// A stream being read.
struct Events {
    body: std::pin::Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Send>>,
    read: String,
}

impl Events {
    async fn open(site: &Site, token: &str, last_id: Option<&str>) -> Self {
        let mut request = site.http.get(format!("{}/queue/events", site.url)).header("x-queue-token", token);
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { body: Box::pin(response.bytes_stream()), read: String::new() }
    }

    /// The next event; `None` at the end of the stream. Comments are read over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((block, rest)) = self.read.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.read = rest;
                let field = |name: &str| {
                    block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
                };
                if let Some(data) = field("data") {
                    let (name, id) = (field("event").unwrap(), field("id").unwrap());
                    return Some(Event { name, id, data: serde_json::from_str(&data).unwrap() });
                }
            }
            let part = tokio::time::timeout(PATIENCE, self.body.next()).await.expect("silence")?;
            self.read.push_str(std::str::from_utf8(&part.unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_stream_tells_position_then_admission() {
    let site = Site::start(ONE_INSIDE).await;
    let concert = site.core.concert("on_sale", None);
    let inside = site.join(UserId::generate(), concert).await;
    let before = site.join(UserId::generate(), concert).await;
    let waiting = site.join(UserId::generate(), concert).await;
    let mut events = Events::open(&site, &waiting.token(), None).await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.data["status"].as_str()), ("position", Some("waiting")));
    assert_eq!((&first.data["queueInfo"]["position"], &first.data["queueInfo"]["ahead"]), (&3.into(), &1.into()));
    site.leave(&before.token()).await;
    let closer = events.next().await.unwrap();
    assert_eq!((closer.name.as_str(), &closer.data["queueInfo"]["ahead"]), ("position", &0.into()));
    assert_ne!(closer.id, first.id);
    site.leave(&inside.token()).await;
    let admitted = events.next().await.unwrap();
    assert_eq!((admitted.name.as_str(), admitted.data["status"].as_str()), ("admitted", Some("admitted")));
    let pass = admitted.data["token"].as_str().unwrap();
    assert!(site.config.passes.public_keys().verify(pass).is_ok(), "the pass comes with it");
}

#[tokio::test]
async fn who_resumes_is_told_only_what_is_new() {
    let site = Site::start(ONE_INSIDE).await;
    let concert = site.core.concert("on_sale", None);
    let inside = site.join(UserId::generate(), concert).await;
    let waiting = site.join(UserId::generate(), concert).await;
    let known = Events::open(&site, &waiting.token(), None).await.next().await.unwrap();
    let mut resumed = Events::open(&site, &waiting.token(), Some(&known.id)).await;
    site.leave(&inside.token()).await;
    assert_eq!(resumed.next().await.unwrap().name, "admitted", "the position they know is not told again");
}

#[tokio::test]
async fn the_end_of_a_sale_ends_the_stream() {
    let site = Site::start(RoomDefaults { admit_per_second: 0.001, burst: 1, ..ONE_INSIDE }).await;
    let concert = site.core.concert("on_sale", None);
    for _ in 0..3 {
        site.join(UserId::generate(), concert).await;
    }
    let waiting = site.join(UserId::generate(), concert).await;
    let mut events = Events::open(&site, &waiting.token(), None).await;
    let first = events.next().await.unwrap();
    assert!(
        first.data["queueInfo"]["pollAfterMs"].as_u64() > Some(15_000),
        "so far back that nothing is told for long"
    );
    site.core.set(concert, "sold_out", None);
    let closed = events.next().await.unwrap();
    assert_eq!((closed.name.as_str(), closed.data["status"].as_str()), ("closed", Some("sold_out")));
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_gateway_that_stops_ends_its_streams() {
    let site = Site::start(ONE_INSIDE).await;
    let concert = site.core.concert("on_sale", None);
    site.join(UserId::generate(), concert).await;
    let waiting = site.join(UserId::generate(), concert).await;
    let mut events = Events::open(&site, &waiting.token(), None).await;
    events.next().await.unwrap();
    site.lifecycle.stop();
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn streams_are_bounded_and_want_a_token() {
    let mut site = Site::start(ONE_INSIDE).await;
    site.config.max_streams = 1;
    let site = Site::start_with(site.config.clone(), std::sync::Arc::clone(&site.core)).await;
    let concert = site.core.concert("on_sale", None);
    let inside = site.join(UserId::generate(), concert).await;
    let url = format!("{}/queue/events", site.url);
    Answer::of(site.http.get(&url)).await.is_problem(401, "missing_queue_token");
    let _first = Events::open(&site, &inside.token(), None).await;
    let second = Answer::of(site.http.get(&url).header("x-queue-token", inside.token())).await;
    second.is_problem(503, "overloaded");
}
