//! What a series of looks at a room shows about points 3 and 4 of the design.

use super::{Limits, RoomSample};
use crate::invariants::{Broken, Finding};

/// What a series of samples shows; give it each of them in order.
#[derive(Debug, Default)]
pub(crate) struct RoomJudge {
    defaults: Limits,
    samples: u64,
    active_max: u64,
    max_active: Option<u64>,
    over_max: Broken,
    rate: RateWindow,
    over_rate: Broken,
    previous: Option<RoomSample>,
    watched: String,
    overtaken: Broken,
}

impl RoomJudge {
    /// `defaults` hold for what the room itself does not set.
    pub(crate) fn new(defaults: Limits) -> Self {
        Self { defaults, ..Self::default() }
    }

    /// Whom the next sample is to watch.
    pub(crate) fn watched(&self) -> &str {
        &self.watched
    }

    /// Whether the room existed at all.
    pub(crate) fn has_seen(&self) -> bool {
        self.samples > 0
    }

    pub(crate) fn see(&mut self, sample: &RoomSample) {
        self.samples += 1;
        self.see_active(sample);
        self.see_rate(sample);
        self.see_order(sample);
        if sample.watched_position == 0 || sample.watched_present_until_ms <= sample.at_ms {
            self.watched.clone_from(&sample.front);
        }
        self.previous = Some(sample.clone());
    }

    fn see_active(&mut self, sample: &RoomSample) {
        self.active_max = self.active_max.max(sample.active());
        self.max_active = sample.limits.max_active.or(self.defaults.max_active);
        if let Some(max) = self.max_active
            && sample.active() > max
            && !sample.passthrough
        {
            self.over_max.note(format!(
                "{} offers and {} leases at {} ms, {max} allowed",
                sample.offers, sample.leases, sample.at_ms
            ));
        }
    }

    fn see_rate(&mut self, sample: &RoomSample) {
        let rate = sample.limits.admit_per_second.or(self.defaults.admit_per_second);
        let burst = sample.limits.burst.or(self.defaults.burst);
        let (Some(rate), Some(burst), false) = (rate, burst, sample.passthrough) else {
            self.rate = RateWindow::default();
            return;
        };
        if let Some(example) = self.rate.see(sample, rate, burst) {
            self.over_rate.note(example);
        }
    }

    /// Overtaken was who stood first in line and counted as present from one sample until after the
    /// next, and is still in line in that next one although the frontier has moved on: the room
    /// only moves it by dealing with the first in line first.
    fn see_order(&mut self, sample: &RoomSample) {
        let Some(before) = &self.previous else { return };
        let stood_there = before.watched_position > 0
            && before.watched_position == sample.watched_position
            && before.watched_present_until_ms > sample.at_ms
            && before.epoch == sample.epoch
            && !sample.passthrough;
        if stood_there && sample.frontier > before.frontier && sample.frontier > sample.watched_position {
            self.overtaken.note(format!(
                "position {} stood present in line while the frontier went from {} to {}",
                sample.watched_position, before.frontier, sample.frontier
            ));
        }
    }

    /// The verdicts on points 3 and 4.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let finding = |point, name, title: &str, broken: &Broken, unknown: Option<&str>| {
            let finding = broken.finding(point, name, title);
            match unknown {
                _ if self.samples == 0 => finding.not_checked("the room was never seen"),
                Some(reason) => finding.not_checked(reason),
                None => finding,
            }
        };
        let seen = self.samples;
        let active =
            format!("offers and leases never exceeded maxActive (at most {} in {seen} looks)", self.active_max);
        let no_max = self.max_active.is_none().then_some("maxActive is not known: give --max-active");
        let no_rate =
            (!self.rate.judged).then_some("rate and burst are not known: give --admit-per-second and --burst");
        vec![
            finding(3, "room_order", "nobody first in line and present was passed over", &self.overtaken, None),
            finding(4, "room_max_active", &active, &self.over_max, no_max),
            finding(
                4,
                "room_rate",
                "admissions never exceeded burst + rate × time in any window",
                &self.over_rate,
                no_rate,
            ),
        ]
    }
}

/// The rule "at most burst + rate × time in any window" over all windows between two samples, in one pass:
/// with f = admitted − rate × time it says that f never rises by more than the burst above its lowest value so far.
#[derive(Debug, Default)]
struct RateWindow {
    /// Epoch and settings of the values below; a change of either begins anew.
    of: Option<(u64, f64, f64)>,
    lowest: f64,
    lowest_at_ms: u64,
    lowest_admitted: u64,
    judged: bool,
}

