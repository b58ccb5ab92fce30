//! Seats that come back: offered to whoever waits for one, or else released to everybody. Every seat whose reservation
//! ends goes through here, however it ended.

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use common::ids::{ConcertId, ReservationId, SeatId, UserId};
use common::tokens::PassId;

use super::{Catalogue, Reserving};
use crate::domain::effect::EffectError;
use crate::domain::hall::SeatChoice;
use crate::domain::managed::{AdminRefusal, HeldBack, SeatsMeant};
use crate::domain::reservation::{CancelError, Canceled, Order, ReservationStatus, SeatLock};
use crate::domain::waitlist::{OfferRefusal, WaitId, Waiting};
use crate::store::postgres::{Db, HoldRules, NewHold, Swept};
use crate::store::redis::Holds;

/// How many people are passed over for one seat, as they have as many seats as one may; then it is everybody's.
const MAX_PASSED_OVER: usize = 50;
/// So long before a concert nobody's refunds end: who declines an offer and has paid for it meanwhile keeps their seat.
const NEVER_REFUNDED: TimeDelta = TimeDelta::days(36_500);

/// Takes seats back.
#[derive(Debug, Clone)]
pub struct Returns {
    db: Db,
    holds: Holds,
    reserving: Reserving,
    catalogue: Catalogue,
    rules: HoldRules,
}

impl Returns {
    /// Over these; an offer can be paid for `offer_seconds`.
    pub fn new(db: Db, holds: Holds, reserving: Reserving, catalogue: Catalogue, offer_seconds: u32) -> Self {
        let rules = HoldRules { hold_seconds: offer_seconds, ..reserving.rules() };
        Self { db, holds, reserving, catalogue, rules }
    }

    /// Gives a user's reservation back, for its money where it is paid for; refunds end `until` before the concert's
    /// day. Must run to its end once begun.
    pub async fn cancel(&self, user: UserId, id: ReservationId, until: TimeDelta) -> Result<Canceled, CancelError> {
        let kept = self.keep_from_others(user, id).await;
        match self.db.cancel(user, id, until).await {
            Ok(canceled) => {
                if let Some(lock) = kept.or(canceled.lock)
                    && (!canceled.had_ended || self.is_left_behind(lock).await)
                {
                    self.take_back(&[(lock, None)]).await;
                }
                Ok(canceled)
            }
            Err(error) => {
                self.reserving.release(kept.as_slice()).await;
                Err(error)
            }
        }
    }

    /// Whether a crash has left a lock of what had ended before. Else the seat is none of its business any more: it may be
    /// anybody's, or free and on sale.
    async fn is_left_behind(&self, lock: SeatLock) -> bool {
        self.holds.still_locked(&[lock]).await.is_ok_and(|left| !left.is_empty())
    }

    /// Takes back what a sweep has ended.
    pub async fn swept(&self, swept: &Swept) {
        let locks: Vec<_> = swept.locks.iter().map(|(lock, late)| (*lock, Some(*late))).collect();
        self.take_back(&locks).await;
    }

    /// Takes back seats with locks that are nobody's: those of reservations that have ended, and those of what was sold
    /// and could not be paid for, which has none.
    pub async fn left_behind(&self, locks: &[SeatLock]) {
        self.take_back(&locks.iter().map(|lock| (*lock, None)).collect::<Vec<_>>()).await;
    }

