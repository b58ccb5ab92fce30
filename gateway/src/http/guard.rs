//! The door: only who has been admitted gets through to reserve.

use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use common::http::queue_token;
use common::problem::{ErrorCode, Problem};
use common::tokens::{Pass, claims_to_be_a_pass};
use http::HeaderMap;
use std::net::SocketAddr;

use super::proxy;
use super::rate_limit::Reserving;
use super::state::AppState;

/// `POST /reservation`: passes on the requests of people whose admission is live. That the pass is of the concert in
/// the body is core-api's to check, which reads the body; it checks the rest again by itself.
pub(super) async fn admitted_only(
    State(state): State<AppState>,
    Reserving(signed_in): Reserving,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Problem> {
    let pass = presented_pass(&state, request.headers())?;
    if pass.user != signed_in.user || pass.has_expired(state.clock.now()) {
        return Err(ErrorCode::NotAdmitted.into());
    }
    let room = state.rooms.room(pass.concert).await?;
    if !room.is_admitted(pass.user, pass.id).await? {
        return Err(ErrorCode::NotAdmitted.into());
    }
    proxy::proxy(State(state), peer, request).await
}

/// No token, or a ticket, is somebody who has not been admitted; a token that is not ours is a bad credential.
fn presented_pass(state: &AppState, headers: &HeaderMap) -> Result<Pass, Problem> {
    let token = queue_token(headers).ok_or(ErrorCode::NotAdmitted)?;
    if !claims_to_be_a_pass(&token) {
        return Err(match state.config.tickets.verify(&token) {
            Ok(_) => ErrorCode::NotAdmitted.into(),
            Err(error) => Problem::new(ErrorCode::InvalidQueueToken).because(error),
        });
    }
    state
        .config
        .passes
        .public_keys()
        .verify(&token)
        .map_err(|error| Problem::new(ErrorCode::InvalidQueueToken).because(error))
}
