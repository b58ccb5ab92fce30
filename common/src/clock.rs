//! Time, injected: a test proves expiry by advancing a clock, never by sleeping.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

/// Tells the wall-clock time. What is decided in Redis or in `PostgreSQL` uses those servers' own clocks, not this one.
pub trait Clock: Send + Sync + 'static {
    /// Now, in UTC.
    fn now(&self) -> DateTime<Utc>;

    /// How long this process has run: what is measured by it neither jumps nor goes back when somebody sets the clock.
    fn running_for(&self) -> Duration;
}

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A clock that can be handed to everyone who needs it.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn running_for(&self) -> Duration {
        STARTED.elapsed()
    }
}

/// A clock that runs with the machine's, moved by what a test has advanced it.
#[derive(Debug, Default)]
pub struct ShiftedClock {
    shift_ms: AtomicI64,
    /// The forward moves alone.
    forward_ms: AtomicU64,
}

impl ShiftedClock {
    /// Moves the clock forward, or back when `by` is negative.
    pub fn advance(&self, by: TimeDelta) {
        self.shift_ms.fetch_add(by.num_milliseconds(), Ordering::SeqCst);
        self.forward_ms.fetch_add(u64::try_from(by.num_milliseconds()).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::milliseconds(self.shift_ms.load(Ordering::SeqCst))
    }

    fn running_for(&self) -> Duration {
        STARTED.elapsed() + Duration::from_millis(self.forward_ms.load(Ordering::SeqCst))
    }
}

/// A time as clients see it: RFC 3339 in UTC with milliseconds, `2026-01-31T09:00:00.000Z`.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Serialises a time as [`rfc3339`], for `#[serde(serialize_with = "…")]`.
pub fn serialize_rfc3339<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// The same for a time that may be missing (`null`).
pub fn serialize_rfc3339_opt<S: serde::Serializer>(
    time: &Option<DateTime<Utc>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serialize_rfc3339(time, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shifted_clock_moves_both_ways() {
        let clock = ShiftedClock::default();
        let before = clock.now();
        clock.advance(TimeDelta::hours(2));
        assert!(clock.now() >= before + TimeDelta::hours(2));
        clock.advance(TimeDelta::hours(-3));
        assert!(clock.now() < before);
    }

    #[test]
    fn setting_the_clock_back_does_not_undo_what_has_run() {
        let clock = ShiftedClock::default();
        clock.advance(TimeDelta::hours(2));
        let before = clock.running_for();
        assert!(before >= Duration::from_hours(2));
        clock.advance(TimeDelta::hours(-3));
        assert!(clock.running_for() >= before);
    }

    #[test]
    fn times_end_in_z() {
        let time = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.123Z");
    }
}
