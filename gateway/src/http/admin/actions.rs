//! What administrators do beside changing settings, and the list of all they did.

use axum::Json;
use axum::extract::State;
use common::changes::Change;
use common::http::{Administrator, CursorPage, CursorQuery, Json as JsonBody, PathId, Query, RowCursor, one_more};
use common::ids::ConcertId;
use common::problem::Problem;
use common::whole::Whole;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::record;
use crate::http::state::AppState;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AdmitRequest {
    count: Whole<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct AdmitAnswer {
    offered: u32,
}

/// `POST /admin/queues/{concertId}/admit`: gives so many turns beside the rate, to whoever is next; also while paused.
/// The places inside bound them.
pub(super) async fn admit(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    JsonBody { value: AdmitRequest { count: Whole(count) }, .. }: JsonBody<AdmitRequest>,
) -> Result<Json<AdmitAnswer>, Problem> {
    if !(1..=1_000).contains(&count) {
        return Err(Problem::invalid("count는 1에서 1000 사이여야 합니다.", "count must lie between 1 and 1000."));
    }
    let record = record(&state)?;
    let room = state.rooms.room_of_operator(concert).await?;
    // Kept before it is done: what is done and not kept could never be told.
    record.note_action(concert, admin.user, "admit", json!({ "count": count })).await?;
    let offered = room.admit_now(count).await?;
    Ok(Json(AdmitAnswer { offered }))
}

/// `GET /admin/queues/{concertId}/changes`: who changed what, the latest first.
pub(super) async fn changes(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
    Query(query): Query<CursorQuery>,
) -> Result<Json<CursorPage<Change>>, Problem> {
    let (limit, cursor) = query.read::<RowCursor>()?;
    let record = record(&state)?;
    state.rooms.room_of_operator(concert).await?;
    let changes = record.changes(concert, cursor.map_or(0, RowCursor::get), one_more(limit)).await?;
    Ok(Json(CursorPage::new(changes, limit, |change: &Change| change.id.to_string())))
}
