//! Seats that are kept out of the sale.

use axum::extract::State;
use axum::{Extension, Json};
use common::http::{Administrator, Json as JsonBody, PathId, Query, Slot};
use common::ids::{ConcertId, SeatId};
use common::money::Money;
use common::problem::{ErrorCode, Problem};
use serde::Serialize;

use super::super::concerts::Pagination;
use super::bodies::SeatsRequest;
use super::{PageQuery, page_of, usize_of};
use crate::domain::managed::HeldBack;
use crate::domain::seat::{Seat, SeatNumber};
use crate::state::AppState;

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeldBackView {
    concert_id: ConcertId,
    changed: usize,
    held_back: i64,
}

impl HeldBackView {
    fn new(concert_id: ConcertId, done: &HeldBack) -> Self {
        Self { concert_id, changed: done.changed.len(), held_back: done.held_back }
    }
}

/// A seat: what can be done with it is known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SeatView {
    seat_id: SeatId,
    seat_number: SeatNumber,
    section: String,
    price: Money,
}

impl From<Seat> for SeatView {
    fn from(seat: Seat) -> Self {
        Self { seat_id: seat.id, seat_number: seat.number, section: seat.section, price: seat.price }
    }
}

/// One page of seats.
#[derive(Debug, Serialize)]
pub(super) struct SeatPage {
    data: Vec<SeatView>,
    pagination: Pagination,
}

/// `GET /admin/concerts/{concertId}/held-back`: one page, by section and number.
pub(super) async fn list(
    State(state): State<AppState>,
    _: Administrator,
    PathId(concert): PathId<ConcertId>,
    query: Query<PageQuery>,
) -> Result<Json<SeatPage>, Problem> {
    let (page, limit, skipped) = page_of(query)?;
    let found = state.db.held_back(concert, skipped, i64::try_from(limit).unwrap_or(i64::MAX)).await?;
    let (seats, total) = found.ok_or(ErrorCode::NotFound)?;
    let data = seats.into_iter().map(SeatView::from).collect();
    Ok(Json(SeatPage { data, pagination: Pagination::new(page, limit, usize_of(total)) }))
}

/// `POST /admin/concerts/{concertId}/held-back`: keeps seats out of the sale, all or none.
pub(super) async fn hold_back(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    JsonBody { value: seats, .. }: JsonBody<SeatsRequest>,
) -> Result<Json<HeldBackView>, Problem> {
    let done = state.db.hold_back(admin.user, concert, &seats.read()?).await?;
    state.catalogue.concerts_changed();
    state.catalogue.seats_returned(concert).await;
    Ok(Json(HeldBackView::new(concert, &done)))
}

/// `DELETE /admin/concerts/{concertId}/held-back`: puts them back into the sale, for who waits first.
pub(super) async fn release(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(concert): PathId<ConcertId>,
    slot: Option<Extension<Slot>>,
    JsonBody { value: seats, .. }: JsonBody<SeatsRequest>,
) -> Result<Json<HeldBackView>, Problem> {
    let seats = seats.read()?;
    let owned = state.clone();
    let released = state.lifecycle.to_the_end(async move {
        let _held = slot;
        let released = owned.returns.release_held_back(admin.user, concert, &seats).await;
        owned.catalogue.concerts_changed();
        released.map_err(Problem::from)
    });
    let done = released.await.unwrap_or_else(|| Err(ErrorCode::Internal.into()))?;
    Ok(Json(HeldBackView::new(concert, &done)))
}
