//! Locks that have outlived their reservations. Whoever ends a reservation releases its lock right after; a process that
//! dies in between leaves a seat that is free in `PostgreSQL` and that nobody can hold until the lock ends by itself,
//! minutes later. They are found by what has ended: a lock that still has the value of an ended reservation is nobody's.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::ids::ReservationId;
use metrics::counter;

use super::Returns;
use crate::domain::Fault;
use crate::domain::reservation::SeatLock;
use crate::metrics::LOCKS_LEFT_BEHIND;
use crate::store::postgres::Db;
use crate::store::redis::Holds;

/// How many ended reservations are looked at; those with the latest deadlines, whose locks would last longest.
const MAX_ENDED: i64 = 5_000;
/// By how much the clocks of the two stores may differ.
const SLACK: Duration = Duration::from_mins(1);

/// Finds them and takes their seats back.
#[derive(Debug)]
pub struct LeftBehind {
    db: Db,
    holds: Holds,
    returns: Returns,
    /// By how much a payment may outlast a deadline.
    payment_grace: Duration,
    seen: Mutex<Seen>,
}

/// What was looked at before. Whoever ended a reservation is given until the second look to release its lock.
#[derive(Debug, Default)]
struct Seen {
    once: HashSet<ReservationId>,
    /// Those of the look that is under way.
    fresh: HashSet<ReservationId>,
    /// Their locks are known to be gone.
    done: HashSet<ReservationId>,
}

impl LeftBehind {
    /// Over these.
    pub fn new(db: Db, holds: Holds, returns: Returns, payment_grace: Duration) -> Self {
        Self { db, holds, returns, payment_grace, seen: Mutex::default() }
    }

    /// One look. Every process takes its own: what two of them find, one takes back.
    pub async fn look(&self) -> Result<(), Fault> {
        let ended = self.db.ended(self.holds.grace() + SLACK, self.payment_grace, MAX_ENDED).await?;
        let due = self.seen().due(&ended);
        let left = self.holds.still_locked(&due).await?;
        self.seen().settle();
        if !left.is_empty() {
            tracing::warn!(locks = left.len(), "locks have outlived their reservations; their seats are taken back");
            counter!(LOCKS_LEFT_BEHIND.name).increment(u64::try_from(left.len()).unwrap_or(u64::MAX));
            self.returns.left_behind(&left).await;
        }
        Ok(())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// The locks of what is seen for the second time, and of what could not be settled then.
    fn due(&mut self, ended: &[(ReservationId, SeatLock)]) -> Vec<SeatLock> {
        let ids: HashSet<ReservationId> = ended.iter().map(|(id, _)| *id).collect();
        self.done.retain(|id| ids.contains(id));
        self.once.retain(|id| ids.contains(id));
        let due = ended.iter().filter(|(id, _)| self.once.contains(id)).map(|(_, lock)| *lock).collect();
        self.fresh = ids.into_iter().filter(|id| !self.done.contains(id) && !self.once.contains(id)).collect();
        due
    }

    /// The locks that were due have been looked at.
    fn settle(&mut self) {
        self.done.extend(self.once.drain());
        self.once = std::mem::take(&mut self.fresh);
    }
}

#[cfg(test)]
mod tests {
    use common::ids::{ConcertId, SeatId, UserId};

    use super::*;

    fn ended() -> (ReservationId, SeatLock) {
        let (concert, seat, user) = (ConcertId::generate(), SeatId::generate(), UserId::generate());
        (ReservationId::generate(), SeatLock { concert, seat, user, fence: 1 })
    }

    #[test]
    fn a_lock_is_looked_at_once_and_not_before_its_second_round() {
        let (first, second, mut seen) = (ended(), ended(), Seen::default());
        assert_eq!(seen.due(&[first]), []);
        seen.settle();
        assert_eq!(seen.due(&[first, second]), [first.1]);
        // Redis did not answer: it is due again, and the other one is not yet.
        assert_eq!(seen.due(&[first, second]), [first.1]);
        seen.settle();
        assert_eq!(seen.due(&[first, second]), [second.1]);
        seen.settle();
        assert_eq!(seen.due(&[first, second]), []);
        seen.settle();
        assert_eq!(seen.due(&[]), []);
        assert!(seen.done.is_empty(), "what is long ago is forgotten");
    }
}
