//! What became of more load than can be served.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{histogram, micros};
use crate::usage::Usage;

/// Only what is answered with success within this time, from its intended start on, is of use to anybody.
pub(crate) const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// What goodput is to stay at, as a share of its peak, however much more is asked for.
pub(crate) const GOODPUT_TARGET: f64 = 0.9;

/// A stretch of time at one rate.
#[derive(Debug, Clone)]
pub(crate) struct Stage {
    /// Requests in a second that were to be sent.
    pub(crate) offered_per_second: u32,
    pub(crate) length: Duration,
    /// Microseconds from the intended start of what was served.
    pub(crate) served: Histogram<u64>,
    /// The same of 429 and 503.
    pub(crate) refused: Histogram<u64>,
    /// Those of `refused` that were a limit's: 429.
    pub(crate) too_many: u64,
    /// Those of `refused` that do not say when to come back.
    pub(crate) without_advice: u64,
    /// Any other answer.
    pub(crate) other: u64,
    /// Sent, and the connection was lost or silent.
    pub(crate) no_answer: u64,
    /// Never sent: no connection was free in time.
    pub(crate) not_sent: u64,
}

/// The ramp that finds out what can be served, and many times of that.
#[derive(Debug, Clone)]
pub(crate) struct OverloadFigures {
    pub(crate) connections: u32,
    /// What finds no free connection for so long is not sent.
    pub(crate) patience: Duration,
    pub(crate) factor: u32,
    /// How many stand in the line and ask by turns.
    pub(crate) people: u32,
    /// They all join. None: the run was ended before.
    pub(crate) joining: Option<Stage>,
    pub(crate) ramp: Vec<Stage>,
    /// None: the run was ended before.
    pub(crate) overload: Option<Stage>,
    pub(crate) usage: Usage,
}

impl Stage {
    pub(crate) fn new(offered_per_second: u32, length: Duration) -> Self {
        Self {
            offered_per_second,
            length,
            served: histogram(3),
            refused: histogram(3),
            too_many: 0,
            without_advice: 0,
            other: 0,
            no_answer: 0,
            not_sent: 0,
        }
    }

    pub(crate) fn answer(&mut self, status: u16, has_retry_after: bool, latency: Duration) {
        match status {
            200 => self.served.saturating_record(micros(latency)),
            429 | 503 => {
                self.refused.saturating_record(micros(latency));
                self.too_many += u64::from(status == 429);
                self.without_advice += u64::from(!has_retry_after);
            }
            _ => self.other += 1,
        }
    }

    /// Served in time, in a second.
    pub(crate) fn goodput(&self) -> f64 {
        per_second(self.served.count_between(0, micros(SERVED_WITHIN)), self.length)
    }

    /// Sent in a second.
    pub(crate) fn sent(&self) -> f64 {
        per_second(self.served.len() + self.refused.len() + self.other + self.no_answer, self.length)
    }

    /// Whether all that was asked for was served in time, but for one in twenty.
    pub(crate) fn keeps_up(&self) -> bool {
        self.goodput() >= f64::from(self.offered_per_second) * 0.95
    }

    pub(crate) fn served_p99(&self) -> Duration {
        Duration::from_micros(self.served.value_at_quantile(0.99))
    }
}

impl OverloadFigures {
    /// The most that was served in a second of the ramp.
    pub(crate) fn peak(&self) -> f64 {
        self.ramp.iter().map(Stage::goodput).fold(0.0, f64::max)
    }

    /// What ended it before the overload, if anything did.
    pub(crate) fn ended_by(&self) -> Option<&'static str> {
        self.overload.is_none().then_some("Ctrl-C")
    }

    /// The first stage of the ramp that was not kept up with for no other reason than that a limit refused: then the peak is
    /// that limit's, and not the machine's.
    pub(crate) fn limited(&self) -> Option<&Stage> {
        let missed = |stage: &&Stage| !stage.keeps_up();
        let refused_by_limit = |stage: &&Stage| {
            let asked = f64::from(stage.offered_per_second);
            stage.goodput() + per_second(stage.too_many, stage.length) >= asked * 0.95
        };
        self.ramp.iter().find(missed).filter(refused_by_limit)
    }

    /// How often each of those in the line asked in a minute, at that rate.
    pub(crate) fn per_person_and_minute(&self, stage: &Stage) -> f64 {
        f64::from(stage.offered_per_second) * 60.0 / f64::from(self.people.max(1))
    }

    /// Goodput under overload as a share of the peak.
    pub(crate) fn goodput_share(&self) -> Option<f64> {
        let peak = self.peak();
        self.overload.as_ref().filter(|_| peak > 0.0).map(|stage| stage.goodput() / peak)
    }
}

#[expect(clippy::cast_precision_loss, reason = "some million requests")]
fn per_second(count: u64, length: Duration) -> f64 {
    count as f64 / length.as_secs_f64()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn stage(offered: u32, served: u64, late: u64, refused: u64) -> Stage {
        let mut stage = Stage::new(offered, Duration::from_secs(2));
        (0..served).for_each(|_| stage.answer(200, false, Duration::from_millis(5)));
        (0..late).for_each(|_| stage.answer(200, false, Duration::from_secs(3)));
        (0..refused).for_each(|_| stage.answer(503, true, Duration::from_millis(2)));
        stage
    }

    /// 100 a second are served, of 1,000 still 95.
    pub(crate) fn figures() -> OverloadFigures {
        OverloadFigures {
            connections: 10,
            patience: Duration::from_millis(100),
            factor: 10,
            people: 60,
            joining: Some(stage(30, 60, 0, 0)),
            ramp: vec![stage(50, 100, 0, 0), stage(100, 200, 0, 0), stage(140, 180, 100, 0)],
            overload: Some(stage(1_000, 190, 0, 1_800)),
            usage: Usage::default(),
        }
    }

    #[test]
    fn only_what_is_served_in_time_is_goodput() {
        let figures = figures();
        assert!((figures.peak() - 100.0).abs() < 1e-9);
        assert!(figures.goodput_share().is_some_and(|share| (share - 0.95).abs() < 1e-9));
        assert_eq!(figures.ramp.iter().map(Stage::keeps_up).collect::<Vec<_>>(), [true, true, false]);
        assert!((figures.ramp[2].sent() - 140.0).abs() < 1e-9);
        assert_eq!(OverloadFigures { ramp: Vec::new(), ..figures }.goodput_share(), None);
    }

    #[test]
    fn a_peak_that_is_a_limit_s_is_told_from_one_that_is_the_machine_s() {
        let mut limited = figures();
        assert!(limited.limited().is_none(), "what was late was late");
        let refused = &mut limited.ramp[2];
        *refused = stage(140, 200, 0, 0);
        (0..80).for_each(|_| refused.answer(429, true, Duration::ZERO));
        assert_eq!(limited.limited().map(|stage| limited.per_person_and_minute(stage)), Some(140.0));
        limited.ramp[2] = stage(140, 200, 0, 80);
        assert!(limited.limited().is_none(), "503 is no limit's");
    }

    #[test]
    fn a_refusal_that_does_not_say_when_to_come_back_is_counted() {
        let mut stage = Stage::new(1, Duration::from_secs(1));
        stage.answer(429, true, Duration::ZERO);
        stage.answer(503, false, Duration::ZERO);
        stage.answer(500, false, Duration::ZERO);
        assert_eq!((stage.refused.len(), stage.too_many, stage.without_advice, stage.other), (2, 1, 1, 1));
    }
}
