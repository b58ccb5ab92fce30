//! The short way of a poll. A million people ask where they stand, all day, and hardly anybody asks for anything else:
//! what a router and its layers do for each request, boxes and copies, costs as much as the answer. So `GET /queue/status`
//! is answered before the router, with the same handler, by a function that does what the layers do.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::extract::{FromRequestParts as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use common::http::around;
use common::language::Language;
use common::problem::{ErrorCode, Problem};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either};
use http::Method;
use tower::Service;

use super::queue;
use super::rate_limit::Polling;
use super::state::AppState;

pub(super) const PATH: &str = "/queue/status";

/// The whole gateway: polls by the short way, everything else by the router.
#[derive(Clone)]
pub struct Gateway {
    pub(super) state: AppState,
    pub(super) router: Router,
}

impl Service<Request<Body>> for Gateway {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<BoxFuture<'static, Result<Response, Infallible>>, <Router as Service<Request<Body>>>::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A router always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // A body would have to be read over.
        if request.method() == Method::GET && request.uri().path() == PATH && request.body().is_end_stream() {
            let state = self.state.clone();
            Either::Left(Box::pin(async move { Ok(around(request, PATH, |request| answer(state, request)).await) }))
        } else {
            Either::Right(self.router.call(request))
        }
    }
}

async fn answer(state: AppState, request: Request) -> Response {
    let failures = state.rooms.failures();
    let answered = AssertUnwindSafe(status(state, request)).catch_unwind().await;
    let response =
        answered.unwrap_or_else(|_| Err(Problem::new(ErrorCode::Internal))).unwrap_or_else(Problem::into_response);
    if response.status().is_server_error() {
        failures.note();
    }
    response
}

async fn status(state: AppState, request: Request) -> Result<Response, Problem> {
    let _slot = state.in_flight().enter()?;
    let (mut parts, _) = request.into_parts();
    let language = Language::from_headers(&parts.headers);
    let polling = Polling::from_request_parts(&mut parts, &state).await?;
    queue::status(State(state), polling, language).await
}
