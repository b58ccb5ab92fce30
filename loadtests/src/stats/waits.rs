//! What those in line were told about their wait and their place, against what was so.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::invariants::{Broken, Finding};

/// The share of those admitted whose wait should lie within the range that they were told when they joined.
pub(crate) const IN_RANGE_TARGET: f64 = 0.8;
/// How far `ahead` may be from the rank, as a share of it and in people, to count as near.
const AHEAD_NEAR: f64 = 0.02;
const AHEAD_NEAR_PEOPLE: u64 = 5;
/// An error is related to a wait of at least this: in the last second any estimate in whole seconds is far off.
const WAIT_MIN_SECONDS: f64 = 1.0;
/// A wait of more than a thousand times what was told counts as that.
const RATIO_MAX_PERMILLE: u64 = 1_000_000;
/// At how many moments of a run the waits are shown.
const MOMENTS: u32 = 200;

/// What somebody was told about their wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    /// When, in ms from the start of the run.
    pub(crate) at_ms: u32,
    pub(crate) seconds: u32,
    pub(crate) low_seconds: u32,
    pub(crate) high_seconds: u32,
}

/// How well what was told agreed with how long it then took.
#[derive(Debug, Clone)]
pub(crate) struct Promises {
    pub(crate) count: u64,
    /// Waits within the range, both ends included.
    pub(crate) within: u64,
    /// Waits that ended before the range.
    pub(crate) sooner: u64,
    /// Waits that went on after it.
    pub(crate) later: u64,
    error_sum: f64,
    /// Thousandths of `waitSeconds` that it took.
    permille: Histogram<u64>,
}

impl Default for Promises {
    fn default() -> Self {
        let permille = Histogram::new_with_bounds(1, RATIO_MAX_PERMILLE, 3)
            .expect("the bounds are constants that the library accepts");
        Self { count: 0, within: 0, sooner: 0, later: 0, error_sum: 0.0, permille }
    }
}

impl Promises {
    fn note(&mut self, told: &Told, wait: Duration) {
        let seconds = wait.as_secs_f64();
        self.count += 1;
        if seconds < f64::from(told.low_seconds) {
            self.sooner += 1;
        } else if seconds > f64::from(told.high_seconds) {
            self.later += 1;
        } else {
            self.within += 1;
        }
        self.error_sum += (f64::from(told.seconds) - seconds).abs() / seconds.max(WAIT_MIN_SECONDS);
        let permille = wait.as_millis() / u128::from(told.seconds.max(1));
        self.permille.saturating_record(u64::try_from(permille).unwrap_or(u64::MAX));
    }

    /// The share of waits within the range; `None` where there was none.
    pub(crate) fn within_share(&self) -> Option<f64> {
        share(self.within, self.count)
    }

    /// Between which multiples of `waitSeconds` the middle nine tenths of the waits lay; `None` where there was none.
    pub(crate) fn spread(&self) -> Option<(f64, f64)> {
        let ratio = |quantile| float(self.permille.value_at_quantile(quantile)) / 1_000.0;
        (self.count > 0).then(|| (ratio(0.05), ratio(0.95)))
    }

    /// The mean of |`waitSeconds` − wait| as a share of the wait.
    pub(crate) fn mean_error(&self) -> Option<f64> {
        (self.count > 0).then(|| self.error_sum / float(self.count))
    }
}

/// How well `ahead` agreed with the rank in the room itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AheadFigures {
    pub(crate) compared: u64,
    /// Within 2 % of the rank or five people of it.
    pub(crate) near: u64,
    /// Told more than there were: the view was older than the rank.
    pub(crate) too_many: u64,
    pub(crate) too_few: u64,
    /// The largest error: what was told, and what was so.
    pub(crate) worst: Option<(u64, u64)>,
    /// No longer in line when the room was asked: their turn had come.
    pub(crate) gone: u64,
    /// The room could not be asked.
    pub(crate) unasked: u64,
}

