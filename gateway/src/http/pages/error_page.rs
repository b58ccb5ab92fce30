//! A refusal as a page: what happened, and where to go from here.

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use common::http::ToldOtherwise;
use common::language::Language;
use common::problem::{ErrorCode, Problem};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};

use super::template::escape;
use super::{HTML, NO_STORE, dress};
use crate::http::AppState;

/// Tells of a problem; `back` leads to where it can be tried again. Who asked too early, or in a bad moment, comes back by
/// themselves where `again` says so.
pub(super) fn tell(state: &AppState, language: Language, problem: &Problem, back: &str, again: bool) -> Response {
    let mut response = problem.clone().into_response();
    let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()).filter(|_| again);
    let head = wait.map(refresh_after).unwrap_or_default();
    let text = page(state, language, &problem.sentence(language), back, &head);
    let Ok(text) = text else {
        return Problem::new(ErrorCode::Internal).because("the page of an error can't be made").into_response();
    };
    response.extensions_mut().insert(ToldOtherwise);
    *response.body_mut() = Body::from(text);
    response.headers_mut().insert(CONTENT_TYPE, HTML);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    dress(&mut response);
    response
}

/// The page around a sentence.
pub(super) fn page(
    state: &AppState,
    language: Language,
    sentence: &str,
    back: &str,
    head: &str,
) -> anyhow::Result<String> {
    let text = |name: &str| escape(state.pages.text(language, name).unwrap_or_default());
    let title = state.pages.text(language, "title.error").unwrap_or_default();
    let main = format!(
        "<h1>{}</h1>\n<p class=\"notice bad\" role=\"alert\">{}</p>\n\
         <p><a class=\"button\" href=\"{}\">{}</a> <a href=\"/\">{}</a></p>",
        escape(title),
        escape(sentence),
        escape(back),
        text("error.again"),
        text("nav.home"),
    );
    state.pages.framed(language, title, head, &main)
}

/// What makes a browser ask again by itself.
pub(super) fn refresh_after(seconds: impl std::fmt::Display) -> String {
    format!("<meta http-equiv=\"refresh\" content=\"{seconds}\">\n")
}
