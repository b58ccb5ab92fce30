//! How far a room has come: public, and cacheable for a second by anyone.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339;
use common::http::PathId;
use common::ids::ConcertId;
use common::problem::Problem;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde::Serialize;

use super::state::AppState;
use crate::domain::{ConcertFacts, Mode, RoomView, SaleStatus};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FrontierAnswer {
    concert_id: ConcertId,
    epoch: u32,
    frontier: u32,
    waiting: u32,
    admitted_per_second: f64,
    status: &'static str,
    #[serde(serialize_with = "serialize_rfc3339")]
    server_time: DateTime<Utc>,
}

/// `GET /queue/{concertId}/frontier`: whoever knows their own number can tell from it that their turn has not come.
pub(super) async fn frontier(
    State(state): State<AppState>,
    PathId(concert_id): PathId<ConcertId>,
) -> Result<Response, Problem> {
    let room = state.rooms.room(concert_id).await?;
    let view = room.view().await?;
    let answer = FrontierAnswer {
        concert_id,
        epoch: view.counts.epoch,
        frontier: view.counts.frontier,
        waiting: view.counts.waiting,
        admitted_per_second: (view.measured_per_second.unwrap_or(0.0) * 1_000.0).round() / 1_000.0,
        status: status(&view, room.facts()),
        server_time: state.clock.now(),
    };
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"))], axum::Json(answer)).into_response())
}

fn status(view: &RoomView, facts: ConcertFacts) -> &'static str {
    match (facts.status, view.counts.mode) {
        (SaleStatus::SoldOut, _) => "sold_out",
        (SaleStatus::Closed, _) | (_, Mode::Closed) => "closed",
        _ if view.counts.opens_at_ms > view.counts.now_ms => "scheduled",
        _ if view.counts.paused => "paused",
        _ if view.counts.waiting > 0 => "queueing",
        _ => "idle",
    }
}
