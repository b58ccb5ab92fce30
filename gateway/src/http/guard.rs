//! The door: only who has been admitted gets through to reserve, or to what else is protected.

use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use common::http::queue_token;
use common::problem::{ErrorCode, Problem};
use common::tokens::{Pass, claims_to_be_a_pass};
use http::HeaderMap;
use std::net::SocketAddr;

use super::proxy;
use super::rate_limit::{Reserving, protected_bearer};
use super::state::AppState;
use crate::config::ProtectedSite;

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

/// Every request to a site that is not core-api: what its rules name needs a live pass of the room that they name, and
/// where people have accounts, that it is theirs. The rest passes.
pub(super) async fn site(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    site: &ProtectedSite,
    request: Request,
) -> Result<Response, Problem> {
    let room = site.routes.room_of(request.method(), request.uri().path()).map_err(|error| {
        Problem::invalid("주소 경로의 형식이 올바르지 않습니다.", "The path is not in its plain form.").because(error)
    })?;
    let Some(concert) = room else { return proxy::proxy(State(state), ConnectInfo(peer), request).await };
    let (mut parts, body) = request.into_parts();
    let bearer = protected_bearer(&mut parts, &state, site).await?;
    let pass = presented_pass(&state, &parts.headers)?;
    let is_theirs = bearer.is_none_or(|user| user == pass.user);
    if pass.concert != concert || !is_theirs || pass.has_expired(state.clock.now()) {
        return Err(ErrorCode::NotAdmitted.into());
    }
    if !state.rooms.room(concert).await?.is_admitted(pass.user, pass.id).await? {
        return Err(ErrorCode::NotAdmitted.into());
    }
    proxy::proxy(State(state), ConnectInfo(peer), Request::from_parts(parts, body)).await
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
