//! Files as they lie in memory: compressed once, told apart by what is in them.

use std::io::Write as _;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use common::problem::{ErrorCode, Problem};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, StatusCode};
use sha2::{Digest as _, Sha256};

use super::super::state::AppState;
use super::colours;

/// A file in both its forms.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    kind: HeaderValue,
    plain: Bytes,
    compressed: Bytes,
    hash: String,
}

impl Stored {
    /// Compresses it, as small as can be: that is done once.
    pub(super) fn new(kind: &'static str, text: String) -> anyhow::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(text.as_bytes())?;
        let hash = hash_of(text.as_bytes());
        let compressed = encoder.finish()?.into();
        Ok(Self { kind: HeaderValue::from_static(kind), plain: text.into(), compressed, hash })
    }

    /// The file for whoever sent these headers; 304 where they have it.
    pub(super) fn answer(&self, headers: &HeaderMap, cached: HeaderValue) -> Response {
        let is_compressed = takes_gzip(headers);
        let tag = format!("\"{}{}\"", self.hash, if is_compressed { "-gz" } else { "" });
        let known = headers.get(IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
        let mut response = if known.is_some_and(|tags| tags.contains(&self.hash)) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if is_compressed {
            let encoding = [(CONTENT_ENCODING, HeaderValue::from_static("gzip"))];
            (encoding, self.compressed.clone()).into_response()
        } else {
            self.plain.clone().into_response()
        };
        let answer = response.headers_mut();
        answer.insert(CONTENT_TYPE, self.kind.clone());
        answer.insert(CACHE_CONTROL, cached);
        answer.insert(VARY, HeaderValue::from_static("accept-encoding"));
        answer.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Ok(tag) = HeaderValue::try_from(tag) {
            answer.insert(ETAG, tag);
        }
        response
    }
}

/// What names a content, in a few characters.
pub(super) fn hash_of(content: &[u8]) -> String {
    hex::encode(&Sha256::digest(content)[..8])
}

/// Whether gzip is among what a client takes; it is where it is named and not refused by a weight of zero.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        named && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// `GET /assets/{version}/{language}/{file}`. The version is in the address, so a file is good for ever. Another version
/// than this process has is asked for while a new one is being rolled out: then what there is here is given, since a page
/// without its scripts is worth nothing, and nobody keeps it.
pub(super) async fn asset(
    State(state): State<AppState>,
    Path((version, language, file)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cached = if version == state.pages.version() { "public, max-age=31536000, immutable" } else { "no-store" };
    let cached = HeaderValue::from_static(cached);
    if let Some(stylesheet) = colours::stylesheet(&language, &file, cached.clone()) {
        return Ok(stylesheet);
    }
    let file = state.pages.asset(&language, &file).ok_or(ErrorCode::NotFound)?;
    Ok(file.answer(&headers, cached))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_goes_to_who_takes_it() {
        for (sent, takes) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("deflate, gzip", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("br", false),
            ("", false),
        ] {
            let headers: HeaderMap = [(ACCEPT_ENCODING, HeaderValue::from_static(sent))].into_iter().collect();
            assert_eq!(takes_gzip(&headers), takes, "{sent}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
