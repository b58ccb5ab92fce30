//! Where visitors write down what they see.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{ERRORS_MAX, Figures, Outcome, SAMPLES_MAX, Sale, Step, StepStats, Timeline, micros};
use crate::admission_order::OrderLog;
use crate::client::{Answer, NoAnswer};

/// Where all visitors of a run write down what they see.
#[derive(Debug)]
pub(crate) struct Recorder {
    started: Instant,
    figures: Mutex<Figures>,
}

impl Recorder {
    /// `length_max` bounds the timeline.
    pub(crate) fn new(started: Instant, length_max: Duration) -> Self {
        let figures = Figures {
            steps: Step::ALL.iter().map(|_| StepStats::new()).collect(),
            timeline: Timeline::new(length_max),
            outcomes: BTreeMap::new(),
            arrived: 0,
            admitted: 0,
            sales: Vec::new(),
            last_sale: None,
            order: OrderLog::default(),
            unexpected: 0,
            unexpected_samples: Vec::new(),
            advice_missing: 0,
            lateness_max: Duration::ZERO,
        };
        Self { started, figures: Mutex::new(figures) }
    }

    fn lock(&self) -> MutexGuard<'_, Figures> {
        // Nothing panics while it holds the lock; if it did, the figures would still be readable.
        self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// A copy of the figures so far.
    pub(crate) fn snapshot(&self) -> Figures {
        self.lock().clone()
    }

