//! Seats that a crash has left in the middle of being handed on to whoever waits for one. Such a seat is free in
//! `PostgreSQL` and has a lock that is nobody's reservation's: the one that was passed on, or that kept the seat from
//! others meanwhile. Left alone it would be everybody's once that lock ends, past all who wait.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::ids::SeatId;
use metrics::counter;

use super::Returns;
use crate::domain::Fault;
use crate::domain::reservation::SeatLock;
use crate::metrics::LOCKS_LEFT_BEHIND;
use crate::store::postgres::Db;
use crate::store::redis::Holds;

/// How long a seat has been free at most: longer than a lock lives that is passed on.
const FREE_FOR: Duration = Duration::from_mins(1);
/// How many such seats are looked at.
const MAX_SEATS: i64 = 1_000;
/// Whoever has a lock and means to write a reservation has done so, or given up, before this; and the lock still is
/// there for some looks.
const DEAD_AFTER: Duration = Duration::from_secs(14);

/// Finds them and hands them on.
#[derive(Debug)]
pub struct HandingOn {
    db: Db,
    holds: Holds,
    returns: Returns,
    seen: Mutex<Seen>,
}

/// The locks of the last look, and since when each has been seen.
#[derive(Debug, Default)]
struct Seen(HashMap<SeatId, (SeatLock, Instant)>);

impl HandingOn {
    /// Over these.
    pub fn new(db: Db, holds: Holds, returns: Returns) -> Self {
        Self { db, holds, returns, seen: Mutex::default() }
    }

    /// One look, at a time that only goes forward. Every process takes its own: what two of them find, one hands on.
    pub async fn look(&self, now: Instant) -> Result<(), Fault> {
        let seats = self.db.free_and_waited_for(FREE_FOR, MAX_SEATS).await?;
        let locks = self.holds.locks_of(&seats).await?;
        let dead = self.seen.lock().unwrap_or_else(PoisonError::into_inner).dead(&locks, now);
        if !dead.is_empty() {
            tracing::warn!(seats = dead.len(), "whoever was handing these seats on is gone; they are handed on");
            counter!(LOCKS_LEFT_BEHIND.name).increment(u64::try_from(dead.len()).unwrap_or(u64::MAX));
            self.returns.left_behind(&dead).await;
        }
        Ok(())
    }
}

impl Seen {
    /// Those that have been seen, the very same, for too long to be anybody's.
    fn dead(&mut self, locks: &[SeatLock], now: Instant) -> Vec<SeatLock> {
        let before = std::mem::take(&mut self.0);
        let since = |lock: &SeatLock| match before.get(&lock.seat) {
            Some((same, since)) if same == lock => *since,
            _ => now,
        };
        self.0 = locks.iter().map(|lock| (lock.seat, (*lock, since(lock)))).collect();
        locks.iter().filter(|lock| now.duration_since(since(lock)) >= DEAD_AFTER).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use common::ids::{ConcertId, UserId};

    use super::*;

    #[test]
    fn only_the_very_same_lock_seen_for_long_is_dead() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let lock =
            SeatLock { concert: ConcertId::generate(), seat: SeatId::generate(), user: UserId::generate(), fence: 1 };
        let next = SeatLock { fence: 2, ..lock };
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seen.dead(&[lock], at(0)), []);
        assert_eq!(seen.dead(&[lock], at(13)), []);
        // Another one of the same seat begins anew, and so does one that was gone in between.
        assert_eq!(seen.dead(&[next], at(14)), []);
        assert_eq!(seen.dead(&[next], at(28)), [next]);
        assert_eq!(seen.dead(&[], at(30)), []);
        assert_eq!(seen.dead(&[next], at(32)), []);
    }
}
