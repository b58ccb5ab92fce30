//! Health as both services tell it.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Map, Value, json};

use super::request_id::RequestId;
use crate::clock::{SharedClock, rfc3339};
use crate::language::Language;
use crate::problem::{ErrorCode, Problem};

/// What a check says of a dependency that works.
pub const CHECK_OK: &str = "OK";
/// What it says of one that does not.
pub const CHECK_ERROR: &str = "ERROR";

/// Each dependency by name and whether it works, [`CHECK_OK`] or [`CHECK_ERROR`].
pub type Checks = Map<String, Value>;

/// 200 `{status: "OK", timestamp}`: the process answers.
pub fn alive(clock: &SharedClock) -> Response {
    axum::Json(json!({ "status": CHECK_OK, "timestamp": rfc3339(clock.now()) })).into_response()
}

/// 200 `{status: "OK", timestamp, checks}` where all checks are well; else 500 with what does not work: `{status:
/// "ERROR", message, timestamp, checks}` and a problem's fields beside them. `status` is a word here, as it always was;
/// the number is in `code`.
pub fn report(clock: &SharedClock, checks: &Checks, language: Language, request_id: &RequestId) -> Response {
    let timestamp = rfc3339(clock.now());
    let no_store = (CACHE_CONTROL, "no-store");
    if checks.values().all(|check| check == CHECK_OK) {
        let body = json!({ "status": CHECK_OK, "timestamp": timestamp, "checks": checks });
        return ([no_store], axum::Json(body)).into_response();
    }
    let problem = Problem::new(ErrorCode::Unhealthy).body(language, request_id.as_str());
    let mut body = serde_json::to_value(problem).unwrap_or_default();
    body["status"] = json!(CHECK_ERROR);
    body["timestamp"] = json!(timestamp);
    body["checks"] = json!(checks);
    let headers = [(CONTENT_TYPE, "application/problem+json"), no_store];
    (StatusCode::INTERNAL_SERVER_ERROR, headers, body.to_string()).into_response()
}
