//! Locks of seats in Redis against reservations in `PostgreSQL`: a lock is there for a reservation, or for one that is
//! just being written.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use lua::Redis;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Broken, Database, Stores};

/// For so long a lock may be there without a reservation: one that is being written, or has just ended.
pub(super) const LOCK_OUTLIVES: Duration = Duration::from_secs(5);
/// How many locks one command asks for.
const PER_COMMAND: usize = 500;

/// One lock, told from any other of the same seat by its fence.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SeatLock {
    pub(super) seat: Uuid,
    /// `user:fence`.
    pub(super) value: String,
}

/// Looks at the locks of one concert's seats. It names the keys as core-api does (`hold:v1:{<concert>}:seat:<seat>`).
pub(super) struct Locks {
    redis: Redis,
    concert: Uuid,
    /// The concert's seats, read once.
    seats: Vec<Uuid>,
}

impl Locks {
    pub(super) fn connect(stores: &Stores, concert: Uuid) -> Result<Self> {
        // The URLs are not shown: they may hold a password.
        let redis = Redis::new(&stores.redis).context("Redis (--redis-url) can't be used")?;
        Ok(Self { redis, concert, seats: Vec::new() })
    }

    /// All locks of seats, and whether the seat is some live reservation's. The locks are read first: one that is taken
    /// between the two looks is not blamed for having no reservation yet.
    pub(super) async fn look(&mut self, database: &mut Database) -> Result<HashMap<SeatLock, bool>> {
        if self.seats.is_empty() {
            self.seats = database.seats(self.concert).await?;
        }
        let mut locks = Vec::new();
        for seats in self.seats.chunks(PER_COMMAND) {
            let keys: Vec<String> =
                seats.iter().map(|seat| format!("hold:v1:{{{}}}:seat:{seat}", self.concert)).collect();
            let values: Vec<Option<String>> =
                self.redis.run(redis::cmd("MGET").arg(keys).to_owned()).await.context("Redis")?;
            let found =
                seats.iter().zip(values).filter_map(|(seat, value)| Some(SeatLock { seat: *seat, value: value? }));
            locks.extend(found);
        }
        let reserved = database.reserved(self.concert).await?;
        let with_reservation = |lock: SeatLock| {
            let is_reserved = reserved.contains(&lock.seat);
            (lock, is_reserved)
        };
        Ok(locks.into_iter().map(with_reservation).collect())
    }
}

/// Locks without a reservation, and since when each was seen so.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    since: HashMap<SeatLock, Instant>,
    broken: Broken,
}

impl Orphans {
    /// Takes in one look.
    pub(super) fn see(&mut self, locked: &HashMap<SeatLock, bool>, now: Instant) {
        self.since.retain(|lock, _| locked.get(lock) == Some(&false));
        for (lock, _) in locked.iter().filter(|(_, is_reserved)| !**is_reserved) {
            let since = *self.since.entry(lock.clone()).or_insert(now);
            let age = now.duration_since(since);
            if age > LOCK_OUTLIVES {
                self.broken.note(format!("seat {} is locked by {} for {} s", lock.seat, lock.value, age.as_secs()));
            }
        }
    }

    pub(super) fn broken(&self) -> &Broken {
        &self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(fence: u32) -> SeatLock {
        SeatLock { seat: Uuid::nil(), value: format!("user:{fence}") }
    }

    fn blamed(looks: &[(u64, &[(u32, bool)])]) -> u64 {
        let (mut orphans, start) = (Orphans::default(), Instant::now());
        for (second, locks) in looks {
            let found = locks.iter().map(|(fence, is_reserved)| (lock(*fence), *is_reserved)).collect();
            orphans.see(&found, start + Duration::from_secs(*second));
        }
        orphans.broken().finding(1, "x", "x").broken
    }

    #[test]
    fn a_lock_may_be_without_a_reservation_for_a_moment_only() {
        assert_eq!(blamed(&[(0, &[(1, false)]), (5, &[(1, false)])]), 0);
        assert_eq!(blamed(&[(0, &[(1, false)]), (6, &[(1, false)])]), 1);
    }

    #[test]
    fn another_lock_of_the_seat_and_one_that_found_its_reservation_begin_anew() {
        assert_eq!(blamed(&[(0, &[(1, false)]), (3, &[(2, false)]), (8, &[(2, false)])]), 0);
        assert_eq!(blamed(&[(0, &[(1, false)]), (3, &[(1, true)]), (8, &[(1, false)])]), 0);
        assert_eq!(blamed(&[(0, &[(1, false)]), (3, &[]), (8, &[(1, false)])]), 0);
    }
}