    /// Takes a user off a concert's waitlist; whether they were on it. Declines their offer, whose seat is the next
    /// one's. Must run to its end once begun.
    pub async fn leave_waitlist(&self, user: UserId, concert: ConcertId) -> Result<bool, CancelError> {
        let Some(offers) = self.db.leave_waitlist(user, concert).await? else { return Ok(false) };
        for offer in offers {
            match self.cancel(user, offer, NEVER_REFUNDED).await {
                // Paid for at this very moment.
                Ok(_) | Err(CancelError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Puts seats that were held back into the sale again, for who waits first. Must run to its end once begun.
    pub async fn release_held_back(
        &self,
        by: UserId,
        concert: ConcertId,
        meant: &SeatsMeant,
    ) -> Result<HeldBack, EffectError<AdminRefusal>> {
        let seats = self.db.held_back_among(concert, meant).await?;
        let locks = self.lock_for_waiting(by, concert, &seats).await;
        let released = match self.db.release_held_back(by, concert, &seats).await {
            Ok(released) => released,
            Err(error) => {
                self.reserving.release(&locks).await;
                return Err(error);
            }
        };
        let free: HashSet<SeatId> = released.changed.iter().copied().collect();
        let (offered, not_ours): (Vec<_>, Vec<_>) = locks.into_iter().partition(|lock| free.contains(&lock.seat));
        self.reserving.release(&not_ours).await;
        self.take_back(&offered.into_iter().map(|lock| (lock, None)).collect::<Vec<_>>()).await;
        self.catalogue.seats_returned(concert).await;
        Ok(released)
    }

    /// A seat that is held back has no lock. Where somebody waits it gets one, in the administrator's name, before it is
    /// in the sale, so that nobody else has it in between.
    async fn lock_for_waiting(&self, by: UserId, concert: ConcertId, seats: &[SeatId]) -> Vec<SeatLock> {
        let waited_for = self.db.waited_for(&[concert]).await.is_ok_and(|waited_for| !waited_for.is_empty());
        let mut locks = Vec::new();
        for seat in seats.iter().filter(|_| waited_for) {
            let none = SeatLock { concert, seat: *seat, user: by, fence: 0 };
            // Where Redis is away the seat is everybody's at once.
            if let Ok(Some(fence)) = self.holds.pass_on(&none, by).await {
                locks.push(SeatLock { fence, ..none });
            }
        }
        locks
    }

    /// A paid seat has no lock. Where somebody waits it gets one before it is given back, so that nobody else has it in
    /// between.
    async fn keep_from_others(&self, user: UserId, id: ReservationId) -> Option<SeatLock> {
        let reservation = self.db.reservation(user, id).await.ok()??;
        let is_paid = reservation.status == ReservationStatus::Completed;
        if !is_paid || self.db.waited_for(&[reservation.concert]).await.ok()?.is_empty() {
            return None;
        }
        let none = SeatLock { concert: reservation.concert, seat: reservation.seat, user, fence: 0 };
        let fence = self.holds.pass_on(&none, user).await.ok()??;
        Some(SeatLock { fence, ..none })
    }

    /// Offers seats to who waits, and releases the others. The seats are free in `PostgreSQL` and their locks still are
    /// there: what somebody leaves who dies here is found by `LeftBehind` and `HandingOn`.
    async fn take_back(&self, ended: &[(SeatLock, Option<Duration>)]) {
        let concerts: HashSet<ConcertId> = ended.iter().map(|(lock, _)| lock.concert).collect();
        let concerts: Vec<ConcertId> = concerts.into_iter().collect();
        let waited_for = if concerts.is_empty() {
            HashSet::new()
        } else {
            self.db.waited_for(&concerts).await.unwrap_or_else(|fault| {
                tracing::warn!(%fault, "who waits for seats is not known; they are released");
                HashSet::new()
            })
        };
        let (offered, free): (Vec<_>, Vec<_>) = ended.iter().partition(|(lock, _)| waited_for.contains(&lock.concert));
        self.reserving.release_ended_late(&free).await;
        for (lock, late) in offered {
            if let Some(left) = self.offer(lock).await {
                self.reserving.release_ended_late(&[(left, late)]).await;
            }
        }
        for concert in concerts {
            self.catalogue.seats_returned(concert).await;
        }
    }

    /// Offers a seat to whose turn it is; the lock that is left to be released where nobody is given it.
    async fn offer(&self, lock: SeatLock) -> Option<SeatLock> {
        let (mut current, mut after) = (lock, WaitId(0));
        for _ in 0..MAX_PASSED_OVER {
            let next = match self.db.next_waiting(current.concert, current.seat, after).await {
                Ok(Some(next)) => next,
                Ok(None) => return Some(current),
                Err(fault) => {
                    tracing::warn!(%fault, "a seat was not offered to who waits; it is released");
                    return Some(current);
                }
            };
            after = next.id;
            // First the lock, then the reservation, as with any hold.
            let fence = match self.holds.pass_on(&current, next.user).await {
                Ok(Some(fence)) => fence,
                // Somebody else has the seat already.
                Ok(None) => return None,
                Err(fault) => {
                    tracing::warn!(%fault, "a seat was not offered to who waits; its lock will run out");
                    return Some(current);
                }
            };
            current = SeatLock { user: next.user, fence, ..current };
            match self.write_offer(next, current).await {
                Offer::Made | Offer::Unknown => return None,
                Offer::NotTheirs => {}
                Offer::NotMade => return Some(current),
            }
        }
        Some(current)
    }

    async fn write_offer(&self, next: Waiting, lock: SeatLock) -> Offer {
        let Some(hold) = self.hold_of(lock).await else { return Offer::NotMade };
        match self.db.offer(&hold, self.rules, next.id).await {
            Ok(()) => {
                self.keep(lock).await;
                Offer::Made
            }
            Err(EffectError::Refused(OfferRefusal::NotTheirs)) => Offer::NotTheirs,
            Err(EffectError::Refused(OfferRefusal::SeatGone) | EffectError::Superseded) => Offer::NotMade,
            Err(EffectError::Fault(fault)) => {
                tracing::warn!(%fault, "a seat was not offered to who waits; it is released");
                Offer::NotMade
            }
            Err(EffectError::Unsettled(fault)) => match self.db.settle(&hold).await {
                Ok(Some(_)) => {
                    self.keep(lock).await;
                    Offer::Made
                }
                Ok(None) => Offer::NotMade,
                Err(unsettled) => {
                    tracing::warn!(%fault, %unsettled, "what became of an offer is not known; its lock will run out");
                    Offer::Unknown
                }
            },
        }
    }

    async fn hold_of(&self, lock: SeatLock) -> Option<NewHold> {
        let hall = self.catalogue.latest_hall(lock.concert).await.ok()?;
        let seat = hall.find(&SeatChoice::Id(lock.seat))?.clone();
        // An offer needs no admission.
        let pass = PassId { position: 0, nonce: 0 };
        let order = Order { user: lock.user, pass, concert: lock.concert, seats_per_user: None, seats: vec![seat] };
        Some(NewHold { order, ids: vec![ReservationId::generate()], fence: lock.fence })
    }

    async fn keep(&self, lock: SeatLock) {
        let payable_for = Duration::from_secs(self.rules.hold_seconds.into());
        if let Err(fault) = self.holds.keep(lock.concert, lock.user, &[lock], payable_for).await {
            tracing::warn!(%fault, "an offer's lock could not be kept; PostgreSQL tells who tries its seat");
        }
    }
}

/// How an offer went.
enum Offer {
    Made,
    /// Nobody is offered the seat.
    NotMade,
    /// This one can't have it; the next may.
    NotTheirs,
    /// It was made or it was not.
    Unknown,
}
