//! The seats of a concert.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use common::http::PathId;
use common::ids::ConcertId;
use common::problem::{ErrorCode, Problem};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::state::AppState;

/// `GET /concerts/{concertId}/seats`: all of them, or 304 where the client has them already.
pub(super) async fn list(
    State(state): State<AppState>,
    PathId(concert): PathId<ConcertId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if state.catalogue.concerts().await?.concert(concert).is_none() {
        return Err(ErrorCode::NotFound.into());
    }
    let seats = state.catalogue.seat_list(concert).await?;
    let gzip = accepts_gzip(&headers);
    let known = [true, false].iter().any(|form| matches(&headers, &seats.etag(*form)));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else if gzip {
        ([(CONTENT_ENCODING, "gzip"), (CONTENT_TYPE, "application/json")], seats.gzip().await).into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], seats.json()).into_response()
    };
    let headers = response.headers_mut();
    // Hexadecimal digits and quotes: always a valid header.
    headers.insert(ETAG, HeaderValue::try_from(seats.etag(gzip)).unwrap_or(HeaderValue::from_static("\"\"")));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    Ok(response)
}

/// Whether gzip is among the accepted codings and not refused by a weight of zero (RFC 9110, 12.5.3).
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
        let refused = parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0_f32)));
        named && !refused
    })
}

/// Whether `If-None-Match` names `etag`, by weak comparison (RFC 9110, 13.1.2).
fn matches(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codings_and_tags_are_read_as_the_standard_says() {
        let with = |name, value: &str| HeaderMap::from_iter([(name, HeaderValue::try_from(value).unwrap())]);
        for (value, gzip) in
            [("gzip", true), ("br, GZIP;q=0.5", true), ("*", true), ("gzip;q=0", false), ("br", false), ("", false)]
        {
            assert_eq!(accepts_gzip(&with(ACCEPT_ENCODING, value)), gzip, "{value}");
        }
        for (value, known) in [("\"a\"", true), ("\"b\", W/\"a\"", true), ("*", true), ("\"b\"", false), ("a", false)] {
            assert_eq!(matches(&with(IF_NONE_MATCH, value), "\"a\""), known, "{value}");
        }
    }
}