    /// Reads single figures without copying all.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Figures) -> T) -> T {
        read(&self.lock())
    }

    pub(crate) fn arrival(&self, intended: Instant) {
        let now = Instant::now();
        let mut figures = self.lock();
        figures.arrived += 1;
        figures.lateness_max = figures.lateness_max.max(now - intended);
        figures.timeline.at(intended - self.started).arrivals += 1;
    }

    /// One request, answered or not.
    pub(crate) fn attempt(&self, step: Step, sent: Instant, outcome: &Result<Answer, NoAnswer>) {
        let mut figures = self.lock();
        let bucket = figures.timeline.at(sent - self.started);
        if !matches!(outcome, Ok(answer) if answer.status < 500) {
            bucket.failures += 1;
        }
        let status = outcome.as_ref().map_or(0, |answer| answer.status);
        bucket.too_many += u64::from(status == 429);
        bucket.unavailable += u64::from(status == 503);
        bucket.joins += u64::from(step == Step::Join);
        bucket.polls += u64::from(step == Step::Status);
        let entry = &mut figures.steps[step as usize];
        match outcome {
            Ok(answer) => {
                entry.service.saturating_record(micros(sent.elapsed()));
                *entry.statuses.entry(answer.status).or_default() += 1;
                if !answer.is_ok() {
                    let code = answer.error();
                    if entry.errors.len() < ERRORS_MAX || entry.errors.contains_key(&code) {
                        *entry.errors.entry(code).or_default() += 1;
                    }
                }
                if matches!(answer.status, 429 | 503) && answer.retry_after.is_none() {
                    figures.advice_missing += 1;
                }
            }
            Err(why) => *entry.no_answer.entry(why.name()).or_default() += 1,
        }
    }

    pub(crate) fn retry(&self, step: Step) {
        self.lock().steps[step as usize].retries += 1;
    }

    /// A step is done: `intended` is when it was meant to start.
    pub(crate) fn finished(&self, step: Step, intended: Instant) {
        let latency = micros(intended.elapsed());
        let mut figures = self.lock();
        figures.steps[step as usize].latency.saturating_record(latency);
        if !step.is_span() {
            figures.timeline.at(intended - self.started).latency.saturating_record(latency);
        }
    }

    /// A seat that was not paid for in time was held again so long after its deadline.
    pub(crate) fn resale(&self, after: Duration) {
        self.lock().steps[Step::Resale as usize].latency.saturating_record(micros(after));
    }

    pub(crate) fn admission(&self, position: u64) {
        let at = self.started.elapsed();
        let mut figures = self.lock();
        figures.admitted += 1;
        figures.timeline.at(at).admissions += 1;
        figures.order.admitted(at, position);
    }

    /// A request sent at `sent` was answered "waiting". `on_time`: the visitor came when they were told to.
    pub(crate) fn waiting(&self, sent: Instant, position: u64, on_time: bool) {
        self.lock().order.waiting(sent - self.started, position, on_time);
    }

    /// A visitor holds a seat.
    pub(crate) fn hold(&self) {
        let at = self.started.elapsed();
        self.lock().timeline.at(at).holds += 1;
    }

    pub(crate) fn sale(&self, sale: Sale) {
        let at = self.started.elapsed();
        let mut figures = self.lock();
        figures.timeline.at(at).sales += 1;
        figures.last_sale = Some(at);
        figures.sales.push(sale);
    }

    pub(crate) fn unexpected(&self, what: String) {
        let mut figures = self.lock();
        figures.unexpected += 1;
        if figures.unexpected_samples.len() < SAMPLES_MAX {
            figures.unexpected_samples.push(what);
        }
    }

    pub(crate) fn ended(&self, outcome: Outcome) {
        *self.lock().outcomes.entry(outcome).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use uuid::Uuid;

    use super::*;

    fn recorder() -> Recorder {
        Recorder::new(Instant::now(), Duration::from_mins(1))
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, request_id: None, body: body.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn latency_counts_from_the_intended_start() {
        let recorder = recorder();
        let intended = Instant::now();
        // The request is sent late, as the visitor's turn came late: the delay counts.
        tokio::time::advance(Duration::from_secs(2)).await;
        let sent = Instant::now();
        tokio::time::advance(Duration::from_millis(100)).await;
        recorder.attempt(Step::Pay, sent, &Ok(answer(200, "{}")));
        recorder.finished(Step::Pay, intended);
        let figures = recorder.snapshot();
        let near = |value: u64, expected: u64| value.abs_diff(expected) * 500 < expected;
        assert!(near(figures.step(Step::Pay).latency.max(), 2_100_000));
        assert!(near(figures.step(Step::Pay).service.max(), 100_000));
    }

    #[test]
    fn answers_are_counted_by_status_and_code() {
        let recorder = recorder();
        let now = Instant::now();
        recorder.attempt(Step::Reserve, now, &Ok(answer(200, "{}")));
        recorder.attempt(Step::Reserve, now, &Ok(answer(409, r#"{"error":"seat_taken"}"#)));
        recorder.attempt(Step::Reserve, now, &Ok(answer(503, r#"{"error":"overloaded"}"#)));
        recorder.attempt(Step::Pay, now, &Ok(answer(500, "oops")));
        recorder.attempt(Step::Pay, now, &Err(NoAnswer::Timeout));
        let figures = recorder.snapshot();
        assert_eq!(figures.statuses(), BTreeMap::from([(200, 1), (409, 1), (500, 1), (503, 1)]));
        assert_eq!(figures.server_errors(), 2);
        assert_eq!(figures.step(Step::Reserve).errors["seat_taken"], 1);
        assert_eq!(figures.no_answer(), BTreeMap::from([("timeout", 1)]));
        assert_eq!(figures.advice_missing, 1, "a 503 must say when to come back");
    }

    #[test]
    fn joins_and_polls_have_their_second() {
        let recorder = recorder();
        let sent = recorder.started() + Duration::from_millis(1_500);
        for step in [Step::Join, Step::Status, Step::Status, Step::Leave] {
            recorder.attempt(step, sent, &Ok(answer(503, "{}")));
        }
        let figures = recorder.snapshot();
        let seconds: Vec<_> = figures.timeline.buckets().iter().map(|it| (it.joins, it.polls, it.failures)).collect();
        assert_eq!(seconds, [(0, 0, 0), (1, 2, 4)]);
    }

    #[test]
    fn error_codes_are_bounded() {
        let recorder = recorder();
        for number in 0..1_000 {
            recorder.attempt(Step::Pay, Instant::now(), &Ok(answer(400, &format!(r#"{{"error":"e{number}"}}"#))));
            recorder.unexpected(format!("e{number}"));
        }
        let figures = recorder.snapshot();
        assert_eq!(figures.step(Step::Pay).errors.len(), ERRORS_MAX);
        assert_eq!((figures.unexpected, figures.unexpected_samples.len()), (1_000, SAMPLES_MAX));
    }

    #[test]
    fn a_seat_sold_to_two_is_found() {
        let recorder = recorder();
        for seat in [1, 2, 3, 2, 2] {
            recorder.sale(Sale {
                seat_id: Uuid::from_u128(seat),
                reservation_id: Uuid::new_v4(),
                amount: Decimal::ONE,
            });
        }
        assert_eq!(recorder.snapshot().seats_sold_twice(), [Uuid::from_u128(2)]);
    }
}
