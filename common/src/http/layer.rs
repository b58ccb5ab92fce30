//! The outermost layer of both services: gives each request its id, writes the body of each failure, and logs one line
//! per request.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use super::measure;
use super::request_id::{REQUEST_ID_HEADER, RequestId};
use super::unread::Unread;
use crate::language::Language;
use crate::problem::{ErrorCode, Problem};

/// The most header lines that a request may have.
pub const MAX_HEADERS: usize = 100;

/// Marks a response that came from an upstream: its body is the upstream's own and is passed on untouched.
#[derive(Debug, Clone, Copy)]
pub struct UpstreamAnswer;

/// Marks a failure that is told in another form than a problem body, such as a page: its body is passed on untouched.
#[derive(Debug, Clone, Copy)]
pub struct ToldOtherwise;

/// Middleware, outermost: request id, problem bodies, the end of what was refused unread, the request's log line.
pub async fn finish(request: Request, next: Next) -> Response {
    // The route, not the path: ids in a path would make every line its own kind.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("(proxied or unknown)", MatchedPath::as_str);
    around(request, route, |request| next.run(request)).await
}

/// What [`finish`] does around whatever answers the request.
pub async fn around<F: Future<Output = Response>>(
    mut request: Request,
    route: &str,
    answer: impl FnOnce(Request) -> F,
) -> Response {
    let started = Instant::now();
    let request_id = RequestId::from_headers(request.headers());
    let language = Language::from_headers(request.headers());
    let method = request.method().clone();
    request.headers_mut().insert(REQUEST_ID_HEADER, request_id.header_value());
    request.extensions_mut().insert(request_id.clone());

    let (request, unread) = Unread::of(request);
    let mut response = if request.headers().len() > MAX_HEADERS {
        Problem::new(ErrorCode::HeadersTooLarge).into_response()
    } else {
        answer(request).await
    };

    if let Some(problem) = problem_of(&response) {
        if response.extensions().get::<ToldOtherwise>().is_none() {
            write_body(&mut response, &problem, language, request_id.as_str());
        }
        log_problem(&problem, &method, route, request_id.as_str());
    }
    if let Some(unread) = unread
        && !unread.read_over(response.status()).await
    {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.headers_mut().insert(REQUEST_ID_HEADER, request_id.header_value());
    measure::note(route, response.status(), started.elapsed());
    tracing::info!(
        target: "request",
        request_id = request_id.as_str(),
        %method,
        route,
        status = response.status().as_u16(),
        elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

/// The failure to tell: a handler's, or one that axum or a library answered in its own form.
fn problem_of(response: &Response) -> Option<Problem> {
    if let Some(problem) = response.extensions().get::<Problem>() {
        return Some(problem.clone());
    }
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let told = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
    (failed && !told && response.extensions().get::<UpstreamAnswer>().is_none())
        .then(|| Problem::new(ErrorCode::for_status(status)))
}

fn write_body(response: &mut Response, problem: &Problem, language: Language, request_id: &str) {
    let body = serde_json::to_vec(&problem.body(language, request_id)).unwrap_or_default();
    *response.status_mut() = problem.code().status();
    let headers = response.headers_mut();
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CONTENT_LANGUAGE, HeaderValue::from_static(language.tag()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::from(body);
}

fn log_problem(problem: &Problem, method: &Method, route: &str, request_id: &str) {
    let (error, cause) = (problem.code().as_str(), problem.cause().unwrap_or_default());
    measure::note_problem(error);
    match problem.code().status() {
        StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::error!(request_id, %method, route, error, cause, "request failed");
        }
        // One line a second: whoever is overloaded must not spend what is left on saying so.
        status if status.is_server_error() => {
            if let Some(more) = UNSERVED.take_turn() {
                tracing::warn!(request_id, %method, route, error, cause, more, "request could not be served");
            }
        }
        _ => tracing::debug!(request_id, %method, route, error, cause, "request refused"),
    }
}

/// Requests that could not be served, told once a second.
static UNSERVED: OncePerSecond = OncePerSecond { told_in: AtomicU64::new(u64::MAX), untold: AtomicU64::new(0) };

/// Lets one event in each second of the process's life through, and counts the others.
struct OncePerSecond {
    told_in: AtomicU64,
    untold: AtomicU64,
}

impl OncePerSecond {
    /// How many events since the last turn were not told, if this one may be.
    fn take_turn(&self) -> Option<u64> {
        static STARTED: OnceLock<Instant> = OnceLock::new();
        let second = STARTED.get_or_init(Instant::now).elapsed().as_secs();
        if self.told_in.swap(second, Ordering::Relaxed) == second {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.untold.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_failures_is_one_line_a_second_with_their_number() {
        let turns = OncePerSecond { told_in: AtomicU64::new(u64::MAX), untold: AtomicU64::new(0) };
        assert_eq!(turns.take_turn(), Some(0));
        let told = (0..1_000).filter(|_| turns.take_turn().is_some()).count();
        assert!(told <= 2, "{told}");
        turns.told_in.store(u64::MAX - 1, Ordering::Relaxed);
        assert!(turns.take_turn().is_some());
    }

    #[tokio::test]
    async fn too_many_headers_are_refused_with_a_reason() {
        let app =
            axum::Router::new().route("/", axum::routing::get(|| async {})).layer(axum::middleware::from_fn(finish));
        let mut request = http::Request::builder().uri("/");
        for number in 0..=MAX_HEADERS {
            request = request.header(format!("x-{number}"), "1");
        }
        let response = tower::ServiceExt::oneshot(app, request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
    }
}
