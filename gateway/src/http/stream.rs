//! What all event streams have in common.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::Stream;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use metrics::{Gauge, gauge};
use tokio::sync::OwnedSemaphorePermit;

use crate::metrics::STREAMS;

/// A silence this long is broken by a comment, before any proxy in between takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// After a failure, or when the stream ended, a client comes back after so long.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A stream's place among those open, counted for as long as it is held.
pub(super) struct OpenStream {
    _slot: OwnedSemaphorePermit,
    open: Gauge,
}

impl OpenStream {
    pub(super) fn new(slot: OwnedSemaphorePermit) -> Self {
        let open = gauge!(STREAMS.name);
        open.increment(1);
        Self { _slot: slot, open }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.open.decrement(1);
    }
}

/// The id of the last event that a client that comes back has had.
pub(super) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID)?.to_str().ok()
}

/// The last word of a process that stops: they come back to another gateway, or to this one when it is back.
pub(super) fn stopping() -> Event {
    Event::default().comment("stopping").retry(RETRY_AFTER)
}

/// The answer that these events are.
pub(super) fn answer(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let stream = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    let headers =
        [(CACHE_CONTROL, HeaderValue::from_static("no-store")), (NO_BUFFERING, HeaderValue::from_static("no"))];
    (headers, stream).into_response()
}
