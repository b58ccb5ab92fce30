//! What happened in a run: counted and measured while it runs, bounded whatever happens.

pub(crate) mod overload;
mod recorder;
pub(crate) mod surge;
mod timeline;
pub(crate) mod waits;

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use rust_decimal::Decimal;
use uuid::Uuid;

use crate::admission_order::OrderLog;
pub(crate) use recorder::Recorder;
pub(crate) use timeline::{Bucket, Timeline};

/// Longer latencies are recorded as this.
const LATENCY_MAX: Duration = Duration::from_hours(1);
/// Samples of unexpected answers that are kept for the report; all are counted.
const SAMPLES_MAX: usize = 20;
/// Distinct error codes that are told apart in one step.
const ERRORS_MAX: usize = 64;

/// A step of a visitor, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Signup,
    Login,
    Charge,
    Join,
    /// One poll of the queue.
    Status,
    /// From the intended join to the pass: many polls.
    Admission,
    Seats,
    Reserve,
    Pay,
    Leave,
    /// From a hold's deadline, which nobody had paid by, to the seat being held again.
    Resale,
    /// From the intended arrival to the ticket.
    Journey,
}

impl Step {
    pub(crate) const ALL: [Self; 12] = [
        Self::Signup,
        Self::Login,
        Self::Charge,
        Self::Join,
        Self::Status,
        Self::Admission,
        Self::Seats,
        Self::Reserve,
        Self::Pay,
        Self::Leave,
        Self::Resale,
        Self::Journey,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Signup => "sign up",
            Self::Login => "log in",
            Self::Charge => "charge balance",
            Self::Join => "join queue",
            Self::Status => "poll queue",
            Self::Admission => "= wait for admission",
            Self::Seats => "list seats",
            Self::Reserve => "reserve seat",
            Self::Pay => "pay",
            Self::Leave => "leave queue",
            Self::Resale => "= deadline to held again",
            Self::Journey => "= whole journey",
        }
    }

    /// A step made of others, not a request of its own.
    pub(crate) fn is_span(self) -> bool {
        matches!(self, Self::Admission | Self::Resale | Self::Journey)
    }
}

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    Bought,
    /// Sold out before it was their turn, or every seat was taken: no failure.
    NoSeatLeft,
    /// Not done within the time a visitor has.
    OutOfTime,
    /// An answer that the contract doesn't allow there, or retries without success.
    Failed,
    /// Still under way when the run was stopped.
    Interrupted,
    /// Was admitted, stayed for a while and left.
    Visited,
    /// Stopped polling while in line.
    ClosedTab,
    /// Left the line properly.
    LeftLine,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bought => "bought a ticket",
            Self::NoSeatLeft => "no seat left",
            Self::OutOfTime => "out of time",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Visited => "was inside and left",
            Self::ClosedTab => "closed the tab in line",
            Self::LeftLine => "left the line",
        }
    }
}

/// A payment that was answered with success.
#[derive(Debug, Clone)]
pub(crate) struct Sale {
    pub(crate) seat_id: Uuid,
    pub(crate) reservation_id: Uuid,
    pub(crate) amount: Decimal,
}

/// Everything about one step.
#[derive(Debug, Clone)]
pub(crate) struct StepStats {
    /// Microseconds from the intended start to the final answer, waits between retries included.
    pub(crate) latency: Histogram<u64>,
    /// Microseconds of single requests, from when they were sent.
    pub(crate) service: Histogram<u64>,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) errors: BTreeMap<String, u64>,
    pub(crate) no_answer: BTreeMap<&'static str, u64>,
    pub(crate) retries: u64,
}

impl StepStats {
    fn new() -> Self {
        Self {
            latency: histogram(3),
            service: histogram(3),
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            no_answer: BTreeMap::new(),
            retries: 0,
        }
    }
}

/// The figures of a run; see the fields.
#[derive(Debug, Clone)]
pub(crate) struct Figures {
    steps: Vec<StepStats>,
    pub(crate) timeline: Timeline,
    pub(crate) outcomes: BTreeMap<Outcome, u64>,
    pub(crate) arrived: u64,
    pub(crate) admitted: u64,
    pub(crate) sales: Vec<Sale>,
    /// When the last seat was sold, from the start of the run.
    pub(crate) last_sale: Option<Duration>,
    pub(crate) order: OrderLog,
    /// Answers that the contract doesn't allow there.
    pub(crate) unexpected: u64,
    pub(crate) unexpected_samples: Vec<String>,
    /// 429 and 503 without `Retry-After`.
    pub(crate) advice_missing: u64,
    /// The most that this program itself was late with an arrival.
    pub(crate) lateness_max: Duration,
}

impl Figures {
    pub(crate) fn step(&self, step: Step) -> &StepStats {
        &self.steps[step as usize]
    }

    /// Answers by status over all steps.
    pub(crate) fn statuses(&self) -> BTreeMap<u16, u64> {
        let mut all = BTreeMap::new();
        for (status, count) in self.steps.iter().flat_map(|step| &step.statuses) {
            *all.entry(*status).or_default() += count;
        }
        all
    }

    /// Requests without an answer, by reason, over all steps.
    pub(crate) fn no_answer(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (reason, count) in self.steps.iter().flat_map(|step| &step.no_answer) {
            *all.entry(*reason).or_default() += count;
        }
        all
    }

    pub(crate) fn server_errors(&self) -> u64 {
        self.statuses().range(500..).map(|(_, count)| count).sum()
    }

    pub(crate) fn retries(&self) -> u64 {
        self.steps.iter().map(|step| step.retries).sum()
    }

    pub(crate) fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or_default()
    }

    pub(crate) fn seats_sold(&self) -> u64 {
        u64::try_from(self.sales.len()).unwrap_or(u64::MAX)
    }

    /// Seats that more than one visitor was told they had bought.
    pub(crate) fn seats_sold_twice(&self) -> Vec<Uuid> {
        let mut seats: Vec<_> = self.sales.iter().map(|sale| sale.seat_id).collect();
        seats.sort_unstable();
        let mut twice: Vec<_> = seats.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
        twice.dedup();
        twice
    }
}

/// A histogram of microseconds up to an hour.
pub(crate) fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, micros(LATENCY_MAX), digits)
        .expect("the bounds are constants that the library accepts")
}

/// Whole microseconds.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_in_the_order_of_their_table() {
        for (index, step) in Step::ALL.iter().enumerate() {
            assert_eq!(*step as usize, index);
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut values = histogram(3);
        for value in 1..=10_000 {
            values.saturating_record(value * 10);
        }
        for (quantile, expected) in [(0.5, 50_000), (0.9, 90_000), (0.99, 99_000), (0.999, 99_900), (1.0, 100_000)] {
            let found = values.value_at_quantile(quantile);
            assert!(found.abs_diff(expected) * 1_000 <= expected, "{quantile}: {found}");
        }
        values.saturating_record(u64::MAX);
        assert!(values.max() >= micros(LATENCY_MAX), "too long is recorded as the longest");
    }
}
