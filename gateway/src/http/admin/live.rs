//! A room as it is now and was in the last quarter of an hour, once a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339_opt;
use common::http::{Administrator, PathId, session_token};
use common::ids::ConcertId;
use common::problem::Problem;
use common::tokens::{Role, Sessions};
use futures_util::Stream;
use futures_util::stream::unfold;
use http::HeaderMap;
use serde::Serialize;
use tokio::time::Instant;

use super::queues::QueueView;
use crate::domain::{ConcertFacts, QueueError, SaleStatus, Second};
use crate::http::state::AppState;
use crate::http::stream::{OpenStream, RETRY_AFTER, answer, last_event_id, stopping};
use crate::worker::{Room, WatchedChart};

/// The time between two events.
const EVERY: Duration = Duration::from_secs(1);

/// What is told each second.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LiveView {
    queue: QueueView,
    sale: SaleView,
    seconds: SecondsView,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SaleView {
    status: SaleStatus,
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    opens_at: Option<DateTime<Utc>>,
}

impl From<ConcertFacts> for SaleView {
    fn from(facts: ConcertFacts) -> Self {
        Self { status: facts.status, opens_at: facts.sale_opens_at }
    }
}

/// Seconds as columns, which is what graphs are drawn from, and a quarter of what rows with names would take.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct SecondsView {
    at: Vec<i64>,
    waiting: Vec<u32>,
    present: Vec<u32>,
    offered: Vec<u32>,
    active: Vec<u32>,
    capacity: Vec<u32>,
    wait_seconds_low: Vec<u64>,
    wait_seconds: Vec<u64>,
    wait_seconds_high: Vec<u64>,
    available_seats: Vec<Option<u32>>,
    held_seats: Vec<Option<u32>>,
    sold_seats: Vec<Option<u32>>,
    admitted_per_second: Vec<Option<f64>>,
    joins_per_second: Vec<Option<f64>>,
    polls_per_second: Vec<Option<f64>>,
    sold_per_second: Vec<Option<f64>>,
    errors_per_second: Vec<Option<f64>>,
    failed_payments_per_second: Vec<Option<f64>>,
}

impl SecondsView {
    fn add(&mut self, second: &Second) {
        let sight = &second.point.sight;
        let [low, expected, high] = sight.wait_seconds;
        let [available, held, sold] = sight.seats.map_or([None; 3], |seats| seats.map(Some));
        self.at.push(second.point.second);
        self.waiting.push(sight.waiting);
        self.present.push(sight.present);
        self.offered.push(sight.offered);
        self.active.push(sight.active);
        self.capacity.push(sight.capacity);
        self.wait_seconds_low.push(low);
        self.wait_seconds.push(expected);
        self.wait_seconds_high.push(high);
        self.available_seats.push(available);
        self.held_seats.push(held);
        self.sold_seats.push(sold);
        self.admitted_per_second.push(second.admitted.map(to_hundredths));
        self.joins_per_second.push(second.joins.map(to_hundredths));
        self.polls_per_second.push(second.polls.map(to_hundredths));
        self.sold_per_second.push(second.sold.map(to_hundredths));
        self.errors_per_second.push(second.errors.map(to_hundredths));
        self.failed_payments_per_second.push(second.failed_payments.map(to_hundredths));
    }
}

/// More digits say nothing more.
fn to_hundredths(rate: f64) -> f64 {
    (rate * 100.0).round() / 100.0
}

/// `GET /admin/queues/{concertId}/live`: the room, its sale, and what is new of the last quarter of an hour. An event's id
/// is its latest second, so who resumes with `Last-Event-ID` is told only those behind it.
pub(in crate::http) async fn live(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let slot = OpenStream::new(state.watches.enter()?);
    // What can't be told now is told with a status, before the stream begins.
    let room = state.rooms.room_of_operator(concert).await?;
    room.view().await?;
    let watch = Watch {
        chart: room.chart(),
        told_up_to: last_event_id(&headers).and_then(|id| id.parse().ok()).unwrap_or(0),
        token: session_token(&headers).unwrap_or_default(),
        version: None,
        next: Instant::now(),
        is_over: false,
        concert,
        room,
        state,
        _slot: slot,
    };
    Ok(answer(events(watch)))
}

/// One operator's look.
struct Watch {
    state: AppState,
    room: Arc<Room>,
    chart: Arc<WatchedChart>,
    concert: ConcertId,
    /// What shows that they may: their session may end while they look.
    token: String,
    /// The latest second that they were told.
    told_up_to: i64,
    /// The settings that they were told.
    version: Option<u32>,
    next: Instant,
    is_over: bool,
    _slot: OpenStream,
}

fn events(watch: Watch) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(watch, |mut watch| async move {
        let event = watch.next_event().await?;
        Some((Ok(event), watch))
    })
}

impl Watch {
    /// The next thing to tell; `None` once the stream is over: when this process stops, or they may look no longer.
    async fn next_event(&mut self) -> Option<Event> {
        let draining = self.state.draining();
        while !self.is_over {
            tokio::select! {
                () = tokio::time::sleep_until(self.next) => {}
                // What somebody else has changed is told at once.
                () = other_settings(&self.room, self.version) => {}
                () = draining.cancelled() => {
                    self.is_over = true;
                    return Some(stopping());
                }
            }
            if !self.is_still_allowed() {
                return None;
            }
            self.next = Instant::now() + EVERY;
            match self.look().await {
                Ok(event) => return event,
                // Nothing is made up: silence, and another try.
                Err(error) => {
                    tracing::debug!(concert = %self.concert, %error, "a stream waits");
                    (self.version, self.next) = (None, Instant::now() + RETRY_AFTER);
                }
            }
        }
        None
    }

    fn is_still_allowed(&self) -> bool {
        let sessions = <Sessions as axum::extract::FromRef<AppState>>::from_ref(&self.state);
        sessions.verify(&self.token, self.state.clock.now()).is_ok_and(|session| session.role == Role::Admin)
    }

    async fn look(&mut self) -> Result<Option<Event>, QueueError> {
        let view = self.room.view().await?;
        let settings = self.room.settings();
        let mut seconds = SecondsView::default();
        for second in self.chart.since(self.told_up_to).await? {
            self.told_up_to = second.point.second;
            seconds.add(&second);
        }
        self.version = Some(settings.version);
        let queue = QueueView::new(self.concert, &settings, &view);
        let told = LiveView { queue, sale: self.room.facts().into(), seconds };
        let event = Event::default().event("live").id(self.told_up_to.to_string()).retry(RETRY_AFTER);
        Ok(serde_json::to_string(&told).ok().map(|data| event.data(data)))
    }
}

async fn other_settings(room: &Room, version: Option<u32>) {
    match version {
        Some(version) => room.other_settings_than(version).await,
        None => std::future::pending().await,
    }
}
