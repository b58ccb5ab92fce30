//! A user's own sessions.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339;
use common::http::{PathId, SignedIn};
use common::ids::SessionId;
use common::problem::{ErrorCode, Problem};
use serde::Serialize;
use serde_json::json;

use super::auth::signed_out;
use crate::state::AppState;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionView {
    id: SessionId,
    #[serde(serialize_with = "serialize_rfc3339")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_rfc3339")]
    last_used_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_rfc3339")]
    expires_at: DateTime<Utc>,
    current: bool,
}

/// `GET /auth/sessions`: where the user is signed in. There are only so many, so it is no page.
pub(super) async fn list(State(state): State<AppState>, signed_in: SignedIn) -> Result<Response, Problem> {
    let sessions = state.accounts.sessions(signed_in.user).await?;
    let views: Vec<SessionView> = sessions
        .into_iter()
        .map(|session| SessionView {
            id: session.id,
            created_at: session.created_at,
            last_used_at: session.refreshed_at,
            expires_at: session.expires_at,
            current: signed_in.session == Some(session.id),
        })
        .collect();
    Ok(Json(json!({ "data": views })).into_response())
}

/// `DELETE /auth/sessions/{sessionId}`: signs out elsewhere; or here, where it is the session that asks.
pub(super) async fn end(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(session): PathId<SessionId>,
) -> Result<Response, Problem> {
    if !state.accounts.end(signed_in.user, session).await? {
        return Err(ErrorCode::NotFound.into());
    }
    if signed_in.session == Some(session) {
        return Ok(signed_out(&state));
    }
    Ok(Json(json!({ "status": "OK" })).into_response())
}
