//! Endpoints as data: the list that makes the router is the list that is compared with `api-spec.yaml`.

use std::convert::Infallible;

use axum::Router;
use axum::routing::MethodRouter;
use http::Method;

use crate::problem::{ErrorCode, Problem};

/// One operation of the API.
#[derive(Debug)]
pub struct Endpoint<S> {
    /// Its method.
    pub method: Method,
    /// Its path in axum's form, parameters in braces: `/concerts/{concertId}`.
    pub path: &'static str,
    handler: MethodRouter<S, Infallible>,
}

/// An operation and what handles it; `handler` must answer `method`.
pub fn endpoint<S>(method: Method, path: &'static str, handler: MethodRouter<S, Infallible>) -> Endpoint<S> {
    Endpoint { method, path, handler }
}

/// A router of all `endpoints`, which answers a wrong method with 405 and `Allow`.
pub fn router<S: Clone + Send + Sync + 'static>(endpoints: Vec<Endpoint<S>>) -> Router<S> {
    endpoints
        .into_iter()
        .fold(Router::new(), |router, endpoint| router.route(endpoint.path, endpoint.handler))
        .method_not_allowed_fallback(|| async { Problem::new(ErrorCode::MethodNotAllowed) })
}
