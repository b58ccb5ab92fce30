//! Limits on how often one user, address or account may do something.
//!
//! Counted with GCRA (the `governor` crate): one number for each key, no timer, and when to come back is known exactly.
//! Memory is bounded twice: a key that has done nothing of late is forgotten, since its state says no more than that of
//! one never seen; and there is room for [`MAX_KEYS`] of them.
//!
//! Each process counts for itself.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::config::{Reader, Setting};
use crate::problem::{ErrorCode, Problem};

/// Keys that one limit counts by themselves: 27 MB of users, measured. A process that serves 50,000 requests a second, each
/// of another user, has a third of them at a time; more are somebody's attempt to fill the memory.
///
/// Those beyond share [`SHARED_STATES`] states by a hash that nobody can foresee, each with the quota of one key. To
/// refuse them would let whoever fills the table lock out everyone who comes after; to let them through would make
/// filling it the way around the limit. Keys that were there before are counted by themselves all the while.
pub const MAX_KEYS: usize = 500_000;
/// States that keys beyond [`MAX_KEYS`] share.
pub const SHARED_STATES: usize = 4_096;
/// Parts of the table that are locked one at a time while it is swept.
const SHARDS: usize = 64;
/// How often what is no longer needed is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(1);
/// No smaller table is worth shrinking.
const SHRINK_FROM: usize = 64 * 1_024;

/// How often something may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Times a minute, evenly; 0 is no limit.
    pub per_minute: u32,
    /// Of how many seconds the quota may be used at once, after as long a lull.
    pub burst_seconds: u32,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { per_minute: 0, burst_seconds: 0 };

    /// Reads the times a minute from a setting. `None` is a fault already noted.
    pub fn read(reader: &mut Reader, setting: &Setting, burst_seconds: u32) -> Option<Self> {
        let per_minute = reader.number(setting, 0..=60_000_000)?;
        Some(Self { per_minute, burst_seconds })
    }

    /// How many times at once, at least one.
    pub fn burst(self) -> u32 {
        let burst = (u64::from(self.per_minute) * u64::from(self.burst_seconds)).div_ceil(60);
        u32::try_from(burst).unwrap_or(u32::MAX).max(1)
    }

    fn quota(self) -> Option<Quota> {
        let between = Duration::from_mins(1).checked_div(self.per_minute)?;
        Some(Quota::with_period(between)?.allow_burst(NonZeroU32::new(self.burst())?))
    }
}

/// Something was done too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too often, again in {wait:?}")]
pub struct TooOften {
    /// In how long it may be done again.
    pub wait: Duration,
}

impl From<TooOften> for Problem {
    fn from(TooOften { wait }: TooOften) -> Self {
        Self::new(ErrorCode::TooManyRequests).retry_after(wait)
    }
}

/// A limit on how often each key may do something. Cloning it shares the count.
#[derive(Debug)]
pub struct RateLimit<K: Key>(Option<Arc<Counted<K>>>);

/// What a limit can count by.
pub trait Key: Hash + Eq + Clone + Send + Sync + 'static {}
impl<K: Hash + Eq + Clone + Send + Sync + 'static> Key for K {}

type Counted<K> = RateLimiter<K, States<K>, Running, NoOpMiddleware<Nanos>>;

impl<K: Key> Clone for RateLimit<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K: Key> RateLimit<K> {
    /// A limit of `rate` for each key.
    pub fn new(rate: Rate, clock: &SharedClock) -> Self {
        Self::with_room_for(MAX_KEYS, rate, clock)
    }

    fn with_room_for(most: usize, rate: Rate, clock: &SharedClock) -> Self {
        let limiter = |quota| RateLimiter::new(quota, States::new(most), Running(Arc::clone(clock)));
        Self(rate.quota().map(limiter).map(Arc::new))
    }

    /// Counts that `key` does it once more, unless that is too often: what is refused is not counted.
    pub fn check(&self, key: &K) -> Result<(), TooOften> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(key).map_err(|refused| TooOften { wait: refused.wait_time_from(limiter.clock().now()) })
    }

    /// Forgets the keys that could do as much as one never seen.
    pub fn forget(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
        }
    }

    /// How many keys are remembered.
    pub fn keys(&self) -> usize {
        self.0.as_ref().map_or(0, |limiter| limiter.len())
    }
}

