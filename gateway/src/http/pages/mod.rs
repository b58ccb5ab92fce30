//! The pages for buyers: a list of concerts, a concert, its seats, what one holds and has bought; and those for operators.
//!
//! The pages themselves are the same for everybody and made once, when the process starts; their scripts ask the API for
//! what is in them, as any client would. So a page costs a copy from memory, also in a storm. What works without scripts
//! as well, signing in and waiting, is made for each visitor: [`wait`], [`sign_in`].
//!
//! Pages are no operations of the API: `api-spec.yaml` does not know them. Before a site of another kind there are none.

mod asset;
mod brand;
mod colours;
mod error_page;
mod language;
mod origin;
mod sign_in;
mod site;
mod template;
mod wait;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use common::http::{Endpoint, endpoint};
use common::problem::{ErrorCode, Problem};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY,
};
use http::header::{VARY, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};

pub(super) use site::Site;

use self::language::switch_of;
use super::state::AppState;

/// Everything from here, nothing inline, no frame around it.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);
/// Other sites learn nothing. Our own must: without a referrer, browsers do not say which origin a form comes from.
const REFERRER: HeaderValue = HeaderValue::from_static("same-origin");
const VARIES: HeaderValue = HeaderValue::from_static("accept-encoding, accept-language, cookie");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// What a page may use of the device: nothing.
const PERMISSIONS: (HeaderName, HeaderValue) = (
    HeaderName::from_static("permissions-policy"),
    HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
);

/// Pages and files that are the same for everybody. They come from memory and wait for nothing, so they need no limit.
pub(super) fn unchanging_ones() -> Vec<Endpoint<AppState>> {
    let mut endpoints: Vec<_> = site::PAGES
        .iter()
        .map(|page| {
            let handler = get(move |State(state): State<AppState>, request: Request| async move {
                unchanging(&state, page.name, &request)
            });
            endpoint(Method::GET, page.path, handler)
        })
        .collect();
    endpoints.push(endpoint(Method::GET, "/admin", get(to_the_desk)));
    endpoints.push(endpoint(Method::GET, "/assets/{version}/{language}/{file}", get(asset::asset)));
    endpoints
}

/// What is made for one visitor.
pub(super) fn made_ones() -> Vec<Endpoint<AppState>> {
    vec![
        endpoint(Method::POST, "/forms/login", post(sign_in::log_in)),
        endpoint(Method::POST, "/forms/signup", post(sign_in::sign_up)),
        endpoint(Method::GET, "/wait", get(wait::list)),
        endpoint(Method::GET, "/wait/{concertId}", get(wait::look)),
        endpoint(Method::POST, "/wait/{concertId}", post(wait::join)),
        endpoint(Method::POST, "/wait/{concertId}/leave", post(wait::leave)),
    ]
}

/// A page that is the same for everybody, in the visitor's language.
fn unchanging(state: &AppState, name: &str, request: &Request) -> Response {
    if let Some(switched) = switch_of(state, request.uri()) {
        return switched;
    }
    // The page is the same for all concerts, so it can't name the one that the visitor wants to wait for; its path does.
    if request.uri().query() == Some("plain")
        && let Some(concert) = request.uri().path().strip_prefix("/sale/").map(|id| format!("/wait/{id}"))
        && let Ok(location) = HeaderValue::try_from(concert)
    {
        return (StatusCode::SEE_OTHER, [(LOCATION, location), (CACHE_CONTROL, NO_STORE)]).into_response();
    }
    let Some(page) = state.pages.page(name, language::of(request.headers())) else {
        return Problem::new(ErrorCode::Internal).because("no such page").into_response();
    };
    // Asked for again each time, since the language may have changed; it costs a line where it has not.
    let mut response = page.answer(request.headers(), HeaderValue::from_static("private, no-cache"));
    dress(&mut response);
    response
}

/// What is typed by hand leads to the operators' pages.
async fn to_the_desk() -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, HeaderValue::from_static("/admin/"))]).into_response()
}

/// A page that was made for one visitor.
fn html(status: StatusCode, text: String) -> Response {
    let mut response = (status, [(CONTENT_TYPE, HTML), (CACHE_CONTROL, NO_STORE)], text).into_response();
    dress(&mut response);
    response
}

/// The headers of every page.
fn dress(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, REFERRER);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(PERMISSIONS.0, PERMISSIONS.1);
    headers.insert(VARY, VARIES);
}
