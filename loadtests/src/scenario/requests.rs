//! One step of a visitor: sent, repeated when the system asks for it, and counted.

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::Instant;

use crate::client::{Answer, Client, NoAnswer, Request};
use crate::retry::wait_before_retry;
use crate::stats::{Recorder, Step};

/// How often one step is sent at most. At a wait of a second each, that is more than a minute.
const ATTEMPTS_MAX: u32 = 60;

/// Why a step has no answer that its visitor could go on with.
#[derive(Debug)]
pub(crate) struct GaveUp(pub(crate) String);

/// Sends requests for one visitor.
pub(crate) struct Sender<'a> {
    pub(crate) client: &'a Client,
    pub(crate) recorder: &'a Recorder,
    pub(crate) rng: StdRng,
}

impl Sender<'_> {
    /// Sends `request` until there is an answer other than "come back later". The step's latency counts
    /// from `intended`, through all waits, to that answer.
    ///
    /// Every request here may be repeated: reads, what carries an idempotency key, joining and leaving
    /// (which give the same result again), logging in, and signing up (whose caller knows that the
    /// email may by then be taken by itself).
    pub(crate) async fn step(&mut self, step: Step, intended: Instant, request: &Request<'_>) -> Result<Reply, GaveUp> {
        // In a box, which is there while it is under way only: a hundred thousand visitors wait between two polls.
        Box::pin(self.attempts(step, intended, request)).await
    }

    async fn attempts(&mut self, step: Step, intended: Instant, request: &Request<'_>) -> Result<Reply, GaveUp> {
        let mut last = String::new();
        for attempt in 1..=ATTEMPTS_MAX {
            let sent = Instant::now();
            let outcome = self.client.send(request).await;
            self.recorder.attempt(step, sent, &outcome);
            let advice = match outcome {
                Ok(answer) if !is_later(&answer) => {
                    self.recorder.finished(step, intended);
                    return Ok(Reply { answer, sent, attempt });
                }
                Ok(answer) => {
                    last = answer.describe();
                    answer.retry_after
                }
                Err(NoAnswer::TooLarge) => return Err(GaveUp(NoAnswer::TooLarge.name().to_owned())),
                Err(why) => {
                    why.name().clone_into(&mut last);
                    None
                }
            };
            if attempt < ATTEMPTS_MAX {
                self.recorder.retry(step);
                let spread = self.rng.random::<f64>();
                tokio::time::sleep(wait_before_retry(advice, attempt, spread)).await;
            }
        }
        self.recorder.finished(step, intended);
        Err(GaveUp(format!("{}: {ATTEMPTS_MAX} attempts, the last: {last}", step.name())))
    }
}

/// The answer of a step.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    /// When the attempt that it answers was sent.
    pub(crate) sent: Instant,
    /// The number of that attempt; 1 for the first.
    pub(crate) attempt: u32,
}

/// Whether the same request will do later.
fn is_later(answer: &Answer) -> bool {
    matches!(answer.status, 429 | 503) || (answer.status == 409 && answer.error() == "idempotency_in_progress")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, error: &str) -> Answer {
        let body = format!(r#"{{"error":"{error}"}}"#).into_bytes();
        Answer { status, retry_after: None, request_id: None, body }
    }

    #[test]
    fn only_what_passes_by_itself_is_repeated() {
        assert!(is_later(&answer(429, "too_many_requests")));
        assert!(is_later(&answer(503, "overloaded")));
        assert!(is_later(&answer(409, "idempotency_in_progress")));
        assert!(!is_later(&answer(409, "seat_taken")));
        assert!(!is_later(&answer(500, "internal_error")));
        assert!(!is_later(&answer(200, "")));
    }
}
