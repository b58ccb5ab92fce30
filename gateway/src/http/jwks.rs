//! The public keys of passes.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderValue};
use serde_json::json;

use super::state::AppState;

/// `GET /.well-known/jwks.json` (RFC 7517). Cacheable for a minute: a new key is published before it signs.
pub(super) async fn jwks(State(state): State<AppState>) -> Response {
    let keys = state.config.passes.public_keys().jwks();
    ([(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"))], axum::Json(json!({ "keys": keys })))
        .into_response()
}
