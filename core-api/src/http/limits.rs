//! How long a request may take.

use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use common::problem::{ErrorCode, Problem};

/// How long a request may take. Every call within has a limit of its own; this one is for their sum.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(12);

/// Answers 503 for what takes too long.
pub(super) async fn time(request: Request, next: Next) -> Response {
    tokio::time::timeout(REQUEST_TIMEOUT, next.run(request))
        .await
        .unwrap_or_else(|_| Problem::new(ErrorCode::ServiceUnavailable).because("the request timeout").into_response())
}
