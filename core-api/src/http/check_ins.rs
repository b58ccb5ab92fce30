//! The door: letting tickets in, and the list of tickets for doors that have no network.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use common::clock::{serialize_rfc3339, serialize_rfc3339_opt};
use common::http::{Administrator, CursorPage, CursorQuery, JsonBytes, PathId, Query, Slot, Staff, given, one_more};
use common::ids::{ConcertId, ReservationId, UserId};
use common::problem::{ErrorCode, Problem};
use http::header::{CACHE_CONTROL, HeaderValue};
use serde::{Deserialize, Serialize};

use super::idempotency::Once;
use super::tickets::TicketSeatView;
use crate::domain::effect::{Answer, Record};
use crate::domain::ticket::{CheckIn, CheckInRefusal, IssuedTicket};
use crate::state::AppState;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CheckInRequest {
    /// Whatever a camera has read; whether it is a ticket is told by its signature.
    code: String,
    #[serde(default, deserialize_with = "given")]
    concert_id: Option<ConcertId>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CheckInView {
    reservation_id: ReservationId,
    concert_id: ConcertId,
    seat: TicketSeatView,
    #[serde(serialize_with = "serialize_rfc3339")]
    checked_in_at: DateTime<Utc>,
    status: &'static str,
}

fn answer(check_in: &CheckIn) -> Answer {
    Answer::ok(&CheckInView {
        reservation_id: check_in.reservation,
        concert_id: check_in.concert,
        seat: check_in.seat.clone().into(),
        checked_in_at: check_in.at,
        status: "checked_in",
    })
}

/// `POST /admin/check-ins`: lets a ticket in, once.
pub(super) async fn check_in(State(state): State<AppState>, staff: Staff, once: Once, body: JsonBytes) -> Response {
    once.run(&state, staff.user, body, move |state, claim, body| async move {
        let request: CheckInRequest = body.read()?;
        let verified = state.entry_tickets.verify(&request.code);
        let ticket = verified.map_err(|error| Problem::new(ErrorCode::TicketInvalid).because(error))?;
        if request.concert_id.is_some_and(|at_this_door| at_this_door != ticket.concert) {
            return Err(CheckInRefusal::WrongConcert.into());
        }
        let done = state.db.check_in(&ticket, staff.user, &Record::new(claim, answer)).await?;
        Ok(done.answer)
    })
    .await
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UndoneView {
    reservation_id: ReservationId,
    status: &'static str,
    #[serde(serialize_with = "serialize_rfc3339")]
    checked_in_at: DateTime<Utc>,
    checked_in_by: UserId,
    #[serde(serialize_with = "serialize_rfc3339")]
    undone_at: DateTime<Utc>,
    undone_by: UserId,
}

/// `DELETE /admin/check-ins/{reservationId}`: takes a check-in back. Doing it again changes nothing.
pub(super) async fn undo(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(id): PathId<ReservationId>,
    slot: Option<Extension<Slot>>,
) -> Result<Response, Problem> {
    let held = (slot, state.turns.take(admin.user).await?);
    let owned = state.clone();
    let undone = state.lifecycle.to_the_end(async move {
        let _held = held;
        owned.db.undo_check_in(id, admin.user).await.map_err(Problem::from)
    });
    let undone = undone.await.unwrap_or_else(|| Err(ErrorCode::Internal.into()))?;
    Ok(Json(UndoneView {
        reservation_id: id,
        status: "undone",
        checked_in_at: undone.checked_in_at,
        checked_in_by: undone.checked_in_by,
        undone_at: undone.undone_at,
        undone_by: undone.undone_by,
    })
    .into_response())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct IssuedTicketView {
    reservation_id: ReservationId,
    seat: TicketSeatView,
    status: &'static str,
    #[serde(serialize_with = "serialize_rfc3339")]
    issued_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_rfc3339_opt", skip_serializing_if = "Option::is_none")]
    revoked_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_rfc3339_opt", skip_serializing_if = "Option::is_none")]
    checked_in_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked_in_by: Option<UserId>,
}

impl From<IssuedTicket> for IssuedTicketView {
    fn from(ticket: IssuedTicket) -> Self {
        let (checked_in_at, checked_in_by) = ticket.checked_in.unzip();
        Self {
            reservation_id: ticket.reservation,
            seat: ticket.seat.into(),
            status: if ticket.revoked_at.is_some() { "revoked" } else { "valid" },
            issued_at: ticket.issued_at,
            revoked_at: ticket.revoked_at,
            checked_in_at,
            checked_in_by,
        }
    }
}

/// `GET /admin/concerts/{concertId}/tickets`: all that were issued, the given back as well, for doors that hold a list.
pub(super) async fn tickets(
    State(state): State<AppState>,
    _: Staff,
    PathId(concert): PathId<ConcertId>,
    Query(query): Query<CursorQuery>,
) -> Result<Response, Problem> {
    let (limit, behind) = query.read::<ReservationId>()?;
    if state.catalogue.concerts().await?.concert(concert).is_none() {
        return Err(ErrorCode::NotFound.into());
    }
    let tickets = state.db.issued_tickets(concert, behind, one_more(limit)).await?;
    let views: Vec<IssuedTicketView> = tickets.into_iter().map(Into::into).collect();
    let page = CursorPage::new(views, limit, |view| view.reservation_id.to_string());
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(page)).into_response())
}
