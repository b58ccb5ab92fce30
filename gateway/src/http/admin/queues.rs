//! Rooms as administrators see them.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339_opt;
use common::http::{Administrator, PathId, Query, page_limit};
use common::ids::ConcertId;
use common::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Mode, Order, RoomSettings, RoomView};
use crate::http::state::AppState;

/// Settings as administrators read and write them.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SettingsView {
    mode: Mode,
    paused: bool,
    admit_per_second: f64,
    burst: u32,
    max_active: u32,
    session_seconds: f64,
    claim_seconds: f64,
    idle_seconds: f64,
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    opens_at: Option<DateTime<Utc>>,
    order: Order,
    stop_when_sold_out: bool,
    leave_on_payment: bool,
}

impl From<&RoomSettings> for SettingsView {
    fn from(settings: &RoomSettings) -> Self {
        Self {
            mode: settings.mode,
            paused: settings.paused,
            admit_per_second: settings.admit_per_second,
            burst: settings.burst,
            max_active: settings.max_active,
            session_seconds: seconds(settings.session_ms),
            claim_seconds: seconds(settings.claim_ms),
            idle_seconds: seconds(settings.idle_ms),
            opens_at: DateTime::from_timestamp_millis(settings.opens_at_ms).filter(|_| settings.opens_at_ms > 0),
            order: settings.order,
            stop_when_sold_out: settings.stop_when_sold_out,
            leave_on_payment: settings.leave_on_payment,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "spans of days at most")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

/// A room: how it is run and what is going on in it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueView {
    concert_id: ConcertId,
    /// Rises with every change; 0 where nobody has set anything.
    version: u32,
    #[serde(flatten)]
    settings: SettingsView,
    figures: Figures,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    waiting: u32,
    present: u32,
    away: u32,
    offered: u32,
    active: u32,
    admitted_total: u64,
    passed_over_total: u64,
    admitted_per_second: f64,
    frontier: u32,
    last_position: u32,
    rebuilding: bool,
    unrecorded: u32,
}

impl QueueView {
    /// A room as it was last seen, run by these settings.
    pub(super) fn new(concert_id: ConcertId, settings: &RoomSettings, view: &RoomView) -> Self {
        let counts = &view.counts;
        Self {
            concert_id,
            version: settings.version,
            settings: settings.into(),
            figures: Figures {
                waiting: view.in_line(),
                present: counts.present,
                away: counts.away,
                offered: counts.offers,
                active: counts.leased,
                admitted_total: counts.admitted,
                passed_over_total: counts.passed_over,
                admitted_per_second: view.moved_per_second(),
                frontier: counts.frontier,
                last_position: counts.seq,
                rebuilding: counts.rebuilding,
                unrecorded: counts.unrecorded,
            },
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    page: Option<u32>,
    limit: Option<u16>,
}

/// As many as core-api's list of concerts has, which it refuses to go beyond.
const MAX_PAGE: u32 = 1_000_000;

/// `GET /admin/queues`: the concerts and their rooms, page by page.
pub(super) async fn list(
    State(state): State<AppState>,
    _: Administrator,
    Query(query): Query<PageQuery>,
) -> Result<Json<Value>, Problem> {
    let limit = page_limit(query.limit)?;
    let page = query.page.unwrap_or(1);
    if !(1..=MAX_PAGE).contains(&page) {
        return Err(Problem::invalid("page는 1에서 1000000 사이여야 합니다.", "page must lie between 1 and 1000000."));
    }
    let mut concerts = state.rooms.list_concerts(page, limit).await?;
    let ids: Vec<ConcertId> = concerts.ids();
    for (entry, id) in concerts.entries().iter_mut().zip(ids) {
        let room = state.rooms.room_of_operator(id).await?;
        let view = room.view().await?;
        entry["queue"] = serde_json::to_value(QueueView::new(id, &room.settings(), &view)).unwrap_or_default();
    }
    Ok(Json(concerts.into_json()))
}

/// `GET /admin/queues/{concertId}`.
pub(super) async fn one(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
) -> Result<Json<QueueView>, Problem> {
    let room = state.rooms.room_of_operator(concert).await?;
    let view = room.view().await?;
    Ok(Json(QueueView::new(concert, &room.settings(), &view)))
}