impl RateWindow {
    fn see(&mut self, sample: &RoomSample, rate: f64, burst: f64) -> Option<String> {
        let f = float(sample.admitted) - rate * float(sample.at_ms) / 1000.0;
        self.judged = true;
        if self.of != Some((sample.epoch, rate, burst)) || f < self.lowest {
            self.of = Some((sample.epoch, rate, burst));
            (self.lowest, self.lowest_at_ms, self.lowest_admitted) = (f, sample.at_ms, sample.admitted);
            return None;
        }
        // A hundredth of an admission for the rounding of the clock (1 ms) and of numbers of 10^12.
        (f - self.lowest > burst + rate / 1000.0 + 0.01).then(|| {
            format!(
                "{} admissions in {} ms, allowed are {burst} + {rate}/s",
                sample.admitted - self.lowest_admitted,
                sample.at_ms - self.lowest_at_ms
            )
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts and milliseconds of this century are far below 2^52")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, admitted: u64, active: u64) -> RoomSample {
        RoomSample {
            at_ms,
            epoch: 1,
            frontier: admitted,
            admitted,
            waiting: 5,
            offers: 0,
            leases: active,
            passthrough: false,
            limits: Limits { admit_per_second: Some(10.0), burst: Some(5.0), max_active: Some(20) },
            front: "a".to_owned(),
            watched_position: 0,
            watched_present_until_ms: 0,
        }
    }

    fn broken(samples: &[RoomSample]) -> Vec<&'static str> {
        let mut judge = RoomJudge::new(Limits::default());
        for sample in samples {
            judge.see(sample);
        }
        judge.findings().iter().filter(|finding| finding.is_broken()).map(|finding| finding.name).collect()
    }

    const NOW: u64 = 1_790_000_000_000;

    #[test]
    fn what_the_room_allows_is_no_finding() {
        let fine = [sample(NOW, 0, 0), sample(NOW + 1, 5, 5), sample(NOW + 1_000, 15, 15), sample(NOW + 5_000, 20, 20)];
        assert_eq!(broken(&fine), Vec::<&str>::new());
    }

    #[test]
    fn more_active_than_allowed_is_found() {
        assert_eq!(broken(&[sample(NOW, 0, 21)]), ["room_max_active"]);
    }

    #[test]
    fn faster_than_allowed_is_found_in_any_window() {
        // On the whole slow, but 7 within 100 ms in the middle: 5 + 1 are allowed.
        let fast =
            [sample(NOW, 0, 0), sample(NOW + 10_000, 3, 0), sample(NOW + 10_100, 10, 0), sample(NOW + 20_000, 10, 0)];
        assert_eq!(broken(&fast), ["room_rate"]);
    }

    #[test]
    fn a_new_life_of_the_room_begins_a_new_window() {
        let mut reborn = sample(NOW + 10, 5, 0);
        reborn.epoch = 2;
        assert_eq!(broken(&[sample(NOW, 100, 0), reborn]), Vec::<&str>::new());
    }

    #[test]
    fn who_is_first_and_present_must_not_be_passed() {
        let standing = |at_ms, frontier| {
            let mut sample = sample(at_ms, 0, 0);
            sample.frontier = frontier;
            sample.watched_position = 8;
            sample.watched_present_until_ms = NOW + 1_000;
            sample
        };
        assert_eq!(broken(&[standing(NOW, 7), standing(NOW + 100, 9)]), ["room_order"]);
        assert_eq!(
            broken(&[standing(NOW, 9), standing(NOW + 100, 9)]),
            Vec::<&str>::new(),
            "back in line, about to be let in"
        );
        assert_eq!(broken(&[standing(NOW, 7), standing(NOW + 1_100, 9)]), Vec::<&str>::new(), "may have been absent");
    }

    #[test]
    fn unknown_limits_are_not_called_kept() {
        let mut unknown = sample(NOW, 0, 1_000_000);
        unknown.limits = Limits::default();
        let mut judge = RoomJudge::new(Limits::default());
        judge.see(&unknown);
        let unchecked = judge.findings().into_iter().filter(|finding| !finding.is_checked()).count();
        assert_eq!(unchecked, 2);
    }
}
