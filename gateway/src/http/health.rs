//! Whether the gateway, and what it depends on, can do their work.

use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::Response;
use bytes::Bytes;
use common::http::RequestId;
use common::http::health::{CHECK_ERROR, CHECK_OK, Checks, alive, report};
use common::language::Language;
use common::problem::Problem;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use super::state::AppState;

const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_BODY: usize = 64 * 1024;

/// `GET /health`: the whole way that a request takes. Redis as the gateway sees it, and all that core-api checks.
pub(super) async fn health(
    State(state): State<AppState>,
    Extension(request_id): Extension<RequestId>,
    language: Language,
) -> Response {
    let (redis, core) = tokio::join!(state.rooms.ping(), async {
        if state.config.site.is_some() { site_checks(&state).await } else { core_checks(&state).await }
    });
    let mut checks = core.unwrap_or_else(|| Checks::from_iter([("core".to_owned(), json!(CHECK_ERROR))]));
    checks.entry("core").or_insert_with(|| json!(CHECK_OK));
    // Either of the two may have lost its way to Redis.
    if redis.is_err() {
        checks.insert("redis".to_owned(), json!(CHECK_ERROR));
    } else {
        checks.entry("redis").or_insert_with(|| json!(CHECK_OK));
    }
    report(&state.clock, &checks, language, &request_id)
}

/// Whether a site that is not core-api answers at all: what it answers is its own affair, unless it says that it can't.
async fn site_checks(state: &AppState) -> Option<Checks> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = Uri::from_static("/");
    *request.method_mut() = http::Method::HEAD;
    let answer = tokio::time::timeout(CHECK_TIMEOUT, state.core.send(request)).await.ok()?.ok()?;
    (!answer.status().is_server_error()).then(Checks::new)
}

/// What core-api says of itself; `None` where it says nothing.
async fn core_checks(state: &AppState) -> Option<Checks> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = Uri::from_static("/health");
    let asked = async {
        let response = state.core.send(request).await.ok()?;
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.ok()?.to_bytes();
        let mut body: Value = serde_json::from_slice(&body).ok()?;
        match body["checks"].take() {
            Value::Object(checks) => Some(checks),
            _ => None,
        }
    };
    tokio::time::timeout(CHECK_TIMEOUT, asked).await.ok().flatten()
}

/// `GET /health/live`: the process answers.
pub(super) async fn live(State(state): State<AppState>) -> Response {
    alive(&state.clock)
}

/// `GET /health/ready`: the gateway can do its own work. core-api being away does not take gateways out of service: they
/// keep everyone's place, and say what is away.
pub(super) async fn ready(State(state): State<AppState>) -> Result<Response, Problem> {
    state.rooms.ping().await?;
    Ok(alive(&state.clock))
}
