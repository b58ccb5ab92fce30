//! Seats that come back: offered to whoever waits for one, or else released to everybody. Every seat whose reservation
//! ends goes through here, however it ended.

use std::collections::HashSet;
use std::time::Duration;

use chrono::TimeDelta;
use common::ids::{ConcertId, ReservationId, SeatId, UserId};
use common::tokens::PassId;

use super::{Catalogue, Reserving};
use crate::domain::Fault;
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

    /// Offers seats to who waits, and releases the others. The seats are free in `PostgreSQL`, which knows those that are
    /// to be handed on and keeps them from everybody else: what somebody leaves who fails here is found by `HandingOn`,
    /// and the lock of a seat that is everybody's by `LeftBehind`.
    async fn take_back(&self, ended: &[(SeatLock, Option<Duration>)]) {
        if ended.is_empty() {
            return;
        }
        let seats: Vec<SeatId> = ended.iter().map(|(lock, _)| lock.seat).collect();
        let handing_on = self.db.handing_on_among(&seats).await.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "whether seats are to be handed on is not known; it is looked at again");
            HashSet::new()
        });
        let (offered, free): (Vec<_>, Vec<_>) = ended.iter().partition(|(lock, _)| handing_on.contains(&lock.seat));
        self.reserving.release_ended_late(&free).await;
        for (lock, late) in offered {
            if let Some(left) = self.hand_on(lock).await {
                self.reserving.release_ended_late(&[(left, late)]).await;
            }
        }
        let concerts: HashSet<ConcertId> = ended.iter().map(|(lock, _)| lock.concert).collect();
        for concert in concerts {
            self.catalogue.seats_returned(concert).await;
        }
    }

    /// Offers a seat to whose turn it is, or leaves it to everybody where nobody takes it; the lock that is to be
    /// released then.
    async fn hand_on(&self, mut lock: SeatLock) -> Option<SeatLock> {
        match self.offer(&mut lock).await {
            Ok(Handed::Over) => return None,
            Ok(Handed::ToNobody) => {
                if let Err(fault) = self.db.leave_to_everybody(lock.seat).await {
                    tracing::warn!(%fault, "a seat that nobody took is not on sale yet; it is looked at again");
                }
            }
            Err(fault) => tracing::warn!(%fault, "a seat was not offered to who waits; it is tried again"),
        }
        Some(lock)
    }

    /// Offers a seat to whose turn it is, under a lock that is theirs then. After a fault it still is to be handed on.
    async fn offer(&self, lock: &mut SeatLock) -> Result<Handed, Fault> {
        let mut after = WaitId(0);
        for _ in 0..MAX_PASSED_OVER {
            let Some(next) = self.db.next_waiting(lock.concert, lock.seat, after).await? else { break };
            after = next.id;
            // First the lock, then the reservation, as with any hold.
            let Some(fence) = self.holds.pass_on(lock, next.user).await? else {
                // Somebody tries to hold it at this moment, in vain; or another process hands it on.
                return Ok(Handed::Over);
            };
            *lock = SeatLock { user: next.user, fence, ..*lock };
            match self.write_offer(next, *lock).await? {
                Offer::Made => return Ok(Handed::Over),
                Offer::SeatGone => break,
                Offer::NotTheirs => {}
            }
        }
        Ok(Handed::ToNobody)
    }

    async fn write_offer(&self, next: Waiting, lock: SeatLock) -> Result<Offer, Fault> {
        let hold = self.hold_of(lock).await?;
        match self.db.offer(&hold, self.rules, next.id).await {
            Ok(()) => {}
            Err(EffectError::Refused(OfferRefusal::NotTheirs)) => return Ok(Offer::NotTheirs),
            Err(EffectError::Refused(OfferRefusal::SeatGone) | EffectError::Superseded) => return Ok(Offer::SeatGone),
            Err(EffectError::Fault(fault)) => return Err(fault),
            Err(EffectError::Unsettled(fault)) => {
                if self.db.settle(&hold).await?.is_none() {
                    return Err(fault);
                }
            }
        }
        self.keep(lock).await;
        Ok(Offer::Made)
    }

    async fn hold_of(&self, lock: SeatLock) -> Result<NewHold, Fault> {
        let hall = self.catalogue.latest_hall(lock.concert).await?;
        let seat = hall.find(&SeatChoice::Id(lock.seat)).cloned();
        let seat = seat.ok_or_else(|| Fault::Internal(format!("a seat of no hall: {}", lock.seat)))?;
        // An offer needs no admission.
        let pass = PassId { position: 0, nonce: 0 };
        let order = Order { user: lock.user, pass, concert: lock.concert, seats_per_user: None, seats: vec![seat] };
        Ok(NewHold { order, ids: vec![ReservationId::generate()], fence: lock.fence })
    }

    async fn keep(&self, lock: SeatLock) {
        let payable_for = Duration::from_secs(self.rules.hold_seconds.into());
        if let Err(fault) = self.holds.keep(lock.concert, lock.user, &[lock], payable_for).await {
            tracing::warn!(%fault, "an offer's lock could not be kept; PostgreSQL tells who tries its seat");
        }
    }
}

/// What became of a seat that is handed on.
enum Handed {
    /// It is somebody's.
    Over,
    /// Nobody who waits takes it.
    ToNobody,
}

/// How an offer went.
enum Offer {
    Made,
    SeatGone,
    /// This one can't have it; the next may.
    NotTheirs,
}
