//! Holding seats and giving them back.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use common::clock::{serialize_rfc3339, serialize_rfc3339_opt};
use common::http::{CursorPage, CursorQuery, JsonBytes, PathId, Query, SignedIn, Slot, given, one_more};
use common::ids::{ConcertId, ReservationId, SeatId};
use common::language::Language;
use common::money::Money;
use common::problem::{ErrorCode, Problem};
use common::tokens::Pass;
use common::whole::Whole;
use serde::{Deserialize, Serialize};

use super::errors::invalid;
use super::idempotency::Once;
use super::payment_records::refund_status;
use super::payments::all_distinct;
use super::queue_pass::Admitted;
use crate::domain::Fault;
use crate::domain::best_available::Wish;
use crate::domain::catalogue::SaleStatus;
use crate::domain::effect::{Answer, Done, Record};
use crate::domain::hall::SeatChoice;
use crate::domain::reservation::{Held, HeldSeat, Order, Reservation, ReservationStatus, seconds_between};
use crate::domain::seat::{Seat, SeatNumber, Section};
use crate::state::AppState;

/// The most seats of one request, whatever the limit per user.
const MAX_SEATS: usize = 20;
/// The section that is meant where none is named.
const DEFAULT_SECTION: &str = "A";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReservationRequest {
    concert_id: ConcertId,
    #[serde(default, deserialize_with = "given")]
    seat_id: Option<SeatId>,
    #[serde(default, deserialize_with = "given")]
    seat_ids: Option<Vec<SeatId>>,
    #[serde(default, deserialize_with = "given")]
    seat_number: Option<SeatNumber>,
    #[serde(default, deserialize_with = "given")]
    section: Option<Section>,
    #[serde(default, deserialize_with = "given")]
    quantity: Option<Whole<i64>>,
    #[serde(default, deserialize_with = "given")]
    max_price: Option<Money>,
    #[serde(default, deserialize_with = "given")]
    adjacent: Option<bool>,
}

/// Which seats somebody asks for.
enum Wanted {
    /// This one.
    One(SeatChoice),
    /// These, all or none.
    All(Vec<SeatChoice>),
    /// The best that fit.
    Best(Wish),
}

