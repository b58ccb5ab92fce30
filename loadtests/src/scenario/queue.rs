//! What the waiting room is asked and answers, as all its visitors need it.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::requests::{GaveUp, Reply};
use crate::client::{Answer, Request};
use crate::stats::Step;

/// What `pollAfterMs` may say without being taken for a mistake of the server.
const POLL_MIN: Duration = Duration::from_millis(20);
const POLL_MAX: Duration = Duration::from_mins(2);

/// Why a visit ended early.
#[derive(Debug)]
pub(super) enum Stop {
    NoSeatLeft,
    /// An answer that a visitor can't go on with, in words.
    Failed(String),
}

impl From<GaveUp> for Stop {
    fn from(GaveUp(why): GaveUp) -> Self {
        Self::Failed(why)
    }
}

/// The answer to joining and polling.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueAnswer {
    pub(super) token: String,
    pub(super) status: String,
    pub(super) queue_info: QueueInfo,
}

/// What it says about the place in line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueueInfo {
    pub(super) position: u64,
    pub(super) ahead: u64,
    pub(super) wait_seconds: u32,
    pub(super) wait_seconds_low: u32,
    pub(super) wait_seconds_high: u32,
    pub(super) poll_after_ms: u64,
    #[serde(default)]
    pub(super) outlook: Outlook,
    /// False while the position is only an entry for a draw.
    #[serde(default = "drawn")]
    pub(super) drawn: bool,
}

/// Whether there is still a seat to wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outlook {
    /// Nothing is free, and nothing is held that could come back.
    None,
    /// Likely, unlikely, or nobody knows.
    #[default]
    #[serde(other)]
    Some,
}

fn drawn() -> bool {
    true
}

/// `POST /queue/token`, with the `body` of [`join_body`].
pub(super) fn join_request(session: &str, body: String) -> Request<'_> {
    Request {
        method: Method::POST,
        path: "/queue/token",
        session: Some(session),
        body: Some(body),
        ..Request::default()
    }
}

pub(super) fn join_body(concert: Uuid) -> String {
    format!(r#"{{"concertId":"{concert}"}}"#)
}

/// `GET /queue/status` with the newest token.
pub(super) fn poll_request(token: &str) -> Request<'_> {
    Request { path: "/queue/status", queue_token: Some(token), ..Request::default() }
}

/// `DELETE /queue/token`: out of the line or the room.
pub(super) fn leave_request(token: &str) -> Request<'_> {
    Request { method: Method::DELETE, path: "/queue/token", queue_token: Some(token), ..Request::default() }
}

/// When to ask again, as the answer says.
pub(super) fn poll_wait(step: Step, info: &QueueInfo) -> Result<Duration, Stop> {
    let wait = Duration::from_millis(info.poll_after_ms);
    if (POLL_MIN..=POLL_MAX).contains(&wait) {
        return Ok(wait);
    }
    Err(Stop::Failed(format!("{}: pollAfterMs is {}", step.name(), wait.as_millis())))
}

pub(super) fn decode<T: DeserializeOwned>(step: Step, answer: &Answer) -> Result<T, Stop> {
    answer.json().map_err(|error| Stop::Failed(format!("{}: {error:#}", step.name())))
}

pub(super) fn ok(step: Step, reply: Reply) -> Result<Reply, Stop> {
    if reply.answer.is_ok() {
        return Ok(reply);
    }
    Err(Stop::Failed(format!("{}: {}", step.name(), reply.answer.describe())))
}

/// Like [`ok`], for a queue that may have ended because everything is sold.
pub(super) fn queue_ok(step: Step, reply: Reply) -> Result<Reply, Stop> {
    if reply.answer.status == 410 && reply.answer.error() == "sold_out" {
        return Err(Stop::NoSeatLeft);
    }
    ok(step, reply)
}

/// The contract: a position never changes once it is given (an entry for a draw is none yet). Where it did: in words.
pub(super) fn position_changed(before: &QueueInfo, after: &QueueInfo) -> Option<String> {
    let changed = before.drawn && after.position != before.position;
    changed.then(|| format!("the position went from {} to {}", before.position, after.position))
}

/// The contract: `ahead` never rises for one visitor. Where it did: in words.
pub(super) fn ahead_rose(before: &QueueInfo, after: &QueueInfo) -> Option<String> {
    let rose = before.drawn && after.ahead > before.ahead;
    rose.then(|| format!("position {}: ahead rose from {} to {}", after.position, before.ahead, after.ahead))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(position: u64, ahead: u64) -> QueueInfo {
        QueueInfo {
            position,
            ahead,
            wait_seconds: 2,
            wait_seconds_low: 1,
            wait_seconds_high: 3,
            poll_after_ms: 1_000,
            outlook: Outlook::Some,
            drawn: true,
        }
    }

    #[test]
    fn a_place_in_line_only_gets_better() {
        assert_eq!(ahead_rose(&info(9, 5), &info(9, 5)), None);
        assert_eq!(ahead_rose(&info(9, 5), &info(9, 0)), None);
        assert!(ahead_rose(&info(9, 5), &info(9, 6)).is_some());
        assert_eq!(position_changed(&info(9, 5), &info(9, 6)), None);
        assert!(position_changed(&info(9, 5), &info(8, 4)).is_some());
    }

    #[test]
    fn a_draw_gives_another_number_than_the_entry() {
        let entry = QueueInfo { drawn: false, ..info(9, 5) };
        assert_eq!(position_changed(&entry, &info(70, 69)), None);
        assert_eq!(ahead_rose(&entry, &info(70, 69)), None);
    }

    #[test]
    fn answers_are_read_as_the_contract_writes_them() {
        let read = |more: &str| {
            let text = format!(
                r#"{{"token":"t","status":"waiting","queueInfo":{{"concertId":"c","position":7,"ahead":3,"waitTime":"10분",
                "waitSeconds":600,"waitSecondsLow":1,"waitSecondsHigh":2,"pollAfterMs":1500{more}}}}}"#
            );
            serde_json::from_str::<QueueAnswer>(&text).unwrap().queue_info
        };
        let told = read("");
        assert_eq!((told.position, told.ahead, told.poll_after_ms), (7, 3, 1_500));
        assert_eq!((told.wait_seconds, told.wait_seconds_low, told.wait_seconds_high), (600, 1, 2));
        assert!(told.drawn && !read(r#","drawn":false"#).drawn);
        for (outlook, expected) in [("none", Outlook::None), ("likely", Outlook::Some), ("unlikely", Outlook::Some)] {
            assert_eq!(read(&format!(r#","outlook":"{outlook}""#)).outlook, expected, "{outlook}");
        }
        assert_eq!(told.outlook, Outlook::Some);
    }

    #[test]
    fn a_poll_told_to_come_too_early_or_too_late_is_a_mistake() {
        let wait = |poll_after_ms| poll_wait(Step::Status, &QueueInfo { poll_after_ms, ..info(1, 1) });
        assert_eq!(wait(1_500).unwrap(), Duration::from_millis(1_500));
        assert!(wait(0).is_err() && wait(3_600_000).is_err());
    }
}