impl AheadFigures {
    fn note(&mut self, told: u64, rank: u64) {
        let error = told.abs_diff(rank);
        self.compared += 1;
        self.near += u64::from(error <= AHEAD_NEAR_PEOPLE || float(error) <= float(rank) * AHEAD_NEAR);
        self.too_many += u64::from(told > rank);
        self.too_few += u64::from(told < rank);
        if error > self.max_error() {
            self.worst = Some((told, rank));
        }
    }

    pub(crate) fn near_share(&self) -> Option<f64> {
        share(self.near, self.compared)
    }

    /// In people.
    pub(crate) fn max_error(&self) -> u64 {
        self.worst.map_or(0, |(told, rank)| told.abs_diff(rank))
    }
}

/// Somebody who waited and was admitted.
#[derive(Debug, Clone, Copy)]
struct Waited {
    /// From the start of the run.
    admitted_at: Duration,
    /// From the answer to joining to the answer "admitted".
    wait: Duration,
    told_at_joining: Told,
}

/// The mean waits of those who were admitted around one moment, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moment {
    pub(crate) at: f64,
    pub(crate) low: f64,
    pub(crate) told: f64,
    pub(crate) high: f64,
    pub(crate) wait: f64,
}

/// All that was seen of waits and places.
#[derive(Debug, Clone, Default)]
pub(crate) struct WaitFigures {
    /// What was told at joining.
    pub(crate) at_joining: Promises,
    /// What was told at each poll.
    pub(crate) at_polls: Promises,
    /// Who did not have to wait at all.
    pub(crate) admitted_at_once: u64,
    pub(crate) ahead: AheadFigures,
    waited: Vec<Waited>,
    ahead_rose: Broken,
    position_changed: Broken,
}

impl WaitFigures {
    /// What must hold of places in line.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        vec![
            self.ahead_rose.finding(3, "ahead_never_rises", "the number of people in front never rose for anybody"),
            self.position_changed.finding(5, "position_is_kept", "nobody's position changed"),
        ]
    }

    /// Told and actual waits over the run, by when they ended.
    pub(crate) fn moments(&self) -> Vec<Moment> {
        let end = self.waited.iter().map(|waited| waited.admitted_at).max().unwrap_or_default();
        let width = (end / MOMENTS).max(Duration::from_secs(1));
        let mut sorted = self.waited.clone();
        sorted.sort_unstable_by_key(|waited| waited.admitted_at);
        sorted.chunk_by(|a, b| number(a, width) == number(b, width)).map(|chunk| moment(chunk, width)).collect()
    }
}

fn number(waited: &Waited, width: Duration) -> u128 {
    waited.admitted_at.as_nanos() / width.as_nanos().max(1)
}

/// The means of a chunk that is not empty.
fn moment(chunk: &[Waited], width: Duration) -> Moment {
    let mean = |value: &dyn Fn(&Waited) -> f64| chunk.iter().map(value).sum::<f64>() / float(chunk.len() as u64);
    let told = |value: fn(&Told) -> u32| mean(&|waited| f64::from(value(&waited.told_at_joining)));
    let middle = chunk.first().map_or(0, |first| number(first, width));
    Moment {
        // A run has a few hundred of them.
        at: f64::from(u32::try_from(middle).unwrap_or(u32::MAX)) * width.as_secs_f64(),
        low: told(|told| told.low_seconds),
        told: told(|told| told.seconds),
        high: told(|told| told.high_seconds),
        wait: mean(&|waited| waited.wait.as_secs_f64()),
    }
}

/// Where all visitors of a run write that down.
#[derive(Debug, Default)]
pub(crate) struct WaitLog(Mutex<WaitFigures>);

