//! The HTTP edge: which endpoints there are, and what goes around all of them.

mod admin;
mod auth;
mod balance;
mod card_payments;
mod check_ins;
mod concerts;
mod errors;
mod health;
mod idempotency;
mod limits;
mod logos;
mod payment_records;
mod payment_webhooks;
mod payments;
mod queue_pass;
mod reservations;
mod seat_events;
mod seats;
mod sessions;
mod tickets;
mod waitlist;
mod webhooks;

use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{delete, get, post};
use axum::{Router, response::IntoResponse as _};
use common::http::{Endpoint, endpoint, finish, limit_in_flight};
use common::problem::{ErrorCode, Problem};
use http::Method;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, Predicate as _, SizeAbove};

use crate::state::AppState;

/// The largest body of a request.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Smaller answers are not worth compressing.
const COMPRESS_MIN_BYTES: u64 = 1_024;

/// Every operation that core-api answers, as `api-spec.yaml` has them.
pub fn endpoints() -> Vec<Endpoint<AppState>> {
    let (read, write, remove) = (Method::GET, Method::POST, Method::DELETE);
    let mut endpoints = vec![
        endpoint(read.clone(), "/health", get(health::health)),
        endpoint(read.clone(), "/health/live", get(health::live)),
        endpoint(read.clone(), "/health/ready", get(health::ready)),
        endpoint(write.clone(), "/auth/signup", post(auth::sign_up)),
        endpoint(write.clone(), "/auth/login", post(auth::log_in)),
        endpoint(write.clone(), "/auth/logout", post(auth::log_out)),
        endpoint(write.clone(), "/auth/refresh", post(auth::refresh)),
        endpoint(write.clone(), "/auth/password", post(auth::change_password)),
        endpoint(read.clone(), "/auth/sessions", get(sessions::list)),
        endpoint(remove.clone(), "/auth/sessions/{sessionId}", delete(sessions::end)),
        endpoint(read.clone(), "/concerts", get(concerts::list)),
        endpoint(read.clone(), "/concerts/{concertId}", get(concerts::one)),
        endpoint(read.clone(), "/concerts/{concertId}/logo/{version}", get(logos::logo)),
        endpoint(read.clone(), "/concerts/{concertId}/seats", get(seats::list)),
        endpoint(read.clone(), "/concerts/{concertId}/seats/events", get(seat_events::events)),
        endpoint(write.clone(), "/concerts/{concertId}/waitlist", post(waitlist::join)),
        endpoint(read.clone(), "/concerts/{concertId}/waitlist", get(waitlist::standing)),
        endpoint(remove.clone(), "/concerts/{concertId}/waitlist", delete(waitlist::leave)),
        endpoint(write.clone(), "/reservation", post(reservations::reserve)),
        endpoint(read.clone(), "/reservation", get(reservations::list)),
        endpoint(read.clone(), "/reservation/{reservationId}", get(reservations::one)),
        endpoint(remove.clone(), "/reservation/{reservationId}", delete(reservations::cancel)),
        endpoint(write.clone(), "/reservation/{reservationId}/extend", post(reservations::extend)),
        endpoint(read.clone(), "/reservation/{reservationId}/ticket", get(tickets::ticket)),
        endpoint(read.clone(), "/reservation/{reservationId}/ticket.svg", get(tickets::picture)),
        endpoint(read.clone(), "/.well-known/ticket-keys.json", get(tickets::keys)),
        endpoint(write.clone(), "/admin/check-ins", post(check_ins::check_in)),
        endpoint(remove, "/admin/check-ins/{reservationId}", delete(check_ins::undo)),
        endpoint(read.clone(), "/admin/concerts/{concertId}/tickets", get(check_ins::tickets)),
        endpoint(read.clone(), "/balance", get(balance::balance)),
        endpoint(write.clone(), "/balance", post(balance::charge)),
        endpoint(read.clone(), "/balance/entries", get(balance::entries)),
        endpoint(read.clone(), "/payment", get(payment_records::list)),
        endpoint(read, "/payment/{paymentId}", get(payment_records::one)),
        endpoint(write.clone(), "/payment", post(payments::pay)),
        endpoint(write, "/webhooks/payments/{provider}", post(payment_webhooks::payments)),
    ];
    endpoints.extend(webhooks::endpoints());
    endpoints.extend(admin::endpoints());
    endpoints
}

/// The routes with every layer. The outermost is the last: whatever fails within becomes a problem there.
pub(crate) fn router(state: AppState) -> Router {
    let worth_it = DefaultPredicate::new().and(SizeAbove::new(COMPRESS_MIN_BYTES));
    common::http::router(endpoints())
        .fallback(|| async { Problem::new(ErrorCode::NotFound) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(CompressionLayer::new().gzip(true).compress_when(worth_it))
        .layer(from_fn(limits::time))
        .layer(from_fn_with_state(state.in_flight.clone(), limit_in_flight))
        // The panic itself is told by the process's panic hook.
        .layer(CatchPanicLayer::custom(|_| Problem::new(ErrorCode::Internal).because("a panic").into_response()))
        .layer(from_fn(finish))
        .with_state(state)
}