impl ReservationRequest {
    fn wanted(self) -> Result<Wanted, Problem> {
        // Whatever is no size of an order is none, however small or large.
        let quantity = self.quantity.map(|Whole(quantity)| usize::try_from(quantity).unwrap_or(0));
        match (self.seat_id, self.seat_ids, self.seat_number, quantity) {
            (Some(id), None, None, None) => Ok(Wanted::One(SeatChoice::Id(id))),
            (None, None, Some(number), None) => {
                let section = self.section.as_ref().map_or(DEFAULT_SECTION, Section::as_str);
                Ok(Wanted::One(SeatChoice::Number(section.to_owned(), number)))
            }
            (None, Some(ids), None, None) if all_distinct(&ids) && (1..=MAX_SEATS).contains(&ids.len()) => {
                Ok(Wanted::All(ids.into_iter().map(SeatChoice::Id).collect()))
            }
            (None, Some(_), None, None) => Err(invalid(
                "seatIds에는 서로 다른 좌석 1~20개가 있어야 합니다.",
                "seatIds holds 1 to 20 different seats.",
            )),
            (None, None, None, Some(quantity)) if (1..=MAX_SEATS).contains(&quantity) => {
                let adjacent = self.adjacent.unwrap_or(true);
                Ok(Wanted::Best(Wish { quantity, section: self.section, max_price: self.max_price, adjacent }))
            }
            (None, None, None, Some(_)) => Err(invalid("quantity는 1~20이어야 합니다.", "quantity is 1 to 20.")),
            _ => Err(invalid(
                "seatId, seatNumber, seatIds, quantity 중 하나만 보내 주세요.",
                "Send exactly one of seatId, seatNumber, seatIds and quantity.",
            )),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SeatView {
    seat_id: SeatId,
    seat_number: SeatNumber,
    section: String,
    price: Money,
}

impl From<&Seat> for SeatView {
    fn from(seat: &Seat) -> Self {
        Self { seat_id: seat.id, seat_number: seat.number, section: seat.section.clone(), price: seat.price }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    reservation_id: Option<ReservationId>,
    expires_in: String,
    #[serde(serialize_with = "serialize_rfc3339")]
    expires_at: DateTime<Utc>,
    expires_in_seconds: u64,
    amount: Money,
    seats: Vec<SeatView>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservations: Option<Vec<CreatedOne>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CreatedOne {
    reservation_id: ReservationId,
    #[serde(flatten)]
    seat: SeatView,
    amount: Money,
}

impl From<&HeldSeat> for CreatedOne {
    fn from(held: &HeldSeat) -> Self {
        Self { reservation_id: held.reservation, seat: (&held.seat).into(), amount: held.amount }
    }
}

fn created(held: &Held, language: Language, several: bool) -> Answer {
    let seconds = seconds_between(held.reserved_at, held.expires_at);
    let sum = held.reservations.iter().try_fold(Money::ZERO, |sum, one| sum.checked_add(one.amount));
    Answer::ok(&Created {
        reservation_id: held.reservations.first().map(|one| one.reservation),
        expires_in: language.duration(seconds),
        expires_at: held.expires_at,
        expires_in_seconds: seconds,
        // More than anybody's balance can ever be.
        amount: sum.unwrap_or(Money::MAX),
        seats: held.reservations.iter().map(|one| (&one.seat).into()).collect(),
        status: "pending",
        reservations: several.then(|| held.reservations.iter().map(Into::into).collect()),
    })
}

/// `POST /reservation`: holds seats, all or none, for somebody admitted.
pub(super) async fn reserve(
    State(state): State<AppState>,
    Admitted { pass }: Admitted,
    once: Once,
    body: JsonBytes,
) -> Response {
    let language = once.language;
    once.run(&state, pass.user, body, move |state, claim, body| async move {
        let request: ReservationRequest = body.read()?;
        let concert = request.concert_id;
        let wanted = request.wanted()?;
        if pass.concert != concert {
            return Err(ErrorCode::NotAdmitted.into());
        }
        let several = !matches!(wanted, Wanted::One(_));
        let record = Arc::new(Record::new(claim, move |held| created(held, language, several)));
        let done = hold(&state, &pass, wanted, &record).await?;
        state.catalogue.seats_changed(pass.concert).await;
        Ok(done.answer)
    })
    .await
}

/// Holds what is asked for, if there is such a concert with such seats, and it is on sale.
async fn hold(
    state: &AppState,
    pass: &Pass,
    wanted: Wanted,
    record: &Arc<Record<Held>>,
) -> Result<Done<Held>, Problem> {
    match wanted {
        Wanted::One(choice) => Ok(state.reserving.hold(order(state, pass, &[choice]).await?, record).await?),
        Wanted::All(choices) => Ok(state.reserving.hold(order(state, pass, &choices).await?, record).await?),
        Wanted::Best(wish) => {
            let order = order(state, pass, &[]).await?;
            if let Some(section) = &wish.section
                && !state.catalogue.hall(order.concert).await?.has_section(section)
            {
                return Err(ErrorCode::NotFound.into());
            }
            Ok(state.best_available.hold(order, &wish, record).await?)
        }
    }
}

/// An order of these seats.
async fn order(state: &AppState, pass: &Pass, choices: &[SeatChoice]) -> Result<Order, Problem> {
    let snapshot = state.catalogue.concerts().await?;
    let concert = snapshot.concert(pass.concert).ok_or(ErrorCode::NotFound)?;
    let hall = state.catalogue.hall(concert.id).await?;
    let seats = choices.iter().map(|choice| hall.find(choice).cloned().ok_or(ErrorCode::NotFound));
    let seats = seats.collect::<Result<Vec<Seat>, ErrorCode>>()?;
    match concert.status(snapshot.now()) {
        SaleStatus::Scheduled => Err(ErrorCode::NotOnSale.into()),
        SaleStatus::Closed => Err(ErrorCode::SalesClosed.into()),
        // Which seats are left is not for a count to say.
        SaleStatus::OnSale | SaleStatus::SoldOut => Ok(Order {
            user: pass.user,
            pass: pass.id,
            concert: concert.id,
            seats_per_user: concert.seats_per_user,
            seats,
        }),
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ReservationView {
    reservation_id: ReservationId,
    concert_id: ConcertId,
    status: &'static str,
    amount: Money,
    seats: [SeatView; 1],
    #[serde(serialize_with = "serialize_rfc3339")]
    reserved_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_rfc3339")]
    expires_at: DateTime<Utc>,
    expires_in_seconds: u64,
    #[serde(serialize_with = "serialize_rfc3339_opt", skip_serializing_if = "Option::is_none")]
    completed_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_rfc3339_opt", skip_serializing_if = "Option::is_none")]
    extended_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
}

impl From<Reservation> for ReservationView {
    fn from(reservation: Reservation) -> Self {
        let is_paid = reservation.status == ReservationStatus::Completed;
        Self {
            ticket: is_paid.then(|| format!("/reservation/{}/ticket", reservation.id)),
            expires_in_seconds: reservation.seconds_left(),
            reservation_id: reservation.id,
            concert_id: reservation.concert,
            status: reservation.status.as_str(),
            amount: reservation.amount,
            seats: [SeatView {
                seat_id: reservation.seat,
                seat_number: reservation.seat_number,
                section: reservation.section,
                price: reservation.price,
            }],
            reserved_at: reservation.reserved_at,
            expires_at: reservation.expires_at,
            completed_at: reservation.completed_at,
            extended_at: reservation.extended_at,
        }
    }
}

/// `GET /reservation`: the user's own, the newest first.
pub(super) async fn list(
    State(state): State<AppState>,
    signed_in: SignedIn,
    Query(query): Query<CursorQuery>,
) -> Result<Response, Problem> {
    let (limit, before) = query.read::<ReservationId>()?;
    let reservations = state.db.reservations(signed_in.user, before, one_more(limit)).await?;
    let views: Vec<ReservationView> = reservations.into_iter().map(Into::into).collect();
    Ok(Json(CursorPage::new(views, limit, |view| view.reservation_id.to_string())).into_response())
}

/// `GET /reservation/{reservationId}`: one of the user's own.
pub(super) async fn one(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(id): PathId<ReservationId>,
) -> Result<Response, Problem> {
    let reservation = state.db.reservation(signed_in.user, id).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(ReservationView::from(reservation)).into_response())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CanceledView {
    reservation_id: ReservationId,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    refunded: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_status: Option<&'static str>,
}

/// `DELETE /reservation/{reservationId}`: gives the seat back at once, for its money where it is paid for. Doing it again changes nothing.
pub(super) async fn cancel(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(id): PathId<ReservationId>,
    slot: Option<Extension<Slot>>,
) -> Result<Response, Problem> {
    let held = (slot, state.turns.take(signed_in.user).await?);
    let owned = state.clone();
    let canceled = state.lifecycle.to_the_end(async move {
        let _held = held;
        let canceled = owned.returns.cancel(signed_in.user, id, owned.refund_until).await?;
        Ok::<_, Problem>(canceled.refunded)
    });
    let refunded = canceled.await.unwrap_or_else(|| Err(ErrorCode::Internal.into()))?;
    Ok(Json(CanceledView {
        reservation_id: id,
        status: "canceled",
        refunded: refunded.map(|refunded| refunded.amount),
        refund_status: refunded.and_then(|refunded| refunded.settled).map(refund_status),
    })
    .into_response())
}

/// `POST /reservation/{reservationId}/extend`: puts off the end of the time to pay, once. Needs no pass: a live hold is
/// enough.
pub(super) async fn extend(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(id): PathId<ReservationId>,
    slot: Option<Extension<Slot>>,
) -> Result<Response, Problem> {
    let held = (slot, state.turns.take(signed_in.user).await?);
    let owned = state.clone();
    let extended = state.lifecycle.to_the_end(async move {
        let _held = held;
        owned.reserving.extend(signed_in.user, id).await
    });
    extended.await.unwrap_or_else(|| Err(Fault::Internal("extending panicked".to_owned()).into()))?;
    let reservation = state.db.reservation(signed_in.user, id).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(ReservationView::from(reservation)).into_response())
}
