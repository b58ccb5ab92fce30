//! How long a wait will be, and when to ask again.

use std::time::Duration;

use super::MAX_POLL_AFTER;
use super::view::RoomView;

/// How far the pace may turn out to be from the likeliest one, either way. The line may well be faster than the rate that
/// is set: who gave up is passed over, and costs no turn. It is slower while turns go unclaimed or the room is full.
const PACE_SPREAD: f64 = 0.6;

/// How fast a line moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// The likeliest number of turns a second.
    expected: f64,
    /// The least and the most that is to be reckoned with.
    slow: f64,
    fast: f64,
    /// How many may still come in before the room is full, and the least pace that can be kept up from then on.
    free: f64,
    sustained: f64,
    /// How long until anyone is let in.
    starts_in_seconds: f64,
    /// Turns that may come at once, and the most that may come in each second after that.
    burst: f64,
    set: f64,
}

/// A wait as a range, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitEstimate {
    /// The likeliest.
    pub expected_seconds: u64,
    /// Hardly less than this.
    pub low_seconds: u64,
    /// Hardly more than this.
    pub high_seconds: u64,
}

impl Pace {
    /// From what was measured, else from what is set: the rate, and how fast places inside become free.
    pub fn of(view: &RoomView) -> Self {
        let (counts, settings) = (&view.counts, &view.settings);
        #[expect(clippy::cast_precision_loss, reason = "sessions last days at most")]
        let turnover = f64::from(settings.max_active) * 1_000.0 / settings.session_ms.max(1) as f64;
        let free = settings.max_active.saturating_sub(counts.offers.saturating_add(counts.leased));
        let set = if free == 0 { settings.admit_per_second.min(turnover) } else { settings.admit_per_second };
        let measured = view.measured.unwrap_or_default();
        let expected = if measured.moved_per_second > 0.0 { measured.moved_per_second } else { set }.max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "times in ms are far below 2^52")]
        let starts_in_seconds = (counts.opens_at_ms - counts.now_ms).max(0) as f64 / 1_000.0;
        Self {
            expected,
            slow: expected * PACE_SPREAD,
            fast: expected / PACE_SPREAD,
            free: f64::from(free),
            // Nobody stays for longer than a session.
            sustained: (measured.sustained_per_second * PACE_SPREAD).max(turnover).max(0.001),
            starts_in_seconds,
            burst: f64::from(settings.burst),
            set: settings.admit_per_second.max(0.001),
        }
    }

    /// How long someone waits who has this many people in front.
    pub fn wait(&self, ahead: u32) -> WaitEstimate {
        // Turns come in steps, and so do polls: even the first in line waits a moment.
        let places = f64::from(ahead) + 1.0;
        WaitEstimate {
            expected_seconds: whole_seconds(self.starts_in_seconds + places / self.expected),
            low_seconds: whole_seconds(self.starts_in_seconds + f64::from(ahead) / self.fast).saturating_sub(1),
            high_seconds: whole_seconds(self.starts_in_seconds + self.longest_seconds(places)).saturating_add(3),
        }
    }

    /// How long so many turns take at the slowest: at the slow pace until the room is full, then as fast as places become
    /// free, which nobody knows before people have been inside.
    fn longest_seconds(&self, places: f64) -> f64 {
        let filling = self.slow - self.sustained;
        if filling <= 0.0 {
            return places / self.slow;
        }
        let full_in_seconds = self.free / filling;
        let until_full = self.slow * full_in_seconds;
        if places <= until_full { places / self.slow } else { full_in_seconds + (places - until_full) / self.sustained }
    }
}

impl Pace {
    /// How long someone waits who takes part in a draw with this many others: anyone may be first, or last.
    pub fn wait_for_draw(&self, others: u32) -> WaitEstimate {
        let (first, last) = (self.wait(0), self.wait(others));
        WaitEstimate {
            expected_seconds: self.wait(others / 2).expected_seconds,
            low_seconds: first.low_seconds,
            ..last
        }
    }

    /// When to ask again who has this many people in front: before their turn can possibly come, 1–2 s near the front, at
    /// most 30 s, moved by `jitter` (0–1) so that those who came together do not come back together.
    ///
    /// It follows the rate that is set, not the one measured: a room that moves slowly because it is full moves at its
    /// full rate the moment that people leave, and a turn offered to someone who is told to come back much later is a
    /// place that stays empty.
    pub fn poll_after(&self, ahead: u32, jitter: f64) -> Duration {
        let soonest_seconds = self.starts_in_seconds + (f64::from(ahead) - self.burst).max(0.0) / self.set;
        let base_seconds = (soonest_seconds * 0.7).clamp(1.25, MAX_POLL_AFTER.as_secs_f64() * 0.8);
        Duration::from_secs_f64(base_seconds * (0.8 + 0.4 * jitter.clamp(0.0, 1.0))).min(MAX_POLL_AFTER)
    }
}

fn whole_seconds(seconds: f64) -> u64 {
    const A_MONTH: f64 = 30.0 * 86_400.0;
    // Clamped to a month before the cast.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.ceil().clamp(0.0, A_MONTH) as u64;
    whole
}