impl WaitLog {
    fn lock(&self) -> MutexGuard<'_, WaitFigures> {
        // Nothing panics while it holds the lock; if it did, the figures would still be readable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn snapshot(&self) -> WaitFigures {
        self.lock().clone()
    }

    /// Somebody was told "admitted" at `at` (from the start of the run) who was told before, at joining and then at
    /// each poll, what `told` says; nothing where they did not have to wait.
    pub(crate) fn admitted(&self, at: Duration, told: &[Told]) {
        let mut figures = self.lock();
        let Some((first, polls)) = told.split_first() else {
            figures.admitted_at_once += 1;
            return;
        };
        let since = |told: &Told| at.saturating_sub(Duration::from_millis(told.at_ms.into()));
        figures.at_joining.note(first, since(first));
        for poll in polls {
            figures.at_polls.note(poll, since(poll));
        }
        figures.waited.push(Waited { admitted_at: at, wait: since(first), told_at_joining: *first });
    }

    /// Somebody in line was told that so many are in front, between the moments at which the room had them at these ranks.
    pub(crate) fn compared(&self, told: u64, after: u64, before: u64) {
        // Whatever the rank was in between, the answer could have been given at that moment.
        let rank = told.clamp(after.min(before), after.max(before));
        self.lock().ahead.note(told, rank);
    }

    /// Somebody was no longer in line when the room was asked for their rank.
    pub(crate) fn out_of_line(&self) {
        self.lock().ahead.gone += 1;
    }

    /// The room could not be asked for a rank.
    pub(crate) fn unasked(&self) {
        self.lock().ahead.unasked += 1;
    }

    pub(crate) fn ahead_rose(&self, what: String) {
        self.lock().ahead_rose.note(what);
    }

    pub(crate) fn position_changed(&self, what: String) {
        self.lock().position_changed.note(what);
    }
}

/// `part` of `whole` as 0–1; `None` where there is no whole.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| float(part) / float(whole))
}

