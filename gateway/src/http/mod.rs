//! The gateway's HTTP edge.

mod admin;
mod answer;
mod client_address;
mod errors;
mod events;
mod frontier;
mod guard;
mod health;
mod jwks;
mod pages;
mod polls;
mod presented;
mod proxy;
mod queue;
mod rate_limit;
mod sign_in;
mod state;
mod stream;
mod telling;

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{delete, get, post};
use common::http::{Endpoint, endpoint, finish, limit_in_flight, router};
use common::problem::{ErrorCode, Problem};
use http::Method;
use tower_http::catch_panic::CatchPanicLayer;

use crate::worker::Failures;

pub use polls::Gateway;
pub use state::AppState;

/// The most that the body of a request to the gateway itself may have.
const MAX_BODY: usize = 64 * 1024;

/// What the gateway answers itself. Everything else is core-api's.
pub fn endpoints() -> Vec<Endpoint<AppState>> {
    let mut endpoints = vec![
        endpoint(Method::GET, "/health", get(health::health)),
        endpoint(Method::GET, "/health/live", get(health::live)),
        endpoint(Method::GET, "/health/ready", get(health::ready)),
        endpoint(Method::POST, "/queue/token", post(queue::join)),
        endpoint(Method::DELETE, "/queue/token", delete(queue::leave)),
        endpoint(Method::GET, polls::PATH, get(queue::status)),
        endpoint(Method::GET, "/queue/events", get(events::events)),
        endpoint(Method::GET, "/queue/{concertId}/frontier", get(frontier::frontier)),
        endpoint(Method::GET, "/.well-known/jwks.json", get(jwks::jwks)),
    ];
    endpoints.extend(admin::endpoints());
    endpoints
}

/// The whole gateway as a service.
pub fn app(state: AppState) -> Gateway {
    let (in_flight, failures) = (state.in_flight(), state.rooms.failures());
    let pages = if state.config.site.is_some() { Vec::new() } else { pages::unchanging_ones() };
    let limited = if state.config.site.is_some() {
        router(endpoints())
    } else {
        let mut ours = endpoints();
        ours.extend(pages::made_ones());
        router(ours)
            .route("/reservation", post(guard::admitted_only).fallback(proxy::proxy))
            .route("/auth/login", post(sign_in::sign_in).fallback(proxy::proxy))
            .route("/auth/signup", post(sign_in::sign_in).fallback(proxy::proxy))
            .route("/auth/refresh", post(sign_in::sign_in).fallback(proxy::proxy))
            .route("/auth/password", post(sign_in::sign_in).fallback(proxy::proxy))
    };
    let router = limited
        .fallback(elsewhere)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(in_flight, limit_in_flight))
        .merge(router(pages))
        .layer(CatchPanicLayer::custom(|_| {
            axum::response::IntoResponse::into_response(Problem::new(ErrorCode::Internal))
        }))
        .layer(from_fn_with_state(failures, note_failures))
        .layer(from_fn(finish))
        .with_state(state.clone());
    Gateway { state, router }
}

/// Counts the answers that say that the service failed. Health is no visitor's question.
async fn note_failures(State(failures): State<Failures>, request: Request, next: Next) -> Response {
    let is_health = request.uri().path().starts_with("/health");
    let response = next.run(request).await;
    if response.status().is_server_error() && !is_health {
        failures.note();
    }
    response
}

/// What is not ours is core-api's, or the site's that stands in its place, but for what looks like the queue's: a
/// mistyped path is told here, not two hops on.
async fn elsewhere(
    state: State<AppState>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response, Problem> {
    let path = request.uri().path();
    if ["/queue", "/admin/queues"].iter().any(|ours| path == *ours || path.starts_with(&format!("{ours}/"))) {
        return Err(ErrorCode::NotFound.into());
    }
    match state.config.site.clone() {
        Some(site) => guard::site(state, peer, &site, request).await,
        None => proxy::proxy(state, peer, request).await,
    }
}
