//! How far a room has come: public, and cacheable for a second by anyone.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use common::clock::{serialize_rfc3339, serialize_rfc3339_opt};
use common::draw::{self, Seed};
use common::http::PathId;
use common::ids::ConcertId;
use common::problem::Problem;
use http::header::{CACHE_CONTROL, HeaderValue};
use serde::Serialize;

use super::state::AppState;
use crate::domain::{ConcertFacts, DrawState, Mode, Order, RoomView, SaleStatus};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FrontierAnswer {
    concert_id: ConcertId,
    epoch: u32,
    /// Every number up to this has had its turn.
    frontier: u32,
    /// Whoever has a number up to this should ask for their status now and then: they are expected.
    expected_up_to: u32,
    waiting: u32,
    admitted_per_second: f64,
    status: &'static str,
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    opens_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    draw: Option<DrawAnswer>,
    #[serde(serialize_with = "serialize_rfc3339")]
    server_time: DateTime<Utc>,
}

/// The draw of a sale that is ordered at random: before it only the seed's hash, after it all that is needed to work it
/// out again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DrawAnswer {
    algorithm: &'static str,
    seed_hash: String,
    seed: Option<String>,
    entries: Option<u32>,
}

impl DrawAnswer {
    fn of(view: &RoomView) -> Option<Self> {
        let seed = Seed::from_hex(view.settings.seed.as_deref()?).ok()?;
        let is_made = matches!(view.draw, DrawState::Dealing | DrawState::Done);
        let is_shown = is_made || view.settings.order == Order::RandomAtOpen;
        is_shown.then(|| Self {
            algorithm: draw::ALGORITHM,
            seed_hash: seed.hash(),
            seed: is_made.then(|| seed.to_hex()),
            entries: is_made.then_some(view.counts.entries),
        })
    }
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
        expected_up_to: view.expected_up_to(),
        waiting: view.in_line(),
        admitted_per_second: (view.moved_per_second() * 1_000.0).round() / 1_000.0,
        status: status(&view, room.facts()),
        opens_at: DateTime::from_timestamp_millis(view.counts.opens_at_ms).filter(|_| view.counts.opens_at_ms > 0),
        draw: DrawAnswer::of(&view),
        server_time: state.clock.now(),
    };
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"))], axum::Json(answer)).into_response())
}

fn status(view: &RoomView, facts: ConcertFacts) -> &'static str {
    match (facts.status, view.settings.mode) {
        (SaleStatus::SoldOut, _) if view.settings.stop_when_sold_out => "sold_out",
        (SaleStatus::Closed, _) | (_, Mode::Closed) => "closed",
        _ if view.counts.rebuilding => "rebuilding",
        _ if view.draw == DrawState::Dealing => "drawing",
        _ if view.counts.opens_at_ms > view.counts.now_ms => "scheduled",
        _ if view.settings.paused => "paused",
        _ if view.in_line() > 0 => "queueing",
        _ => "idle",
    }
}
