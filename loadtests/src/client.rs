//! One HTTP request of a visitor, measured.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use reqwest::{Method, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::retry::parse_retry_after;
use crate::stats::micros;

/// The seats of the largest hall (20,000) take about 3 MB.
const BODY_MAX_BYTES: usize = 16 << 20;
/// Shorter than nginx's own keep-alive (65 s), so that a request doesn't meet a closing connection.
const IDLE_CONNECTION: Duration = Duration::from_secs(30);

/// A pool of connections to one origin, with a limit on the requests in flight.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    origin: String,
    in_flight: Semaphore,
    waited: AtomicU64,
    waited_max_micros: AtomicU64,
}

/// Requests that had to wait until others were answered, as no more may be in flight.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WaitedInFlight {
    pub(crate) requests: u64,
    pub(crate) longest: Duration,
}

/// What is sent. Made anew for each attempt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// Path and query, such as `/concerts?page=1`.
    pub(crate) path: &'a str,
    /// The user session, sent as a bearer token.
    pub(crate) session: Option<&'a str>,
    /// The newest ticket or pass.
    pub(crate) queue_token: Option<&'a str>,
    pub(crate) idempotency_key: Option<&'a str>,
    /// JSON.
    pub(crate) body: Option<String>,
}

/// What came back, whatever its status.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The advice of `Retry-After`, if there was any.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) request_id: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NoAnswer {
    Connect,
    Timeout,
    /// The connection ended before the answer did.
    Broken,
    TooLarge,
}

impl NoAnswer {
    /// A short name for tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connection refused",
            Self::Timeout => "timeout",
            Self::Broken => "connection broken",
            Self::TooLarge => "answer too large",
        }
    }
}

/// The part of a problem (RFC 9457) that programs look at.
#[derive(Debug, Deserialize)]
struct Problem {
    error: String,
}

impl Answer {
    pub(crate) fn is_ok(&self) -> bool {
        self.status == 200
    }

    /// The stable code of a problem; empty when the body is none.
    pub(crate) fn error(&self) -> String {
        serde_json::from_slice::<Problem>(&self.body).map(|problem| problem.error).unwrap_or_default()
    }

    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.body).with_context(|| format!("an answer of another form: {}", self.excerpt()))
    }

    /// One line for a human. An answer that holds a token is never shown.
    pub(crate) fn describe(&self) -> String {
        let id = self.request_id.as_deref().unwrap_or("none");
        let shown = if self.is_ok() { String::new() } else { self.excerpt() };
        format!("{} {shown} (request id {id})", self.status)
    }

    fn excerpt(&self) -> String {
        if self.is_ok() {
            return format!("{} bytes", self.body.len());
        }
        String::from_utf8_lossy(&self.body).chars().take(300).collect()
    }
}

impl Client {
    /// `requests_max` requests may be in flight; more of them wait, and their wait counts as latency.
    pub(crate) fn new(origin: String, timeout: Duration, requests_max: usize) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .pool_max_idle_per_host(requests_max)
            .pool_idle_timeout(IDLE_CONNECTION)
            .timeout(timeout)
            .user_agent("onsale-loadtests")
            .build()?;
        Ok(Self {
            http,
            origin,
            in_flight: Semaphore::new(requests_max),
            waited: AtomicU64::new(0),
            waited_max_micros: AtomicU64::new(0),
        })
    }

    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    pub(crate) async fn send(&self, request: &Request<'_>) -> Result<Answer, NoAnswer> {
        let _permit = self.turn().await?;
        let mut builder = self.http.request(request.method.clone(), format!("{}{}", self.origin, request.path));
        if let Some(session) = request.session {
            builder = builder.bearer_auth(session);
        }
        if let Some(token) = request.queue_token {
            builder = builder.header("X-Queue-Token", token);
        }
        if let Some(key) = request.idempotency_key {
            builder = builder.header("Idempotency-Key", key);
        }
        if let Some(body) = &request.body {
            builder = builder.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        let response = builder.send().await.map_err(|error| no_answer(&error))?;
        read(response).await
    }

    /// A place among the requests in flight.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, NoAnswer> {
        if let Ok(permit) = self.in_flight.try_acquire() {
            return Ok(permit);
        }
        let since = Instant::now();
        let permit = self.in_flight.acquire().await.map_err(|_| NoAnswer::Connect)?;
        self.waited.fetch_add(1, Ordering::Relaxed);
        self.waited_max_micros.fetch_max(micros(since.elapsed()), Ordering::Relaxed);
        Ok(permit)
    }

    pub(crate) fn waited_in_flight(&self) -> WaitedInFlight {
        WaitedInFlight {
            requests: self.waited.load(Ordering::Relaxed),
            longest: Duration::from_micros(self.waited_max_micros.load(Ordering::Relaxed)),
        }
    }

    /// GETs `path` and insists on 200, for what a scenario needs before it starts.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let request = Request { path, ..Request::default() };
        let answer =
            self.send(&request).await.map_err(|why| anyhow::anyhow!("GET {}{path}: {}", self.origin, why.name()))?;
        anyhow::ensure!(answer.is_ok(), "GET {}{path}: {}", self.origin, answer.describe());
        answer.json().with_context(|| format!("GET {}{path}", self.origin))
    }
}

async fn read(mut response: reqwest::Response) -> Result<Answer, NoAnswer> {
    let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let retry_after = text(header::RETRY_AFTER.as_str()).and_then(|value| parse_retry_after(&value, Utc::now()));
    let request_id = text("x-request-id");
    let status: StatusCode = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error))? {
        if body.len() + chunk.len() > BODY_MAX_BYTES {
            return Err(NoAnswer::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: status.as_u16(), retry_after, request_id, body })
}

fn no_answer(error: &reqwest::Error) -> NoAnswer {
    if error.is_timeout() {
        NoAnswer::Timeout
    } else if error.is_connect() {
        NoAnswer::Connect
    } else {
        NoAnswer::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, request_id: Some("r-1".to_owned()), body: body.into() }
    }

    #[test]
    fn a_problem_is_known_by_its_code() {
        assert_eq!(answer(409, r#"{"error":"seat_taken","code":409}"#).error(), "seat_taken");
        assert_eq!(answer(502, "<html>").error(), "");
    }

    #[test]
    fn a_success_is_never_printed_as_it_may_hold_a_token() {
        let secret = answer(200, r#"{"token":"secret"}"#);
        assert!(!secret.describe().contains("secret"));
        assert!(!format!("{:#}", secret.json::<u8>().unwrap_err()).contains("secret"));
        assert!(answer(400, "why").describe().contains("why"));
    }
}
