//! Everything that is not the queue's goes on to core-api.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use common::http::{REQUEST_ID_HEADER, UpstreamAnswer};
use common::problem::{ErrorCode, Problem};
use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method, StatusCode, Version};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use metrics::{counter, histogram};
use tower_http::timeout::{TimeoutBody, TimeoutError};

use super::client_address::{REAL_IP_HEADER, client_address};
use super::state::AppState;
use crate::metrics::{PROXIED, PROXY_DURATION};
use tokio::sync::OwnedSemaphorePermit;

/// The most that a body may have on its way through to somebody's own site.
const MAX_BODY_OF_SITE: usize = 1024 * 1024;
/// And to core-api, which takes no more: it would refuse in the middle of the body and hang up, and whoever is still
/// sending then may never see why.
const MAX_BODY: usize = 64 * 1024;
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
/// What only we may say to whoever is behind us.
const OURS_TO_SAY: [HeaderName; 8] = [
    FORWARDED,
    // By these some servers take another path or method for the request's own than the one that was judged.
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    HeaderName::from_static("x-http-method-override"),
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
        let allowed = [(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"))];
        return Ok((allowed, Problem::new(ErrorCode::MethodNotAllowed)).into_response());
    }
    let _slot = state.proxied.enter()?;
    // A stream outlives its request: it is counted with our own for as long as it is open.
    let stream = is_stream(request.uri().path()).then(|| state.streams.enter()).transpose()?;
    let request_id = request.headers().get(REQUEST_ID_HEADER).cloned();
    let client = client_address(request.headers(), peer, &state.config.trusted_proxies);
    let host = request.headers().get(HOST).cloned();
    clean_request(request.headers_mut());
    if let Some(host) = host.filter(|_| state.config.site.is_some()) {
        request.headers_mut().insert(HeaderName::from_static("x-forwarded-host"), host);
    }
    if let Ok(address) = HeaderValue::try_from(client.to_string()) {
        request.headers_mut().insert(HeaderName::from_static("x-forwarded-for"), address.clone());
        request.headers_mut().insert(REAL_IP_HEADER, address);
    }
    // Whatever `Connection` listed: the id goes through every hop.
    if let Some(id) = request_id {
        request.headers_mut().insert(REQUEST_ID_HEADER, id);
    }
    *request.version_mut() = Version::HTTP_11;

    let begun = Instant::now();
    let answered = pass_on(&state, request).await;
    note_passed_on(answered.as_ref().ok().map(Response::status), begun.elapsed());
    let answer = answered.map(pass_back)?;
    Ok(answer.map(|body| held_by(body, stream)))
}

/// Whether core-api answers a path with a stream of events.
fn is_stream(path: &str) -> bool {
    path.starts_with("/concerts/") && path.ends_with("/seats/events")
}

/// A body that keeps a place among the open streams until it ends.
fn held_by(body: Body, slot: Option<OwnedSemaphorePermit>) -> Body {
    match slot {
        Some(slot) => Body::new(body.map_frame(move |frame| {
            let _held = &slot;
            frame
        })),
        None => body,
    }
}

/// core-api's answer, as it comes.
async fn pass_on(state: &AppState, request: Request) -> Result<Response, Problem> {
    let max = if state.config.site.is_some() { MAX_BODY_OF_SITE } else { MAX_BODY };
    if held_length(&request, max)?.is_some() {
        Ok(state.core.send(hold(request).await?).await?)
    } else {
        let fault = BodyFault::default();
        let streamed = state.core.stream(request.map(|body| bounded(body, max, &fault))).await;
        streamed.map_err(|away| fault.problem().unwrap_or_else(|| away.into()))
    }
}

fn note_passed_on(status: Option<StatusCode>, elapsed: Duration) {
    let status = match status.map(|status| status.as_u16() / 100) {
        Some(1) => "1xx",
        Some(2) => "2xx",
        Some(3) => "3xx",
        Some(4) => "4xx",
        Some(_) => "5xx",
        None => "none",
    };
    counter!(PROXIED.name, "status" => status).increment(1);
    histogram!(PROXY_DURATION.name).record(elapsed);
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
fn held_length(request: &Request, max: usize) -> Result<Option<u64>, Problem> {
    let exact = http_body::Body::size_hint(request.body()).exact();
    match exact {
        Some(length) if length > max as u64 => Err(ErrorCode::PayloadTooLarge.into()),
        exact => Ok(exact.filter(|length| *length <= HELD_BODY)),
    }
}

async fn hold(request: Request) -> Result<Request<Bytes>, Problem> {
    let (parts, body) = request.into_parts();
    let collected = tokio::time::timeout(BODY_TIMEOUT, body.collect()).await.map_err(|_| ErrorCode::RequestTimeout)?;
    let bytes = collected.map_err(|error| Problem::new(ErrorCode::InvalidRequest).because(error))?.to_bytes();
    Ok(Request::from_parts(parts, bytes))
}

/// What was wrong with a body that was being streamed: a client's fault must not look like core-api's.
#[derive(Debug, Clone, Default)]
struct BodyFault(Arc<OnceLock<ErrorCode>>);

impl BodyFault {
    fn note(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) {
        let code = if error.is::<LengthLimitError>() {
            ErrorCode::PayloadTooLarge
        } else if error.is::<TimeoutError>() {
            ErrorCode::RequestTimeout
        } else {
            ErrorCode::InvalidRequest
        };
        // The first is the cause of those that follow.
        let _ = self.0.set(code);
    }

    fn problem(&self) -> Option<Problem> {
        self.0.get().map(|code| Problem::new(*code))
    }
}

fn bounded(body: Body, max: usize, fault: &BodyFault) -> Body {
    let fault = fault.clone();
    let limited = Limited::new(TimeoutBody::new(SILENCE_TIMEOUT, body), max);
    Body::new(limited.map_err(move |error| {
        fault.note(&*error);
        axum::Error::new(error)
    }))
}

fn pass_back(mut response: Response) -> Response {
    remove_hop_by_hop(response.headers_mut());
    // A refusal without a body is a server's own, made before anything could explain it: it is told as a problem.
    let unexplained = response.status().as_u16() >= 400 && !response.headers().contains_key(CONTENT_TYPE);
    if !unexplained {
        response.extensions_mut().insert(UpstreamAnswer);
    }
    response.map(|body| Body::new(TimeoutBody::new(SILENCE_TIMEOUT, body)))
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
