//! Tickets, for those who bought them, and the keys that verify them.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, NaiveDate, Utc};
use common::clock::{serialize_rfc3339, serialize_rfc3339_opt};
use common::http::{PathId, SignedIn};
use common::ids::{ConcertId, ReservationId};
use common::problem::{ErrorCode, Problem};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use qrcode::{EcLevel, QrCode};
use serde::Serialize;
use serde_json::json;

use crate::domain::seat::SeatNumber;
use crate::domain::ticket::{Ticket, TicketSeat};
use crate::state::AppState;

/// Whoever reads a ticket can go in with it.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-store");
/// A picture and nothing that runs.
const PICTURE_ONLY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");
/// The least width and height of a picture, in pixels; it scales.
const QR_SIZE: u32 = 240;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TicketView {
    reservation_id: ReservationId,
    concert: TicketConcertView,
    seat: TicketSeatView,
    code: String,
    #[serde(serialize_with = "serialize_rfc3339")]
    issued_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_rfc3339_opt", skip_serializing_if = "Option::is_none")]
    checked_in_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize)]
struct TicketConcertView {
    id: ConcertId,
    name: String,
    date: NaiveDate,
    venue: String,
}

/// A seat as tickets name it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TicketSeatView {
    section: String,
    seat_number: SeatNumber,
}

impl From<TicketSeat> for TicketSeatView {
    fn from(seat: TicketSeat) -> Self {
        Self { section: seat.section, seat_number: seat.number }
    }
}

impl TicketView {
    fn new(ticket: Ticket, code: String) -> Self {
        let Ticket { concert, concert_name, concert_date, venue, .. } = ticket;
        Self {
            reservation_id: ticket.reservation,
            concert: TicketConcertView { id: concert, name: concert_name, date: concert_date, venue },
            seat: ticket.seat.into(),
            code,
            issued_at: ticket.issued_at,
            checked_in_at: ticket.checked_in_at,
        }
    }
}

/// `GET /reservation/{reservationId}/ticket`: the ticket of one of the user's own that is paid for.
pub(super) async fn ticket(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(id): PathId<ReservationId>,
) -> Result<Response, Problem> {
    let ticket = state.db.ticket(signed_in.user, id).await?;
    let code = state.entry_tickets.sign(&ticket.claims());
    Ok(([(CACHE_CONTROL, PRIVATE)], Json(TicketView::new(ticket, code))).into_response())
}

/// `GET /reservation/{reservationId}/ticket.svg`: its code as a QR code.
pub(super) async fn picture(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(id): PathId<ReservationId>,
) -> Result<Response, Problem> {
    let ticket = state.db.ticket(signed_in.user, id).await?;
    let code = state.entry_tickets.sign(&ticket.claims());
    // The longest code is a seventh of what fits.
    let svg = qr_code(&code).map_err(|error| Problem::new(ErrorCode::Internal).because(error))?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("image/svg+xml")),
        (CACHE_CONTROL, PRIVATE),
        (CONTENT_SECURITY_POLICY, PICTURE_ONLY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, svg).into_response())
}

/// `GET /.well-known/ticket-keys.json` (RFC 7517): what verifies tickets. A new key is published before it signs.
pub(super) async fn keys(State(state): State<AppState>) -> Response {
    let keys = json!({ "keys": state.entry_tickets.jwks() });
    ([(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"))], Json(keys)).into_response()
}

/// As SVG, readable where a seventh of it is dirty or torn.
fn qr_code(code: &str) -> Result<String, qrcode::types::QrError> {
    let qr = QrCode::with_error_correction_level(code, EcLevel::M)?;
    Ok(qr.render::<qrcode::render::svg::Color<'_>>().min_dimensions(QR_SIZE, QR_SIZE).build())
}
