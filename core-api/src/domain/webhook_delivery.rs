//! Delivering events: what is sent, what came of it, and when it is tried again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::clock::rfc3339;
use common::ids::{EventId, WebhookId};
use serde::Serialize;
use serde_json::value::RawValue;

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its id, the same in every attempt.
    pub id: EventId,
    /// Its type, `reservation.held`.
    pub kind: String,
    /// Its place: of two events of one reservation the later one has the higher number.
    pub sequence: i64,
    /// When it happened.
    pub created_at: DateTime<Utc>,
    /// What it tells, JSON.
    pub data: String,
}

impl Event {
    /// The body that is delivered; `None` where the data is no JSON.
    pub fn body(&self) -> Option<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'a> {
            id: EventId,
            #[serde(rename = "type")]
            kind: &'a str,
            created_at: String,
            sequence: i64,
            data: &'a RawValue,
        }
        let data = serde_json::from_str(&self.data).ok()?;
        let (created_at, sequence) = (rfc3339(self.created_at), self.sequence);
        serde_json::to_vec(&Body { id: self.id, kind: &self.kind, created_at, sequence, data }).ok()
    }
}

/// An event that is this process's to deliver, for as long as its lease lasts.
#[derive(Debug, Clone)]
pub struct Claim {
    /// To whom.
    pub webhook: WebhookId,
    /// Where.
    pub url: String,
    /// The secret, sealed, and the one before it while that one is good.
    pub sealed_secrets: Vec<Vec<u8>>,
    /// What.
    pub event: Event,
    /// Which attempt this is, from 1; a later one has taken over once it differs.
    pub attempt: i32,
    /// Since when it has been waiting.
    pub queued_at: DateTime<Utc>,
    /// The database's time when it was claimed.
    pub now: DateTime<Utc>,
}

/// An event that could not be delivered.
#[derive(Debug)]
pub struct DeadLetter {
    /// Which.
    pub event: EventId,
    /// Its type.
    pub kind: String,
    /// Its place.
    pub sequence: i64,
    /// When it happened.
    pub created_at: DateTime<Utc>,
    /// How often it was tried.
    pub attempts: i32,
    /// What came of the last attempt, as [`Outcome::as_str`] has it.
    pub outcome: String,
    /// The status that was answered then, if one was.
    pub status: Option<i32>,
    /// When it was given up.
    pub died_at: DateTime<Utc>,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered 2xx.
    Delivered,
    /// It was answered 410: nobody is there any more.
    Gone,
    /// It was answered something else; redirects are not followed.
    Refused(u16),
    /// There was no answer in time.
    TimedOut,
    /// There was no connection, or it broke.
    Unreachable,
    /// The host stands for addresses that are not connected to, or the URL is not allowed any more.
    Forbidden,
    /// Its secret could not be opened with the keys that there are.
    Unsealed,
}

impl Outcome {
    /// As it is kept, told and counted.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Gone => "gone",
            Self::Refused(_) => "refused",
            Self::TimedOut => "timed_out",
            Self::Unreachable => "unreachable",
            Self::Forbidden => "forbidden",
            Self::Unsealed => "unsealed",
        }
    }

    /// The status that was answered.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Refused(status) => Some(status),
            Self::Gone => Some(410),
            Self::Delivered | Self::TimedOut | Self::Unreachable | Self::Forbidden | Self::Unsealed => None,
        }
    }
}

/// What is to be done after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it has arrived.
    Done,
    /// Try again after so long.
    Again(Duration),
    /// Give it up.
    GiveUp,
    /// Keep it, and deliver nothing to this webhook until it is resumed.
    Pause,
}

/// The wait after the first failure.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait.
const MAX_WAIT: Duration = Duration::from_hours(1);

/// What to do after an attempt. `jitter` is 0 to 1: what failed at once must not come again at once.
pub fn decide(outcome: Outcome, claim: &Claim, retry_for: TimeDelta, jitter: f64) -> Next {
    match outcome {
        Outcome::Delivered => Next::Done,
        Outcome::Gone => Next::Pause,
        _ if claim.now - claim.queued_at >= retry_for => Next::GiveUp,
        _ => Next::Again(wait_after(claim.attempt, jitter)),
    }
}

/// Twice as long after each failure, up to an hour, and of that the half to the whole.
fn wait_after(attempt: i32, jitter: f64) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(16);
    let whole = FIRST_WAIT.saturating_mul(1 << doublings).min(MAX_WAIT);
    whole.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(attempt: i32, waited: TimeDelta) -> Claim {
        let now = Utc::now();
        let event = Event {
            id: EventId::generate(),
            kind: "seat.sold".to_owned(),
            sequence: 7,
            created_at: DateTime::from_timestamp_millis(1_700_000_000_123).unwrap(),
            data: "{\"price\": 10.00}".to_owned(),
        };
        let (webhook, url) = (WebhookId::generate(), String::new());
        Claim { webhook, url, sealed_secrets: Vec::new(), event, attempt, queued_at: now - waited, now }
    }

    #[test]
    fn waits_double_up_to_an_hour_and_differ() {
        assert_eq!(wait_after(1, 1.0), Duration::from_secs(5));
        assert_eq!(wait_after(1, 0.0), Duration::from_millis(2_500));
        assert_eq!(wait_after(3, 1.0), Duration::from_secs(20));
        assert_eq!(wait_after(i32::MAX, 1.0), MAX_WAIT);
        assert_eq!(wait_after(0, 9.0), Duration::from_secs(5));
    }

    #[test]
    fn an_attempt_is_followed_by_another_until_the_time_is_over() {
        let day = TimeDelta::hours(24);
        let fresh = claim(1, TimeDelta::zero());
        assert_eq!(decide(Outcome::Delivered, &claim(9, day), day, 0.0), Next::Done);
        assert_eq!(decide(Outcome::Gone, &fresh, day, 0.0), Next::Pause);
        for failure in [Outcome::Refused(500), Outcome::Refused(302), Outcome::TimedOut, Outcome::Unreachable] {
            assert!(matches!(decide(failure, &fresh, day, 0.5), Next::Again(_)));
            // Whoever waited that long for an earlier one has had one attempt at least.
            assert_eq!(decide(failure, &claim(1, day), day, 0.5), Next::GiveUp);
        }
    }

    #[test]
    fn the_body_keeps_the_data_as_it_was_written() {
        let event = claim(1, TimeDelta::zero()).event;
        let body = String::from_utf8(event.body().unwrap()).unwrap();
        let id = event.id;
        let wanted = format!(
            "{{\"id\":\"{id}\",\"type\":\"seat.sold\",\"createdAt\":\"2023-11-14T22:13:20.123Z\",\"sequence\":7,\"data\":{{\"price\": 10.00}}}}"
        );
        assert_eq!(body, wanted);
    }
}
