//! Seats that a crash or a failure has left in the middle of being handed on to whoever waits for one. `PostgreSQL` knows
//! them since the moment they came free, and keeps them from everybody else; what is missing is somebody who offers them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::ids::{ConcertId, SeatId, UserId};
use metrics::counter;
use uuid::Uuid;

use super::Returns;
use crate::domain::Fault;
use crate::domain::reservation::SeatLock;
use crate::metrics::LOCKS_LEFT_BEHIND;
use crate::store::postgres::Db;
use crate::store::redis::Holds;

/// How many such seats are looked at.
const MAX_SEATS: i64 = 1_000;
/// Whoever is handing a seat on has done so before this. Where one is slower two do it, of whom one writes the offer.
const DEAD_AFTER: Duration = Duration::from_secs(5);

/// Finds them and hands them on.
#[derive(Debug)]
pub struct HandingOn {
    db: Db,
    holds: Holds,
    returns: Returns,
    seen: Mutex<Seen>,
}

/// The seats of the last look, and since when each has been seen.
#[derive(Debug, Default)]
struct Seen(HashMap<SeatId, Instant>);

impl HandingOn {
    /// Over these.
    pub fn new(db: Db, holds: Holds, returns: Returns) -> Self {
        Self { db, holds, returns, seen: Mutex::default() }
    }

    /// One look, at a time that only goes forward. Every process takes its own: what two of them find, one hands on.
    pub async fn look(&self, now: Instant) -> Result<(), Fault> {
        let seats = self.db.handing_on(MAX_SEATS).await?;
        let left = self.seen.lock().unwrap_or_else(PoisonError::into_inner).left(&seats, now);
        if !left.is_empty() {
            let locks = self.locks_of(&left).await?;
            tracing::warn!(seats = locks.len(), "whoever was handing these seats on is gone; they are handed on");
            counter!(LOCKS_LEFT_BEHIND.name).increment(u64::try_from(locks.len()).unwrap_or(u64::MAX));
            self.returns.left_behind(&locks).await;
        }
        Ok(())
    }

    /// Their locks, whosever they are: no seat of them can be held but by an offer. One that has none gets a name for it.
    async fn locks_of(&self, seats: &[(ConcertId, SeatId)]) -> Result<Vec<SeatLock>, Fault> {
        let locks = self.holds.locks_of(seats).await?;
        let locks: HashMap<SeatId, SeatLock> = locks.into_iter().map(|lock| (lock.seat, lock)).collect();
        let lock = |&(concert, seat): &(ConcertId, SeatId)| {
            let none = SeatLock { concert, seat, user: UserId::from(Uuid::nil()), fence: 0 };
            locks.get(&seat).copied().unwrap_or(none)
        };
        Ok(seats.iter().map(lock).collect())
    }
}

impl Seen {
    /// Those that have been seen for too long for anybody to be at it.
    fn left(&mut self, seats: &[(ConcertId, SeatId)], now: Instant) -> Vec<(ConcertId, SeatId)> {
        let before = std::mem::take(&mut self.0);
        let since = |seat: &SeatId| before.get(seat).copied().unwrap_or(now);
        self.0 = seats.iter().map(|(_, seat)| (*seat, since(seat))).collect();
        seats.iter().filter(|(_, seat)| now.duration_since(since(seat)) >= DEAD_AFTER).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_seat_seen_for_long_is_left() {
        let (mut seen, start) = (Seen::default(), Instant::now());
        let seat = (ConcertId::generate(), SeatId::generate());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(seen.left(&[seat], at(0)), []);
        assert_eq!(seen.left(&[seat], at(4)), []);
        assert_eq!(seen.left(&[seat], at(5)), [seat]);
        // One that was handed on in between begins anew.
        assert_eq!(seen.left(&[], at(6)), []);
        assert_eq!(seen.left(&[seat], at(11)), []);
    }
}
