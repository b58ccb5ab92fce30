//! Logos of organisers.

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use common::ids::ConcertId;
use common::problem::{ErrorCode, Problem};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use crate::state::AppState;

/// What it is stands in its address.
const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// A picture and nothing that runs, whatever a browser takes it for.
const PICTURE_ONLY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");

/// `GET /concerts/{concertId}/logo/{version}`: the file, as long as it is the concert's.
pub(super) async fn logo(
    State(state): State<AppState>,
    Path((concert, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let no_id = |_| Problem::invalid("올바른 UUID가 아닙니다.", "That is not a UUID.");
    let concert: ConcertId = concert.parse().map_err(no_id)?;
    let concerts = state.catalogue.concerts().await?;
    let known = concerts.concert(concert).and_then(|concert| concert.branding.logo.as_ref());
    let logo = known.filter(|logo| logo.version == version).ok_or(ErrorCode::NotFound)?;
    let file = state.catalogue.logo(concert, &logo.version).await?.ok_or(ErrorCode::NotFound)?;
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(logo.kind.media_type())),
        (CACHE_CONTROL, FOR_GOOD),
        (CONTENT_SECURITY_POLICY, PICTURE_ONLY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, file).into_response())
}
