//! The one clock of a world.

use std::time::Duration;

use chrono::{DateTime, Utc};
use common::clock::Clock;
use tokio::time::Instant;

/// When every world begins, in ms of Unix time: 2026-06-01.
pub(crate) const BEGIN_MS: i64 = 1_780_272_000_000;

/// Virtual time: it stands still while anything happens and jumps to the next thing that is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VirtualClock {
    begin: Instant,
}

impl VirtualClock {
    /// Begins now. Call it inside a runtime whose time is paused.
    pub(crate) fn begin() -> Self {
        Self { begin: Instant::now() }
    }

    /// Now, in ms of Unix time.
    pub(crate) fn now_ms(&self) -> i64 {
        BEGIN_MS + self.elapsed_ms()
    }

    /// Ms since the world began.
    pub(crate) fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.begin.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.now_ms()).unwrap_or_default()
    }

    fn running_for(&self) -> Duration {
        self.begin.elapsed()
    }
}