#[expect(clippy::cast_precision_loss, reason = "people, of whom there are fewer than 2^52")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(at_ms: u32, low_seconds: u32, seconds: u32, high_seconds: u32) -> Told {
        Told { at_ms, seconds, low_seconds, high_seconds }
    }

    fn near(value: Option<f64>, expected: f64) -> bool {
        value.is_some_and(|value| (value - expected).abs() < 1e-9)
    }

    #[test]
    fn a_wait_is_within_the_range_told_or_ends_sooner_or_later() {
        let log = WaitLog::default();
        // Joined at 1 s, told 10 (8–12).
        for admitted_at_ms in [9_000, 8_999, 13_000, 13_001] {
            log.admitted(Duration::from_millis(admitted_at_ms), &[told(1_000, 8, 10, 12)]);
        }
        let figures = log.snapshot();
        let joining = &figures.at_joining;
        assert_eq!((joining.count, joining.within, joining.sooner, joining.later), (4, 2, 1, 1));
        assert!(near(joining.within_share(), 0.5));
        assert_eq!(figures.at_polls.count, 0);
    }

    #[test]
    fn the_mean_error_is_that_of_the_likeliest_wait() {
        let log = WaitLog::default();
        // 10 told, 8 and 20 waited: errors of a quarter and a half.
        log.admitted(Duration::from_secs(8), &[told(0, 0, 10, 99)]);
        log.admitted(Duration::from_secs(20), &[told(0, 0, 10, 99)]);
        assert!(near(log.snapshot().at_joining.mean_error(), 0.375));
        // 1 told, 0.1 waited: related to a second.
        let moment = WaitLog::default();
        moment.admitted(Duration::from_millis(100), &[told(0, 0, 1, 2)]);
        assert!(near(moment.snapshot().at_joining.mean_error(), 0.9));
        assert_eq!(WaitLog::default().snapshot().at_joining.mean_error(), None);
    }

    #[test]
    fn the_middle_nine_tenths_tell_how_wide_a_range_would_have_to_be() {
        let log = WaitLog::default();
        assert_eq!(log.snapshot().at_joining.spread(), None);
        // 10 s told; waits of 0.1, 0.2 … 10 s.
        for tenths in 1..=100 {
            log.admitted(Duration::from_millis(tenths * 100), &[told(0, 0, 10, 99)]);
        }
        let (low, high) = log.snapshot().at_joining.spread().unwrap();
        assert!((low - 0.05).abs() < 0.001 && (high - 0.95).abs() < 0.001, "{low} {high}");
    }

    #[test]
    fn each_poll_is_judged_by_the_wait_that_was_left() {
        let log = WaitLog::default();
        let polls = [told(0, 8, 10, 12), told(6_000, 3, 5, 7), told(9_000, 3, 4, 5)];
        log.admitted(Duration::from_secs(10), &polls);
        let figures = log.snapshot();
        assert_eq!((figures.at_joining.count, figures.at_joining.within), (1, 1));
        let polls = &figures.at_polls;
        // 4 s were left of 3–7; 1 s of 3–5.
        assert_eq!((polls.count, polls.within, polls.sooner, polls.later), (2, 1, 1, 0));
    }

    #[test]
    fn who_did_not_wait_was_told_nothing() {
        let log = WaitLog::default();
        log.admitted(Duration::from_secs(10), &[]);
        let figures = log.snapshot();
        assert_eq!((figures.admitted_at_once, figures.at_joining.count), (1, 0));
        assert_eq!(figures.at_joining.within_share(), None);
    }

    #[test]
    fn ahead_is_near_within_two_percent_or_five_people() {
        let log = WaitLog::default();
        for (told, rank) in [(0, 5), (5, 0), (6, 0), (1_020, 1_000), (1_021, 1_000), (980, 1_000), (979, 1_000)] {
            log.compared(told, rank, rank);
        }
        log.out_of_line();
        let ahead = log.snapshot().ahead;
        assert_eq!((ahead.compared, ahead.near, ahead.gone), (7, 4, 1));
        assert_eq!((ahead.too_many, ahead.too_few), (4, 3));
        assert!(near(ahead.near_share(), 4.0 / 7.0));
        assert_eq!((ahead.max_error(), ahead.worst), (21, Some((1_021, 1_000))));
    }

    #[test]
    fn what_was_so_at_some_moment_of_the_question_is_exact() {
        let log = WaitLog::default();
        for (told, after, before) in
            [(140, 100, 200), (100, 100, 200), (200, 100, 200), (210, 100, 200), (90, 100, 200)]
        {
            log.compared(told, after, before);
        }
        let ahead = log.snapshot().ahead;
        assert_eq!((ahead.compared, ahead.near, ahead.too_many, ahead.too_few), (5, 3, 1, 1));
        assert_eq!(ahead.max_error(), 10);
    }

    #[test]
    fn a_rising_ahead_and_a_changed_position_are_found() {
        let log = WaitLog::default();
        assert!(!log.snapshot().findings().iter().any(Finding::is_broken));
        log.ahead_rose("from 3 to 4".to_owned());
        log.ahead_rose("from 5 to 6".to_owned());
        log.position_changed("from 1 to 2".to_owned());
        let found: Vec<_> =
            log.snapshot().findings().into_iter().map(|it| (it.name, it.broken, it.examples.len())).collect();
        assert_eq!(found, [("ahead_never_rises", 2, 2), ("position_is_kept", 1, 1)]);
    }

    #[test]
    fn waits_are_shown_by_when_they_ended() {
        let log = WaitLog::default();
        log.admitted(Duration::from_millis(4_200), &[told(1_200, 1, 2, 3)]);
        log.admitted(Duration::from_millis(4_900), &[told(3_900, 3, 4, 5)]);
        log.admitted(Duration::from_secs(2), &[told(0, 9, 10, 11)]);
        let moments = log.snapshot().moments();
        assert_eq!(
            moments,
            [
                Moment { at: 2.0, low: 9.0, told: 10.0, high: 11.0, wait: 2.0 },
                Moment { at: 4.0, low: 2.0, told: 3.0, high: 4.0, wait: 2.0 },
            ]
        );
    }
}
