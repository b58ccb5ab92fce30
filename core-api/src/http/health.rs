//! Health: for people, for what restarts processes, for what sends them requests.

use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::Response;
use common::http::RequestId;
use common::http::health::{CHECK_ERROR, CHECK_OK, Checks, alive, report};
use common::language::Language;
use common::problem::{ErrorCode, Problem};
use serde_json::json;

use crate::domain::Fault;
use crate::state::AppState;

/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

async fn check(ping: impl Future<Output = Result<(), Fault>>) -> &'static str {
    let answered = tokio::time::timeout(CHECK_TIMEOUT, ping).await;
    if matches!(answered, Ok(Ok(()))) { CHECK_OK } else { CHECK_ERROR }
}

async fn checks(state: &AppState) -> Checks {
    let (postgres, redis) = tokio::join!(check(state.db.ping()), check(state.holds.ping()));
    [("postgres", postgres), ("redis", redis)]
        .map(|(name, verdict)| (name.to_owned(), json!(verdict)))
        .into_iter()
        .collect()
}

/// `GET /health`: 200, or 500 with what does not work.
pub(super) async fn health(
    State(state): State<AppState>,
    Extension(request_id): Extension<RequestId>,
    language: Language,
) -> Response {
    report(&state.clock, &checks(&state).await, language, &request_id)
}

/// `GET /health/live`: the process runs.
pub(super) async fn live(State(state): State<AppState>) -> Response {
    alive(&state.clock)
}

/// `GET /health/ready`: it can serve. 503 while a dependency is away, and once it has been asked to stop.
pub(super) async fn ready(State(state): State<AppState>) -> Result<Response, Problem> {
    if state.lifecycle.draining().is_cancelled() {
        return Err(Problem::new(ErrorCode::ServiceUnavailable).because("stopping"));
    }
    let checks = checks(&state).await;
    if checks.values().all(|check| check == CHECK_OK) {
        return Ok(alive(&state.clock));
    }
    Err(Problem::new(ErrorCode::ServiceUnavailable).because(format!("{checks:?}")))
}
