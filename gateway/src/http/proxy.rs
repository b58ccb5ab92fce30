//! Everything that is not the queue's goes on to core-api.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use common::http::UpstreamAnswer;
use common::problem::{ErrorCode, Problem};
use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, Version};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tower_http::timeout::TimeoutBody;

use super::client_address::{REAL_IP_HEADER, client_address};
use super::state::AppState;

/// The most that a body may have on its way through.
const MAX_BODY: usize = 1024 * 1024;
/// Up to this size a body is taken in before it is sent, so that it can be sent to another replica.
const HELD_BODY: u64 = 64 * 1024;
/// How long a client may take to send such a body, and how long either side may fall silent in the middle of one.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const SILENCE_TIMEOUT: Duration = Duration::from_mins(1);

/// Meant for one hop only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// What only we may say to core-api.
const OURS_TO_SAY: [HeaderName; 5] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    REAL_IP_HEADER,
];

/// Passes a request on and its answer back, which is streamed.
pub(super) async fn proxy(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Result<Response, Problem> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(ErrorCode::MethodNotAllowed.into());
    }
    let client = client_address(request.headers(), peer, &state.config.trusted_proxies);
    clean_request(request.headers_mut());
    if let Ok(address) = HeaderValue::try_from(client.to_string()) {
        request.headers_mut().insert(REAL_IP_HEADER, address);
    }
    *request.version_mut() = Version::HTTP_11;

    let response = match held_length(&request)? {
        Some(_) => state.core.send(hold(request).await?).await?,
        None => state.core.stream(request.map(bounded)).await?,
    };
    Ok(pass_back(response))
}

fn clean_request(headers: &mut HeaderMap) {
    remove_hop_by_hop(headers);
    for name in OURS_TO_SAY {
        headers.remove(name);
    }
    // The client's authority is nginx's business; core-api is addressed by its own.
    headers.remove(HOST);
}

/// Removes what is meant for one hop, `Connection`'s own list included.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in listed.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The length of a body that is small enough to be held; `None` where it has to be streamed.
fn held_length(request: &Request) -> Result<Option<u64>, Problem> {
    let exact = http_body::Body::size_hint(request.body()).exact();
    match exact {
        Some(length) if length > MAX_BODY as u64 => Err(ErrorCode::PayloadTooLarge.into()),
        exact => Ok(exact.filter(|length| *length <= HELD_BODY)),
    }
}

async fn hold(request: Request) -> Result<Request<Bytes>, Problem> {
    let (parts, body) = request.into_parts();
    let collected = tokio::time::timeout(BODY_TIMEOUT, body.collect()).await.map_err(|_| ErrorCode::RequestTimeout)?;
    let bytes = collected.map_err(|error| Problem::new(ErrorCode::InvalidRequest).because(error))?.to_bytes();
    Ok(Request::from_parts(parts, bytes))
}

fn bounded(body: Body) -> Body {
    let limited = Limited::new(body, MAX_BODY).map_err(|error| match error.downcast::<LengthLimitError>() {
        Ok(error) => axum::Error::new(error),
        Err(error) => axum::Error::new(error),
    });
    Body::new(TimeoutBody::new(SILENCE_TIMEOUT, limited))
}

fn pass_back(mut response: Response) -> Response {
    let streamed = !response.headers().contains_key(CONTENT_LENGTH);
    remove_hop_by_hop(response.headers_mut());
    response.extensions_mut().insert(UpstreamAnswer);
    if streamed { response.map(|body| Body::new(TimeoutBody::new(SILENCE_TIMEOUT, body))) } else { response }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_for_one_hop_or_ours_to_say_does_not_get_through() {
        let mut headers: HeaderMap = [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("host", "evil"),
            ("accept", "*/*"),
            ("idempotency-key", "k"),
        ]
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
        clean_request(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "idempotency-key"]);
    }
}