/// Runs `forget`, which sweeps a process's limits, every second until `stopping`. The task to give to a
/// [`Lifecycle`](crate::lifecycle::Lifecycle).
pub async fn forget_regularly(forget: impl Fn() + Clone + Send + 'static, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(FORGET_EVERY) => {}
            () = stopping.cancelled() => return,
        }
        // A full table takes some ms to sweep: not on a thread that requests wait for.
        let swept = tokio::task::spawn_blocking(forget.clone()).await;
        if let Err(panic) = swept.map_err(tokio::task::JoinError::try_into_panic) {
            return panic.map_or_else(|_| (), |panic| std::panic::resume_unwind(panic));
        }
    }
}

/// The process's own time, as governor takes it.
#[derive(Clone)]
struct Running(SharedClock);

impl governor::clock::Clock for Running {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.running_for())
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Running(…)")
    }
}

/// The states of the keys, and those that are shared where there are too many.
#[derive(Debug)]
struct States<K: Key> {
    own: DashMapStateStore<K>,
    /// How many there are. Counted here because the map would have to lock all of its parts to tell.
    count: AtomicUsize,
    most: usize,
    shared: Box<[InMemoryState]>,
    hash: RandomState,
}

impl<K: Key> States<K> {
    fn new(most: usize) -> Self {
        Self {
            own: DashMapStateStore::with_shard_amount(SHARDS),
            count: AtomicUsize::new(0),
            most,
            shared: (0..SHARED_STATES).map(|_| InMemoryState::default()).collect(),
            hash: RandomState::new(),
        }
    }

    fn shared(&self, key: &K) -> &InMemoryState {
        let at = usize::try_from(self.hash.hash_one(key) % SHARED_STATES as u64).unwrap_or(0);
        &self.shared[at]
    }
}

impl<K: Key> StateStore for States<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(state) = self.own.get(key) {
            return state.measure_and_replace(&NotKeyed::NonKey, f);
        }
        // Two requests of one new key may both count it; the next sweep counts again.
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return self.shared(key).measure_and_replace(&NotKeyed::NonKey, f);
        }
        self.own.entry(key.clone()).or_default().measure_and_replace(&NotKeyed::NonKey, f)
    }
}

impl<K: Key> ShrinkableKeyedStateStore<K> for States<K> {
    /// Gives memory back too, where most of it is unused.
    fn retain_recent(&self, drop_below: Nanos) {
        self.own.retain_recent(drop_below);
        self.count.store(self.own.len(), Ordering::Relaxed);
        // Not whenever some of it is unused: it would be asked for again within a second.
        let room = self.own.capacity();
        if room > SHRINK_FROM && room / 4 > self.own.len() {
            self.own.shrink_to_fit();
        }
    }

    fn len(&self) -> usize {
        self.own.len()
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use chrono::{DateTime, Utc};
    use http::header::RETRY_AFTER;

    use super::*;
    use crate::clock::Clock;
    use crate::lifecycle::Lifecycle;

    /// Time that stands still until it is moved.
    #[derive(Default)]
    struct Stopped(AtomicU64);

    impl Stopped {
        fn advance(&self, by: Duration) {
            self.0.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
        }
    }

    impl Clock for Stopped {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH + self.running_for()
        }

        fn running_for(&self) -> Duration {
            Duration::from_nanos(self.0.load(Ordering::SeqCst))
        }
    }

    const A_SECOND_EACH: Rate = Rate { per_minute: 60, burst_seconds: 20 };

    fn limit(most: usize, rate: Rate) -> (Arc<Stopped>, RateLimit<u32>) {
        let clock = Arc::new(Stopped::default());
        let shared: SharedClock = Arc::clone(&clock) as SharedClock;
        (clock, RateLimit::with_room_for(most, rate, &shared))
    }

