//! One visitor: what happened to them, and removing them.

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use common::clock::{serialize_rfc3339, serialize_rfc3339_opt};
use common::http::{Administrator, PathId, Query};
use common::ids::{ConcertId, UserId};
use common::problem::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::record;
use crate::http::state::AppState;
use crate::store::record::Record;

/// More events than anyone has who does not play with the room.
const MAX_EVENTS: i64 = 1_000;
/// The highest that a position can be.
const MAX_POSITION: u32 = 2_147_483_647;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct VisitorView {
    concert_id: ConcertId,
    user_id: UserId,
    status: Option<String>,
    position: Option<u32>,
    wait_time: Option<String>,
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    admitted_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    lease_ends_at: Option<DateTime<Utc>>,
    events: Vec<EventView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EventView {
    #[serde(serialize_with = "serialize_rfc3339")]
    at: DateTime<Utc>,
    event: String,
    position: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

fn ids(Path((concert, user)): Path<(String, String)>) -> Result<(ConcertId, UserId), Problem> {
    let invalid = |_| Problem::invalid("올바른 UUID가 아닙니다.", "That is not a UUID.");
    Ok((concert.parse().map_err(invalid)?, user.parse().map_err(invalid)?))
}

/// `GET /admin/queues/{concertId}/visitors/{userId}`: where a visitor is, and everything that happened to them, the
/// earliest first. It is read from the record, which is a second behind at most while all is well.
pub(super) async fn look_up(
    State(state): State<AppState>,
    _: Administrator,
    path: Path<(String, String)>,
) -> Result<Json<VisitorView>, Problem> {
    let (concert, user) = ids(path)?;
    let record = record(&state)?;
    state.rooms.room_of_operator(concert).await?;
    Ok(Json(view(record, concert, user).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct PositionQuery {
    position: u32,
}

/// `GET /admin/queues/{concertId}/visitors?position=`: the same of whoever has or had that position.
pub(super) async fn look_up_by_position(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
    Query(PositionQuery { position }): Query<PositionQuery>,
) -> Result<Json<VisitorView>, Problem> {
    if !(1..=MAX_POSITION).contains(&position) {
        return Err(Problem::invalid(
            "position은 1 이상이어야 합니다.",
            format!("position must lie between 1 and {MAX_POSITION}."),
        ));
    }
    let record = record(&state)?;
    state.rooms.room_of_operator(concert).await?;
    let user = record.visitor_at(concert, position).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(view(record, concert, user).await?))
}

async fn view(record: &Record, concert_id: ConcertId, user_id: UserId) -> Result<VisitorView, Problem> {
    let row = record.visitor(concert_id, user_id).await?;
    let events = record.visitor_events(concert_id, user_id, MAX_EVENTS).await?;
    if row.is_none() && events.is_empty() {
        return Err(ErrorCode::NotFound.into());
    }
    Ok(VisitorView {
        concert_id,
        user_id,
        status: row.as_ref().map(|row| row.status.clone()),
        position: row.as_ref().map(|row| row.position),
        admitted_at: row.as_ref().and_then(|row| row.admitted_at),
        lease_ends_at: row.as_ref().and_then(|row| row.lease_ends_at),
        wait_time: row.and_then(|row| row.wait_time),
        events: events
            .into_iter()
            .map(|event| EventView { at: event.at, event: event.event, position: event.position, detail: event.detail })
            .collect(),
    })
}

#[derive(Debug, Serialize)]
pub(super) struct RemovedAnswer {
    removed: bool,
}

/// `DELETE /admin/queues/{concertId}/visitors/{userId}`: takes a visitor out of the room. They may join again, at the end.
pub(super) async fn remove(
    State(state): State<AppState>,
    admin: Administrator,
    path: Path<(String, String)>,
) -> Result<Json<RemovedAnswer>, Problem> {
    let (concert, user) = ids(path)?;
    let record = record(&state)?;
    let room = state.rooms.room_of_operator(concert).await?;
    record.note_action(concert, admin.user, "remove", json!({ "userId": user })).await?;
    let removed = room.leave(user, true).await?;
    Ok(Json(RemovedAnswer { removed }))
}
