//! Extractors whose refusals are problems: bodies, path ids, queries.

use std::str::FromStr;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::problem::{ErrorCode, Problem};

/// How long a body may take to arrive, counted from the end of the head. Bodies are small: who needs longer has stalled.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(8);

/// A JSON body, and the bytes it was read from.
///
/// Refuses as [`JsonBytes`] and [`JsonBytes::read`] do.
#[derive(Debug, Clone)]
pub struct Json<T> {
    /// What the body says.
    pub value: T,
    /// The body as it came, for what has to know whether two requests are the same.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let JsonBytes(bytes) = JsonBytes::from_request(request, state).await?;
        let value = read(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// A body that is sent as JSON, not read yet: for what has to look at a request's credentials or key before it judges
/// the body.
///
/// Refuses with 415 for another content type, 413 over the router's body limit, 408 for one that does not arrive
/// within [`BODY_TIMEOUT`].
#[derive(Debug, Clone)]
pub struct JsonBytes(pub Bytes);

impl JsonBytes {
    /// What the body says; 400 `malformed_json` for what is no JSON, 400 `invalid_request` for JSON of another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        read(&self.0)
    }
}

impl<S: Send + Sync> FromRequest<S> for JsonBytes {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(&request) {
            return Err(ErrorCode::UnsupportedMediaType.into());
        }
        tokio::time::timeout(BODY_TIMEOUT, Bytes::from_request(request, state))
            .await
            .map_err(|_| ErrorCode::RequestTimeout)?
            .map(Self)
            .map_err(|rejection| Problem::new(ErrorCode::for_status(rejection.status())).because(rejection))
    }
}

fn is_json(request: &Request) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.len() > 17 && essence[..12].eq_ignore_ascii_case("application/") && essence.ends_with("+json"))
}

/// Reads an object. A list is refused before serde sees it, since serde would read one as a struct's fields in order.
fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        match serde_json::from_slice(bytes) {
            Ok(value) => return Ok(value),
            // Reading stops at the first value of the wrong kind, and what follows may still be no JSON at all. The
            // error itself does not tell: serde_json calls a number where a name was wanted a syntax error.
            Err(error) => {
                return Err(
                    syntax_error(bytes).unwrap_or_else(|| invalid(&with_path::<T>(bytes).unwrap_or(error.to_string())))
                );
            }
        }
    }
    Err(syntax_error(bytes).unwrap_or_else(|| invalid(&"the body must be a JSON object")))
}

/// What is wrong with which field. Read once more for it: keeping track of the path costs those that are fine.
fn with_path<T: DeserializeOwned>(bytes: &[u8]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize::<_, T>(&mut json).err().map(|error| error.to_string())
}

fn syntax_error(bytes: &[u8]) -> Option<Problem> {
    serde_json::from_slice::<IgnoredAny>(bytes).err().map(|error| malformed(&error))
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(ErrorCode::MalformedJson).saying(
        format!("요청 본문이 올바른 JSON이 아닙니다: {error}"),
        format!("The request body is not valid JSON: {error}"),
    )
}

/// 400 `invalid_request` with the reason that a parser gave.
fn invalid(reason: &dyn std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::InvalidRequest).saying(
        format!("요청 값이 올바르지 않습니다: {reason}"),
        format!("A value in the request is not valid: {reason}"),
    )
}

/// The one id in the path; 400 `invalid_request` where it is no id.
#[derive(Debug, Clone, Copy)]
pub struct PathId<T>(pub T);

impl<T, S> FromRequestParts<S> for PathId<T>
where
    T: FromStr<Err: std::fmt::Display>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text) =
            Path::<String>::from_request_parts(parts, state).await.map_err(|rejection| invalid(&rejection))?;
        text.parse().map(Self).map_err(|error| invalid(&error))
    }
}

/// The query's parameters; 400 `invalid_request` where one is missing or of the wrong kind.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::<T>::from_request_parts(parts, state)
            .await
            .map(|query| Self(query.0))
            .map_err(|rejection| invalid(&rejection.body_text()))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;

    use super::*;
    use crate::ids::SeatId;

    #[derive(Debug, Deserialize)]
    struct Wanted {
        #[serde(rename = "seatId")]
        _seat_id: SeatId,
    }

    async fn refusal_of(content_type: &str, body: &str) -> ErrorCode {
        let request = Request::builder().header(CONTENT_TYPE, content_type).body(Body::from(body.to_owned())).unwrap();
        Json::<Wanted>::from_request(request, &()).await.unwrap_err().code()
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_not_waited_for() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let request = Request::builder().header(CONTENT_TYPE, "application/json").body(body).unwrap();
        assert_eq!(JsonBytes::from_request(request, &()).await.unwrap_err().code(), ErrorCode::RequestTimeout);
    }

    #[tokio::test]
    async fn each_kind_of_bad_body_has_its_code() {
        for (kind, body, code) in [
            ("text/plain", "{}", ErrorCode::UnsupportedMediaType),
            ("application/jsonx", "{}", ErrorCode::UnsupportedMediaType),
            ("application/json", "", ErrorCode::MalformedJson),
            ("application/json", "{\"seatId\":", ErrorCode::MalformedJson),
            ("application/json", "{\"seatId\":NaN}", ErrorCode::MalformedJson),
            ("application/json; charset=utf-8", "{}", ErrorCode::InvalidRequest),
            ("APPLICATION/JSON", "{\"seatId\":7}", ErrorCode::InvalidRequest),
            ("application/json", "[]", ErrorCode::InvalidRequest),
            ("application/json", "[\"0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20\"]", ErrorCode::InvalidRequest),
            ("application/json", "{\"seatId\":7", ErrorCode::MalformedJson),
            ("application/json", "{\"seatId\":\"7\"}", ErrorCode::InvalidRequest),
        ] {
            assert_eq!(refusal_of(kind, body).await, code, "{kind} {body}");
        }
        assert_eq!(refusal_of("application/json", &"[".repeat(100_000)).await, ErrorCode::MalformedJson);
    }
}