    fn passed(limit: &RateLimit<u32>, key: u32, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(limit.check(&key).is_ok())).sum()
    }

    #[test]
    fn a_burst_passes_and_then_as_much_as_the_rate_and_each_key_by_itself() {
        let (clock, limit) = limit(10, A_SECOND_EACH);
        assert_eq!((passed(&limit, 1, 30), passed(&limit, 2, 30)), (20, 20));
        clock.advance(Duration::from_secs(5));
        assert_eq!((passed(&limit, 1, 30), passed(&limit, 2, 3)), (5, 3));
        clock.advance(Duration::from_hours(9));
        assert_eq!(passed(&limit, 1, 30), 20, "what is saved up is bounded");
    }

    #[test]
    fn when_to_come_back_is_exact_and_being_refused_costs_nothing() {
        let (clock, limit) = limit(10, Rate { per_minute: 10, burst_seconds: 12 });
        assert_eq!(passed(&limit, 1, 2), 2);
        clock.advance(Duration::from_millis(2_500));
        for _ in 0..50 {
            assert_eq!(limit.check(&1), Err(TooOften { wait: Duration::from_millis(3_500) }));
        }
        clock.advance(Duration::from_millis(3_499));
        assert_eq!(limit.check(&1), Err(TooOften { wait: Duration::from_millis(1) }));
        clock.advance(Duration::from_millis(1));
        assert_eq!(limit.check(&1), Ok(()));
    }

    #[test]
    fn the_header_is_rounded_up_to_a_time_that_is_enough() {
        let problem = Problem::from(TooOften { wait: Duration::from_millis(3_001) });
        let response = axum::response::IntoResponse::into_response(problem);
        assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (429, &"4".parse().unwrap()));
    }

    #[test]
    fn a_rate_of_zero_is_no_limit_and_counts_nobody() {
        let (_, limit) = limit(10, Rate::OFF);
        assert_eq!((passed(&limit, 1, 10_000), limit.keys()), (10_000, 0));
    }

    #[test]
    fn a_burst_is_at_least_one() {
        let burst = |per_minute, burst_seconds| Rate { per_minute, burst_seconds }.burst();
        assert_eq!((burst(60, 20), burst(1, 20), burst(1, 0), burst(u32::MAX, 60)), (20, 1, 1, u32::MAX));
    }

    #[test]
    fn who_does_nothing_is_forgotten_and_who_has_used_their_quota_is_not() {
        let (clock, limit) = limit(100_000, A_SECOND_EACH);
        for key in 0..100_000 {
            limit.check(&key).unwrap();
        }
        passed(&limit, 7, 20);
        clock.advance(Duration::from_secs(3));
        limit.forget();
        assert_eq!(limit.keys(), 1, "the one who is still above the rate");
        assert_eq!(passed(&limit, 7, 20), 3);
        clock.advance(Duration::from_mins(1));
        limit.forget();
        assert_eq!(limit.keys(), 0);
    }

    #[test]
    fn memory_is_given_back() {
        let states = States::<u32>::new(1_000_000);
        for key in 0..200_000 {
            let _ = states.measure_and_replace(&key, |_| Ok::<_, ()>(((), Nanos::new(1))));
        }
        assert!(states.own.capacity() >= 200_000);
        states.retain_recent(Nanos::new(2));
        assert_eq!((states.len(), states.own.capacity()), (0, 0));
    }

    #[test]
    fn past_the_bound_newcomers_share_and_the_others_do_not_notice() {
        const MOST: usize = 1_000;
        let (clock, limit) = limit(MOST, A_SECOND_EACH);
        for key in 0..1_000 {
            limit.check(&key).unwrap();
        }
        let flood: u32 = (1_000..200_000).map(|key| passed(&limit, key, 1)).sum();
        assert_eq!(limit.keys(), MOST, "no key is added beyond the bound");
        let shared = u32::try_from(SHARED_STATES).unwrap() * A_SECOND_EACH.burst();
        assert!((shared - shared / 100..=shared).contains(&flood), "{flood} of {shared} passed");
        assert!((0..1_000).all(|key| passed(&limit, key, 30) == 19), "who was there before has their own quota");
        clock.advance(Duration::from_secs(30));
        limit.forget();
        assert_eq!(passed(&limit, 200_000, 30), 20, "room again: a quota of one's own");
        assert_eq!(limit.keys(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_forgets_until_it_is_stopped() {
        let ((clock, limit), lifecycle) = (limit(10, A_SECOND_EACH), Lifecycle::default());
        let swept = limit.clone();
        lifecycle.spawn("forgetting", forget_regularly(move || swept.forget(), lifecycle.stopping()));
        limit.check(&1).unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(limit.keys(), 1, "by its clock no time has passed");
        clock.advance(Duration::from_secs(2));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(limit.keys(), 0);
        lifecycle.stop();
        assert!(lifecycle.finished(Duration::from_secs(5)).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sweep_that_dies_is_told() {
        let lifecycle = Lifecycle::default();
        lifecycle.spawn("forgetting", forget_regularly(|| panic!("on purpose"), lifecycle.stopping()));
        lifecycle.draining().cancelled().await;
    }
}
