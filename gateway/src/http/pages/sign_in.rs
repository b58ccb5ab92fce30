//! Signing in and up by a plain form, for whoever has no scripts: core-api is asked as it always is.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{ConnectInfo, Form, FromRequest as _, FromRequestParts as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use common::http::{BODY_TIMEOUT, UpstreamAnswer};
use common::language::Language;
use common::problem::{ErrorCode, Problem};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RETRY_AFTER,
    SET_COOKIE,
};
use http::{StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use serde::Deserialize;
use serde_json::{Value, json};

use super::origin::check_same_origin;
use super::{NO_STORE, error_page, html, language};
use crate::http::rate_limit::SigningIn;
use crate::http::{AppState, proxy};

/// The most that is read of an answer of core-api; its refusals are a few lines.
const MAX_ANSWER: usize = 64 * 1024;
const MAX_NEXT: usize = 200;

#[derive(Deserialize)]
struct Filled {
    #[serde(default)]
    username: String,
    email: String,
    password: String,
    /// Where they came from.
    #[serde(default)]
    next: String,
}

/// `POST /forms/login`.
pub(super) async fn log_in(state: State<AppState>, peer: ConnectInfo<SocketAddr>, request: Request) -> Response {
    let body = |form: &Filled| json!({ "userId": form.email, "password": form.password });
    answered(state, peer, request, Uri::from_static("/auth/login"), body).await
}

/// `POST /forms/signup`.
pub(super) async fn sign_up(state: State<AppState>, peer: ConnectInfo<SocketAddr>, request: Request) -> Response {
    let body = |form: &Filled| json!({ "username": form.username, "email": form.email, "password": form.password });
    answered(state, peer, request, Uri::from_static("/auth/signup"), body).await
}

async fn answered(
    State(state): State<AppState>,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
    operation: Uri,
    body: impl Fn(&Filled) -> Value,
) -> Response {
    let language = language::of(request.headers());
    match session_opened(&state, peer, request, operation, language, body).await {
        Ok(response) => response,
        Err(problem) => error_page::tell(&state, language, &problem, "/login", false),
    }
}

async fn session_opened(
    state: &AppState,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
    operation: Uri,
    language: Language,
    body: impl Fn(&Filled) -> Value,
) -> Result<Response, Problem> {
    check_same_origin(request.headers())?;
    let (mut parts, sent) = request.into_parts();
    SigningIn::from_request_parts(&mut parts, state).await?;
    let form = Form::<Filled>::from_request(Request::from_parts(parts.clone(), sent), state);
    let Form(form) = tokio::time::timeout(BODY_TIMEOUT, form)
        .await
        .map_err(|_| ErrorCode::RequestTimeout)?
        .map_err(|rejection| Problem::new(ErrorCode::for_status(rejection.status())).because(rejection.body_text()))?;

    let headers = &mut parts.headers;
    for name in [CONTENT_LENGTH, ACCEPT_ENCODING] {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static(language.tag()));
    parts.uri = operation;
    let asked = Request::from_parts(parts, Body::from(body(&form).to_string()));
    let answer = proxy::proxy(State(state.clone()), peer, asked).await?;
    if !answer.status().is_success() {
        return refused(state, answer, language).await;
    }
    let next = HeaderValue::try_from(own_path(&form.next)).unwrap_or_else(|_| HeaderValue::from_static("/"));
    let mut response = (StatusCode::SEE_OTHER, [(LOCATION, next), (CACHE_CONTROL, NO_STORE)]).into_response();
    for cookie in answer.headers().get_all(SET_COOKIE) {
        response.headers_mut().append(SET_COOKIE, cookie.clone());
    }
    Ok(response)
}

/// core-api's refusal, in its own words.
async fn refused(state: &AppState, answer: Response, language: Language) -> Result<Response, Problem> {
    let (parts, body) = answer.into_parts();
    let away = |cause: String| Problem::new(ErrorCode::ServiceUnavailable).because(cause);
    let read = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| away(error.to_string()))?.to_bytes();
    let problem: Value = serde_json::from_slice(&read).map_err(|error| away(error.to_string()))?;
    let sentence = problem["message"].as_str().unwrap_or_default();
    let text = error_page::page(state, language, sentence, "/login", "")
        .map_err(|error| Problem::new(ErrorCode::Internal).because(error))?;
    let mut response = html(parts.status, text);
    if let Some(wait) = parts.headers.get(RETRY_AFTER) {
        response.headers_mut().insert(RETRY_AFTER, wait.clone());
    }
    // core-api has logged it.
    response.extensions_mut().insert(UpstreamAnswer);
    Ok(response)
}

/// A path of this site, whatever the form said: what looks like one and leads elsewhere is none.
fn own_path(next: &str) -> &str {
    let leads_elsewhere = next.starts_with("//") || next.contains(['\\', '\r', '\n', '\t']);
    if next.starts_with('/') && !leads_elsewhere && next.len() <= MAX_NEXT && next.is_ascii() { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (next, path) in [
            ("/wait/x", "/wait/x"),
            ("/my?a=1", "/my?a=1"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
            ("javascript:alert(1)", "/"),
            ("", "/"),
        ] {
            assert_eq!(own_path(next), path, "{next:?}");
        }
    }
}
