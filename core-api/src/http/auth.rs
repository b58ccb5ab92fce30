//! Accounts and sessions.

use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339;
use common::http::{Json, SignedIn};
use common::ids::UserId;
use common::problem::{ErrorCode, Problem};
use common::tokens::{Role, Session};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::domain::account::{Email, Login, NewPassword, TriedPassword, Username};
use crate::domain::text::Text;
use crate::state::AppState;

#[derive(Debug, Deserialize)]
pub(super) struct SignUp {
    username: Username,
    email: Email,
    password: NewPassword,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogIn {
    user_id: Text<1, 255>,
    password: TriedPassword,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionOpened {
    user_id: UserId,
    token: String,
    #[serde(serialize_with = "serialize_rfc3339")]
    expires_at: DateTime<Utc>,
}

/// `POST /auth/signup`: makes an account and opens a session.
pub(super) async fn sign_up(State(state): State<AppState>, body: Json<SignUp>) -> Result<Response, Problem> {
    let SignUp { username, email, password } = body.value;
    let hash = state.passwords.hash(password.as_str()).await?;
    let user = state.db.create_account(&username, &email, &hash).await?;
    Ok(open_session(&state, user, Role::User))
}

/// `POST /auth/login`: opens a session. An unknown account and a wrong password answer the same, after the same work; so
/// does one that is tried too often, before any.
pub(super) async fn log_in(State(state): State<AppState>, body: Json<LogIn>) -> Result<Response, Problem> {
    let login = Login::from(&body.value.user_id);
    state.logins.check(&login)?;
    let account = state.db.account(&login).await?;
    let hash = account.as_ref().map(|account| account.password_hash.clone());
    let right = state.passwords.verify(body.value.password.as_str(), hash).await?;
    match account.filter(|_| right) {
        Some(account) => Ok(open_session(&state, account.user, account.role)),
        None => Err(ErrorCode::InvalidCredentials.into()),
    }
}

/// `POST /auth/logout`: takes the cookie back. The token itself lasts until it expires.
pub(super) async fn log_out(State(state): State<AppState>, _: SignedIn) -> Response {
    let cookie = AppendHeaders([(SET_COOKIE, state.set_cookie.clear_session())]);
    (cookie, axum::Json(json!({ "status": "OK" }))).into_response()
}

fn open_session(state: &AppState, user: UserId, role: Role) -> Response {
    let issued_at = state.clock.now();
    let expires_at = issued_at + state.session_ttl;
    let token = state.sessions.sign(&Session { user, role, issued_at, expires_at });
    let cookie = state.set_cookie.session(&token, state.session_ttl.num_seconds());
    // A token in a body must not stay in anybody's cache.
    let headers = AppendHeaders([(SET_COOKIE, cookie), (CACHE_CONTROL, http::HeaderValue::from_static("no-store"))]);
    (headers, axum::Json(SessionOpened { user_id: user, token, expires_at })).into_response()
}
