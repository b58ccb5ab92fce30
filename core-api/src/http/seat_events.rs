//! The seats of a concert as a stream of events: what changed, pushed.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use common::http::{PathId, Query};
use common::ids::ConcertId;
use common::problem::{ErrorCode, Problem};
use futures_util::stream::unfold;
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::service::Watcher;
use crate::state::AppState;

/// A silence this long is broken by a comment, before any proxy in between takes the stream for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// They come back to another core-api, or to this one when it is back.
const STOPPING: Bytes = Bytes::from_static(b": stopping\nretry: 2000\n\n");

const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    since: Option<String>,
}

/// `GET /concerts/{concertId}/seats/events`: `seats` with those that have changed, `reset` with all where what the client
/// has is not known. An event's id is the entity tag of the list of seats that it leads to, so who has that list may say
/// so in `since`, and who resumes does in `Last-Event-ID`.
pub(super) async fn events(
    State(state): State<AppState>,
    PathId(concert): PathId<ConcertId>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if state.catalogue.concerts().await?.concert(concert).is_none() {
        return Err(ErrorCode::NotFound.into());
    }
    // What a resumed stream saw is newer than what its address says.
    let last_id = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok());
    let last_seen = last_id.or(query.since.as_deref()).map(name_in);
    let watcher = state.seat_watch.watch(concert, last_seen).await?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (NO_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, stream(watcher, state.lifecycle.draining())).into_response())
}

/// The name of a state in an event's id or an entity tag: `5d41402abc4b2a76`, `"5d41402abc4b2a76-gzip"`.
fn name_in(text: &str) -> &str {
    let tag = text.trim().trim_start_matches("W/").trim_matches('"');
    tag.strip_suffix("-gzip").unwrap_or(tag)
}

fn stream(watcher: Watcher, draining: CancellationToken) -> Body {
    Body::from_stream(unfold(Some(watcher), move |watcher| {
        let draining = draining.clone();
        async move {
            let mut watcher = watcher?;
            let (bytes, then) = tokio::select! {
                // First, so that a busy hall does not keep the process from stopping.
                biased;
                () = draining.cancelled() => (STOPPING, None),
                next = watcher.next() => (next?, Some(watcher)),
                () = tokio::time::sleep(HEARTBEAT) => (COMMENT, Some(watcher)),
            };
            Some((Ok::<_, Infallible>(bytes), then))
        }
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_and_the_end_of_the_process_ends_it() {
        let draining = CancellationToken::new();
        let mut stream = stream(Watcher::of_nothing(), draining.clone()).into_data_stream();
        let started = tokio::time::Instant::now();
        for beat in 1..=3 {
            assert_eq!(stream.next().await.unwrap().unwrap(), COMMENT);
            assert_eq!(started.elapsed().as_secs(), beat * HEARTBEAT.as_secs());
        }
        draining.cancel();
        assert_eq!(stream.next().await.unwrap().unwrap(), STOPPING);
        assert!(stream.next().await.is_none());
    }

    #[test]
    fn a_state_is_named_by_ids_and_by_every_form_of_entity_tag() {
        for text in ["5d41", "\"5d41\"", "\"5d41-gzip\"", "W/\"5d41\"", " 5d41 "] {
            assert_eq!(name_in(text), "5d41", "{text}");
        }
    }
}
