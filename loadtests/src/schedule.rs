//! When visitors arrive: decided before the run, so that a slow system can't slow its own load.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How the gaps between arrivals are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Exponential gaps: independent people, so that two in the same millisecond do happen.
    Poisson,
    /// Equal gaps.
    Fixed,
}

/// An iterator over the arrivals, as offsets from the start of the run; never decreasing.
#[derive(Debug)]
pub(crate) struct Schedule {
    arrivals: Arrivals,
    mean_gap_seconds: f64,
    next_seconds: f64,
    left: u32,
    rng: StdRng,
}

impl Schedule {
    /// `users` arrivals at `per_second` (above 0) on average; the same `seed` gives the same times.
    pub(crate) fn new(arrivals: Arrivals, users: u32, per_second: f64, seed: u64) -> Self {
        Self {
            arrivals,
            mean_gap_seconds: per_second.recip(),
            next_seconds: 0.0,
            left: users,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// All in the same moment.
    pub(crate) fn at_once(users: u32) -> Self {
        Self { mean_gap_seconds: 0.0, ..Self::new(Arrivals::Fixed, users, 1.0, 0) }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let now = self.next_seconds;
        let gaps = match self.arrivals {
            Arrivals::Fixed => 1.0,
            // The inverse of the exponential distribution; `1 - u` is never 0.
            Arrivals::Poisson => -(1.0 - self.rng.random::<f64>()).ln(),
        };
        self.next_seconds += gaps * self.mean_gap_seconds;
        Some(Duration::from_secs_f64(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_arrivals_have_equal_gaps() {
        let times: Vec<_> = Schedule::new(Arrivals::Fixed, 4, 10.0, 1).map(|at| at.as_secs_f64()).collect();
        for (time, expected) in times.iter().zip([0.0, 0.1, 0.2, 0.3]) {
            assert!((time - expected).abs() < 1e-9, "{times:?}");
        }
        assert_eq!(times.len(), 4);
    }

    #[test]
    fn all_at_once_is_one_moment() {
        assert_eq!(Schedule::at_once(3).collect::<Vec<_>>(), [Duration::ZERO; 3]);
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_vary() {
        let times: Vec<_> = Schedule::new(Arrivals::Poisson, 20_000, 100.0, 7).collect();
        assert!(times.is_sorted());
        let last = times.last().unwrap().as_secs_f64();
        assert!((190.0..210.0).contains(&last), "20,000 at 100/s took {last} s");
        // The gaps of a Poisson process are as wide as their mean: far from equal.
        let short = times.windows(2).filter(|pair| pair[1].as_secs_f64() - pair[0].as_secs_f64() < 0.001).count();
        assert!((1_500..2_400).contains(&short), "{short} of 20,000 gaps below a tenth of the mean");
    }

    #[test]
    fn a_seed_repeats_itself() {
        let of = |seed| Schedule::new(Arrivals::Poisson, 50, 5.0, seed).collect::<Vec<_>>();
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
    }
}
