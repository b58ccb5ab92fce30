//! A rate over every window at once: so many a second, and a burst.

/// Counts grants against a rate.
///
/// The grants of every window of t seconds are at most `rate · t + burst` exactly where a bucket of that size, refilled at
/// that rate, is never taken from while empty.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at_ms: i64,
}

/// Clocks are cut to ms: each grant may come so much too soon.
const SLACK_MS: f64 = 2.0;

impl Rate {
    pub(super) fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst: f64::from(burst), tokens: f64::from(burst), at_ms: 0 }
    }

    /// Counts a grant; whether it was within the rate.
    pub(super) fn take(&mut self, now_ms: i64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a world lasts for minutes")]
        let passed_seconds = (now_ms - self.at_ms).max(0) as f64 / 1_000.0;
        self.tokens = (self.tokens + passed_seconds * self.per_second).min(self.burst);
        self.at_ms = now_ms;
        self.tokens -= 1.0;
        let is_within = self.tokens >= -(0.001 + self.per_second * SLACK_MS / 1_000.0);
        if !is_within {
            // One fault is one finding.
            self.tokens = 0.0;
        }
        is_within
    }

    /// Allows a whole burst, where a clock was set that the room goes by.
    pub(super) fn fill(&mut self) {
        self.tokens = self.burst;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut rate = Rate::new(2.0, 3);
        assert_eq!([0, 0, 0, 0].map(|at| rate.take(at)), [true, true, true, false]);
        assert_eq!([500, 999, 1_500].map(|at| rate.take(at)), [true, true, true], "the millisecond is the clock's");
        assert!(!rate.take(1_700));
    }
}