impl WaitEstimate {
    /// No wait: for those who are not in line.
    pub const NONE: Self = Self { expected_seconds: 0, low_seconds: 0, high_seconds: 0 };
}

#[cfg(test)]
mod tests {
    use super::super::RoomSettings;
    use super::super::view::RoomCounts;
    use super::super::view::tests::{counts, settings, view};
    use super::*;

    fn pace(counts: RoomCounts, measured_per_second: Option<f64>) -> Pace {
        Pace::of(&view(counts, settings(), measured_per_second))
    }

    #[test]
    fn the_wait_follows_the_measured_rate_and_is_a_range() {
        let wait = pace(counts(), Some(5.0)).wait(99);
        assert_eq!(wait.expected_seconds, 20);
        assert!(wait.low_seconds < 20 && wait.high_seconds > 20, "{wait:?}");
        assert_eq!(pace(counts(), None).wait(99).expected_seconds, 10, "nothing measured: the rate that is set");
    }

    #[test]
    fn the_range_allows_for_a_third_that_gives_up_and_for_turns_that_go_unclaimed() {
        // A room that does not fill up.
        let wide = RoomSettings { max_active: 10_000, ..settings() };
        for measured in [None, Some(10.0)] {
            let wait = Pace::of(&view(counts(), wide.clone(), measured)).wait(999);
            assert_eq!(wait.expected_seconds, 100);
            // A third gives up and is passed over: the others' turns come in two thirds of the time.
            assert!(wait.low_seconds <= 66, "{wait:?}");
            // A third of the turns goes unclaimed, in a room that is full.
            assert!(wait.high_seconds >= 150, "{wait:?}");
            // Wide, but no "anything from now to never".
            assert!(wait.low_seconds >= 50 && wait.high_seconds <= 200, "{wait:?}");
        }
    }

    #[test]
    fn a_room_that_will_fill_up_may_move_as_slowly_as_people_go_out() {
        // 100 places, 10 turns a second, sessions of 100 seconds: the first hundred, and some more, need not wait for
        // places. Of those behind, the last may have to wait for almost all to stay as long as they may.
        let room = RoomSettings { session_ms: 100_000, ..settings() };
        let pace = Pace::of(&view(counts(), room.clone(), None));
        assert!(pace.wait(99).high_seconds <= 20, "{:?}", pace.wait(99));
        let behind = pace.wait(1_099);
        assert_eq!((behind.low_seconds, behind.expected_seconds), (65, 110));
        assert!((980..1_010).contains(&behind.high_seconds), "{behind:?}");
        // Once it shows that people go out as fast as they come in, nobody is told so.
        let pace = Pace::of(&view(counts(), room, Some(10.0)));
        assert!(pace.wait(1_099).high_seconds < 190, "{:?}", pace.wait(1_099));
    }

    #[test]
    fn a_full_room_moves_as_places_become_free() {
        let full = RoomCounts { leased: 100, ..counts() };
        let short = RoomSettings { session_ms: 100_000, ..settings() };
        assert_eq!(Pace::of(&view(full, short, None)).wait(9).expected_seconds, 10, "one place a second");
    }

    #[test]
    fn before_the_opening_the_wait_begins_with_it() {
        let early = RoomCounts { opens_at_ms: counts().now_ms + 60_000, ..counts() };
        assert_eq!(pace(early, None).wait(9).expected_seconds, 61);
        assert!(pace(early, None).wait(0).low_seconds >= 59);
    }

    #[test]
    fn polls_come_at_one_to_two_seconds_near_the_front_and_at_most_thirty_far_back() {
        let pace = pace(counts(), None);
        for ahead in [0, 1, 10, 100, 1_000, 100_000, u32::MAX] {
            for jitter in [0.0, 0.5, 1.0] {
                let after = pace.poll_after(ahead, jitter);
                assert!((Duration::from_secs(1)..=MAX_POLL_AFTER).contains(&after), "{ahead} {after:?}");
                assert!(ahead > 10 || after <= Duration::from_secs(2), "{ahead} {after:?}");
                let soonest = (f64::from(ahead) - 5.0).max(0.0) / 10.0;
                assert!(after.as_secs_f64() <= soonest.max(2.0), "{ahead}: {after:?} is after their turn");
            }
            let wait = pace.wait(ahead);
            assert!(wait.low_seconds <= wait.expected_seconds && wait.expected_seconds <= wait.high_seconds);
        }
    }

    #[test]
    fn a_room_that_crawls_is_polled_as_if_it_could_run() {
        let ahead = 30;
        assert_eq!(pace(counts(), Some(0.01)).poll_after(ahead, 0.5), pace(counts(), None).poll_after(ahead, 0.5));
    }

    #[test]
    fn long_before_the_opening_nobody_is_asked_to_hurry() {
        let early = RoomCounts { opens_at_ms: counts().now_ms + 3_600_000, ..counts() };
        assert!(pace(early, None).poll_after(0, 0.5) >= Duration::from_secs(20));
    }
}
