//! Which language a page is in: the one that was switched to, else the one that is asked for.

use axum::response::{IntoResponse as _, Response};
use common::http::cookie;
use common::language::Language;
use http::header::{CACHE_CONTROL, HeaderValue, LOCATION, SET_COOKIE};
use http::{HeaderMap, StatusCode, Uri};

use super::NO_STORE;
use crate::http::AppState;

const COOKIE: &str = "Language";

/// The visitor's language.
pub(super) fn of(headers: &HeaderMap) -> Language {
    cookie(headers, COOKIE).as_deref().and_then(named).unwrap_or_else(|| Language::from_headers(headers))
}

/// The language with this tag.
pub(super) fn named(tag: &str) -> Option<Language> {
    [Language::Korean, Language::English].into_iter().find(|language| language.tag() == tag)
}

/// The one that a page offers to switch to.
pub(super) fn other(language: Language) -> Language {
    match language {
        Language::Korean => Language::English,
        Language::English => Language::Korean,
    }
}

/// With `?lang=` a page is asked for in that language from now on: the way back to it, which remembers that.
pub(super) fn switch_of(state: &AppState, uri: &Uri) -> Option<Response> {
    let pairs = uri.query()?.split('&');
    let (asked, others): (Vec<_>, Vec<_>) = pairs.partition(|pair| pair.starts_with("lang="));
    let language = named(asked.first()?.strip_prefix("lang=")?)?;
    let back = if others.is_empty() { uri.path().to_owned() } else { format!("{}?{}", uri.path(), others.join("&")) };
    let headers = [
        (LOCATION, HeaderValue::try_from(back).ok()?),
        (SET_COOKIE, state.config.cookies.preference(COOKIE, language.tag())),
        (CACHE_CONTROL, NO_STORE),
    ];
    Some((StatusCode::SEE_OTHER, headers).into_response())
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT_LANGUAGE, COOKIE as COOKIE_HEADER};

    use super::*;

    #[test]
    fn the_switch_comes_before_what_the_browser_asks_for() {
        let headers = |cookie: &'static str| -> HeaderMap {
            let asked = HeaderValue::from_static("en");
            [(ACCEPT_LANGUAGE, asked), (COOKIE_HEADER, HeaderValue::from_static(cookie))].into_iter().collect()
        };
        assert_eq!(of(&headers("Language=ko")), Language::Korean);
        assert_eq!(of(&headers("Language=fr")), Language::English);
        assert_eq!(of(&headers("x=1")), Language::English);
    }
}
