//! The run over time, in equal buckets.

use std::time::Duration;

use hdrhistogram::Histogram;

/// However long a run may be, its timeline has at most this many buckets.
const BUCKETS_MAX: u32 = 600;

/// What happened in one stretch of time.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) arrivals: u64,
    /// Requests to join and polls that were sent in it, repeated ones included.
    pub(crate) joins: u64,
    pub(crate) polls: u64,
    pub(crate) admissions: u64,
    pub(crate) holds: u64,
    pub(crate) sales: u64,
    /// Requests that were sent in it and got no answer or a 5xx.
    pub(crate) failures: u64,
    /// Requests that were sent in it and answered 429.
    pub(crate) too_many: u64,
    /// Those of `failures` that were answered 503.
    pub(crate) unavailable: u64,
    /// Microseconds of the steps that were meant to start in it. Two digits are enough for a graph.
    pub(crate) latency: Histogram<u64>,
}

/// Buckets from the start of the run on; as many as were needed.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    width: Duration,
    buckets: Vec<Bucket>,
}

impl Timeline {
    /// One second wide, or wider for runs of more than ten minutes.
    pub(crate) fn new(length_max: Duration) -> Self {
        let width = Duration::from_secs(length_max.as_secs().div_ceil(BUCKETS_MAX.into()).max(1));
        Self { width, buckets: Vec::new() }
    }

    /// The bucket for `offset` from the start. What comes after the run's end goes to the last one.
    pub(crate) fn at(&mut self, offset: Duration) -> &mut Bucket {
        let index = offset.as_secs() / self.width.as_secs();
        let index = usize::try_from(index.min(u64::from(BUCKETS_MAX) - 1)).unwrap_or_default();
        if self.buckets.len() <= index {
            self.buckets.resize_with(index + 1, Bucket::new);
        }
        &mut self.buckets[index]
    }

    pub(crate) fn width(&self) -> Duration {
        self.width
    }

    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }
}

impl Bucket {
    fn new() -> Self {
        Self {
            arrivals: 0,
            joins: 0,
            polls: 0,
            admissions: 0,
            holds: 0,
            sales: 0,
            failures: 0,
            too_many: 0,
            unavailable: 0,
            latency: super::histogram(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_find_their_second() {
        let mut timeline = Timeline::new(Duration::from_mins(10));
        timeline.at(Duration::from_millis(2_999)).sales += 1;
        timeline.at(Duration::from_secs(2)).sales += 1;
        assert_eq!(timeline.buckets().len(), 3);
        assert_eq!(timeline.buckets()[2].sales, 2);
    }

    #[test]
    fn a_long_run_has_wider_buckets_and_no_more_of_them() {
        let mut timeline = Timeline::new(Duration::from_mins(100));
        assert_eq!(timeline.width(), Duration::from_secs(10));
        timeline.at(Duration::from_secs(1_000_000)).sales += 1;
        assert_eq!(timeline.buckets().len(), 600);
    }
}
