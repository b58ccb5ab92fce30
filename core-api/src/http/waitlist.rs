//! Waiting for seats that come free.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339;
use common::http::{JsonBytes, PathId, SignedIn, Slot};
use common::ids::{ConcertId, ReservationId};
use common::problem::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::catalogue::SaleStatus;
use crate::domain::seat::Section;
use crate::domain::waitlist::{Standing, WaitState};
use crate::state::AppState;

#[derive(Debug, Deserialize)]
struct JoinRequest {
    section: Option<Section>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WaitView {
    concert_id: ConcertId,
    section: Option<String>,
    #[serde(serialize_with = "serialize_rfc3339")]
    joined_at: DateTime<Utc>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offer: Option<OfferView>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfferView {
    reservation_id: ReservationId,
    #[serde(serialize_with = "serialize_rfc3339")]
    expires_at: DateTime<Utc>,
}

impl From<Standing> for WaitView {
    fn from(standing: Standing) -> Self {
        let (status, place, offer) = match standing.state {
            WaitState::Waiting { place } => ("waiting", Some(place), None),
            WaitState::Offered { reservation, expires_at } => {
                ("offered", None, Some(OfferView { reservation_id: reservation, expires_at }))
            }
        };
        let Standing { concert, section, joined_at, .. } = standing;
        Self { concert_id: concert, section, joined_at, status, place, offer }
    }
}

/// `POST /concerts/{concertId}/waitlist`: waits for a seat, of a section or any. Who waits already keeps their place.
pub(super) async fn join(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(concert): PathId<ConcertId>,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let request: JoinRequest = body.read()?;
    let snapshot = state.catalogue.concerts().await?;
    match snapshot.concert(concert).ok_or(ErrorCode::NotFound)?.status(snapshot.now()) {
        SaleStatus::Scheduled => return Err(ErrorCode::NotOnSale.into()),
        SaleStatus::Closed => return Err(ErrorCode::SalesClosed.into()),
        SaleStatus::OnSale | SaleStatus::SoldOut => {}
    }
    if let Some(section) = &request.section
        && !state.catalogue.hall(concert).await?.has_section(section)
    {
        return Err(ErrorCode::NotFound.into());
    }
    let _turn = state.turns.take(signed_in.user).await?;
    let section = request.section.as_ref().map(Section::as_str);
    let standing = state.db.join_waitlist(signed_in.user, concert, section).await?;
    Ok(Json(WaitView::from(standing)).into_response())
}

/// `GET /concerts/{concertId}/waitlist`: the user's place, or the seat that they are offered.
pub(super) async fn standing(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(concert): PathId<ConcertId>,
) -> Result<Response, Problem> {
    let standing = state.db.standing(signed_in.user, concert).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(WaitView::from(standing)).into_response())
}

/// `DELETE /concerts/{concertId}/waitlist`: waits no more, and declines what is offered.
pub(super) async fn leave(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(concert): PathId<ConcertId>,
    slot: Option<Extension<Slot>>,
) -> Result<Response, Problem> {
    let held = (slot, state.turns.take(signed_in.user).await?);
    let owned = state.clone();
    let left = state.lifecycle.to_the_end(async move {
        let _held = held;
        owned.returns.leave_waitlist(signed_in.user, concert).await.map_err(Problem::from)
    });
    if !left.await.unwrap_or_else(|| Err(ErrorCode::Internal.into()))? {
        return Err(ErrorCode::NotFound.into());
    }
    Ok(Json(json!({ "concertId": concert, "status": "left" })).into_response())
}
