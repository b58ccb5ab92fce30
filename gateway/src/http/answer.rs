//! What clients of the queue are told: `{token, status, queueInfo, admission?}`.

use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339;
use common::ids::ConcertId;
use common::language::Language;
use http::header::{CACHE_CONTROL, HeaderValue, SET_COOKIE};
use serde::Serialize;

use super::state::AppState;
use crate::domain::{Lease, Outlook, WaitEstimate};

/// How often someone may ask who is not in line: inside, there is little to learn; gone, nothing.
pub(super) const POLL_AFTER_INSIDE_MS: u64 = 10_000;
pub(super) const POLL_AFTER_END_MS: u64 = 30_000;

/// A standing as clients see it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueAnswer {
    pub(super) token: String,
    pub(super) status: &'static str,
    pub(super) queue_info: QueueInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) admission: Option<Admission>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueInfo {
    concert_id: ConcertId,
    pub(super) position: u32,
    pub(super) ahead: u32,
    wait_time: String,
    wait_seconds: u64,
    pub(super) wait_seconds_low: u64,
    pub(super) wait_seconds_high: u64,
    poll_after_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    outlook: Option<Outlook>,
    /// True while nobody is let in for now; missing otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) paused: Option<bool>,
    /// False until the draw has dealt the position; missing otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) drawn: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Admission {
    #[serde(serialize_with = "serialize_rfc3339")]
    expires_at: DateTime<Utc>,
    pub(super) expires_in_seconds: u64,
}

impl From<Lease> for Admission {
    fn from(lease: Lease) -> Self {
        Self { expires_at: lease.ends_at, expires_in_seconds: lease.remaining_seconds }
    }
}

impl QueueInfo {
    /// Of someone in line.
    pub(super) fn waiting(
        concert_id: ConcertId,
        (position, ahead): (u32, u32),
        wait: WaitEstimate,
        poll_after_ms: u64,
        language: Language,
    ) -> Self {
        Self {
            concert_id,
            position,
            ahead,
            wait_time: language.duration(wait.expected_seconds),
            wait_seconds: wait.expected_seconds,
            wait_seconds_low: wait.low_seconds,
            wait_seconds_high: wait.high_seconds,
            poll_after_ms,
            outlook: None,
            paused: None,
            drawn: None,
        }
    }

    /// With what they can expect.
    pub(super) fn with_outlook(self, outlook: Option<Outlook>) -> Self {
        Self { outlook, ..self }
    }

    /// With whether nobody is let in for now.
    pub(super) fn with_pause(self, is_paused: bool) -> Self {
        Self { paused: is_paused.then_some(true), ..self }
    }

    /// Of someone who takes part in a draw: their position is only an entry yet.
    pub(super) fn undrawn(self) -> Self {
        Self { drawn: Some(false), ..self }
    }

    /// Of someone who is not in line, or no longer.
    pub(super) fn not_waiting(concert_id: ConcertId, position: u32, poll_after_ms: u64, language: Language) -> Self {
        Self::waiting(concert_id, (position, 0), WaitEstimate::NONE, poll_after_ms, language)
    }
}

impl QueueAnswer {
    /// How soon to ask again.
    pub(super) fn poll_after_ms(&self) -> u64 {
        self.queue_info.poll_after_ms
    }

    /// What it says, in a few characters: two answers with the same summary tell nothing new.
    pub(super) fn summary(&self) -> String {
        let QueueInfo { position, ahead, outlook, paused, drawn, .. } = &self.queue_info;
        let end = self.admission.as_ref().map_or(0, |admission| admission.expires_at.timestamp());
        let outlook = outlook.map_or("", Outlook::as_str);
        let paused = if paused.is_some() { "-paused" } else { "" };
        let undrawn = if drawn.is_some() { "-undrawn" } else { "" };
        format!("{}-{position}-{ahead}-{end}-{outlook}{paused}{undrawn}", self.status)
    }

    /// The answer with the cookie that hands over its token. Never cached: it is one person's, at one moment.
    pub(super) fn with_cookie(self, state: &AppState) -> Response {
        let cookie = state.config.cookies.queue_token(&self.token);
        self.answer(cookie)
    }

    /// The answer with the cookie that takes the token back.
    pub(super) fn clearing_cookie(self, state: &AppState) -> Response {
        self.answer(state.config.cookies.clear_queue_token())
    }

    fn answer(self, cookie: HeaderValue) -> Response {
        ([(CACHE_CONTROL, HeaderValue::from_static("no-store")), (SET_COOKIE, cookie)], axum::Json(self))
            .into_response()
    }
}
