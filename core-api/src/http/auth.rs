//! Accounts: signing up, in and out, and what a session goes on by.

use axum::body::HttpBody as _;
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339;
use common::http::{Json, JsonBytes, SignedIn, refresh_token, session_token};
use common::ids::UserId;
use common::problem::{ErrorCode, Problem};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, SET_COOKIE};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::errors::refused;
use crate::domain::account::{Email, Login, NewPassword, TriedPassword, Username};
use crate::domain::session::RefreshToken;
use crate::domain::text::Text;
use crate::service::Tokens;
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

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangePassword {
    current_password: TriedPassword,
    new_password: NewPassword,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refresh {
    refresh_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionOpened {
    user_id: UserId,
    token: String,
    #[serde(serialize_with = "serialize_rfc3339")]
    expires_at: DateTime<Utc>,
    refresh_token: String,
    #[serde(serialize_with = "serialize_rfc3339")]
    refresh_expires_at: DateTime<Utc>,
}

/// `POST /auth/signup`: makes an account and opens a session.
pub(super) async fn sign_up(State(state): State<AppState>, body: Json<SignUp>) -> Result<Response, Problem> {
    let SignUp { username, email, password } = body.value;
    let tokens = state.accounts.sign_up(&username, &email, &password).await?;
    Ok(hand_over(&state, &tokens))
}

/// `POST /auth/login`: opens a session. An unknown account and a wrong password answer the same, after the same work; so
/// does one that is tried too often, before any.
pub(super) async fn log_in(State(state): State<AppState>, body: Json<LogIn>) -> Result<Response, Problem> {
    let login = Login::from(&body.value.user_id);
    let tokens = state.accounts.log_in(&login, &body.value.password).await;
    Ok(hand_over(&state, &tokens.map_err(refused(ErrorCode::InvalidCredentials))?))
}

/// `POST /auth/refresh`: new tokens for the refresh token in the body, or else in the cookie.
pub(super) async fn refresh(State(state): State<AppState>, request: Request) -> Result<Response, Problem> {
    let in_cookie = refresh_token(request.headers());
    let text = token_in_body(request).await?.or(in_cookie).ok_or(ErrorCode::InvalidRefreshToken)?;
    let token = RefreshToken::parse(text.trim()).ok_or(ErrorCode::InvalidRefreshToken)?;
    // Many at once of one session wait for its row: here, before they have a connection.
    let _turn = state.turns.take(token.session()).await?;
    let tokens = state.accounts.refresh(&token).await?;
    Ok(hand_over(&state, &tokens))
}

/// `POST /auth/password`: another password, for who knows the one before. All other sessions end.
pub(super) async fn change_password(
    State(state): State<AppState>,
    signed_in: SignedIn,
    body: Json<ChangePassword>,
) -> Result<Response, Problem> {
    let ChangePassword { current_password, new_password } = body.value;
    let tokens = state.accounts.change_password(signed_in, &current_password, &new_password).await;
    Ok(hand_over(&state, &tokens.map_err(refused(ErrorCode::WrongPassword))?))
}

/// `POST /auth/logout`: ends the session of the token, and that of the refresh token's cookie, and takes both cookies back.
/// A session that is over already is no reason to refuse.
pub(super) async fn log_out(State(state): State<AppState>, headers: HeaderMap) -> Result<Response, Problem> {
    let token = session_token(&headers);
    let session = token.as_deref().map(|token| state.sessions.keys().verify(token, state.clock.now()));
    let refresh = refresh_token(&headers).and_then(|text| RefreshToken::parse(&text));
    let mut known = false;
    if let Some(Ok(session)) = session {
        known = true;
        if let Some(id) = session.id {
            state.accounts.end(session.user, id).await?;
        }
    }
    if let Some(refresh) = refresh {
        let _turn = state.turns.take(refresh.session()).await?;
        known |= state.accounts.end_by_refresh_token(&refresh).await?;
    }
    match session {
        _ if known => Ok(signed_out(&state)),
        Some(Err(error)) => Err(Problem::new(ErrorCode::InvalidSession).because(error)),
        _ => Err(ErrorCode::Unauthenticated.into()),
    }
}

/// Says that a session is over, and takes its cookies back.
pub(super) fn signed_out(state: &AppState) -> Response {
    let cookies = AppendHeaders([
        (SET_COOKIE, state.set_cookie.clear_session()),
        (SET_COOKIE, state.set_cookie.clear_refresh_token()),
    ]);
    (cookies, axum::Json(json!({ "status": "OK" }))).into_response()
}

/// The refresh token of a body, which need not be there at all.
async fn token_in_body(request: Request) -> Result<Option<String>, Problem> {
    if request.body().is_end_stream() && !request.headers().contains_key(CONTENT_TYPE) {
        return Ok(None);
    }
    let body = JsonBytes::from_request(request, &()).await?;
    if body.0.is_empty() { Ok(None) } else { Ok(body.read::<Refresh>()?.refresh_token) }
}

fn hand_over(state: &AppState, tokens: &Tokens) -> Response {
    let seconds = |until: DateTime<Utc>| (until - tokens.issued_at).num_seconds().max(0);
    let refresh_token = tokens.refresh.to_text();
    // A token in a body must not stay in anybody's cache.
    let headers = AppendHeaders([
        (SET_COOKIE, state.set_cookie.session(&tokens.token, seconds(tokens.expires_at))),
        (SET_COOKIE, state.set_cookie.refresh_token(&refresh_token, seconds(tokens.refresh_until))),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ]);
    let body = SessionOpened {
        user_id: tokens.user,
        token: tokens.token.clone(),
        expires_at: tokens.expires_at,
        refresh_token,
        refresh_expires_at: tokens.refresh_until,
    };
    (headers, axum::Json(body)).into_response()
}
