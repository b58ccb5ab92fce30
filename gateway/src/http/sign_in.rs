//! Logging in, signing up and what else takes a secret: core-api's, as often as one address may try.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use common::problem::Problem;

use super::proxy;
use super::rate_limit::SigningIn;
use super::state::AppState;

/// `POST /auth/login`, `/auth/signup`, `/auth/refresh` and `/auth/password`: passes them on.
pub(super) async fn sign_in(
    _: SigningIn,
    state: State<AppState>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Problem> {
    proxy::proxy(state, peer, request).await
}
