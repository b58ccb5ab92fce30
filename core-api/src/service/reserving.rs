//! Holding seats: the lock in Redis first, so that losing is cheap; then the reservation in `PostgreSQL`, which decides.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::metrics::histogram;
use common::ids::{ConcertId, ReservationId, SeatId, UserId};

use super::{Catalogue, Holding, SpokenFor};
use crate::domain::Fault;
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::reservation::{ExtendRefusal, Held, Order, ReserveRefusal, SeatLock};
use crate::domain::seat::SeatStatus;
use crate::metrics::TIME_TO_RESALE;
use crate::store::postgres::{Db, Extended, HoldRules, NewHold};
use crate::store::redis::{HoldOutcome, Holds};

/// How many locks are remembered that could not be released. More are left to run out.
const MAX_LEFT_OVER: usize = 10_000;
/// How many of them one call to Redis releases.
const RELEASE_BATCH: usize = 500;

/// A lock that nobody needs any more, and since when, where its reservation ended by its deadline.
#[derive(Debug, Clone, Copy)]
struct Ended {
    lock: SeatLock,
    due: Option<Instant>,
}

/// Holds and releases seats.
#[derive(Debug, Clone)]
pub struct Reserving {
    db: Db,
    holds: Holds,
    holding: Holding,
    spoken_for: SpokenFor,
    /// Locks that could not be released when they should have been.
    left_over: Arc<Mutex<Vec<Ended>>>,
}

impl Reserving {
    /// By what rules.
    pub fn rules(&self) -> HoldRules {
        self.holding.rules()
    }

    /// Over these stores, written by `holding`.
    pub fn new(db: Db, holds: Holds, holding: Holding) -> Self {
        Self { db, holds, holding, spoken_for: SpokenFor::default(), left_over: Arc::default() }
    }

    /// Holds the seats of an order, all or none. Must run to its end once begun: whoever stops half-way leaves seats
    /// locked that nobody has.
    pub async fn hold(
        &self,
        order: Order,
        record: &Arc<Record<Held>>,
    ) -> Result<Done<Held>, EffectError<ReserveRefusal>> {
        self.check_size(&order, order.seats.len())?;
        // Seats that are sold or held back keep no lock: without this look each try for one would end in PostgreSQL.
        if order.seats.iter().any(|seat| matches!(seat.status, SeatStatus::Sold | SeatStatus::HeldBack)) {
            return Err(EffectError::Refused(ReserveRefusal::SeatTaken));
        }
        let fence = match self.holds.hold(&order).await? {
            HoldOutcome::Held(fence) => fence,
            HoldOutcome::Taken => return Err(EffectError::Refused(ReserveRefusal::SeatTaken)),
            HoldOutcome::NotAdmitted => return Err(EffectError::Refused(ReserveRefusal::NotAdmitted)),
        };
        let ids = order.seats.iter().map(|_| ReservationId::generate()).collect();
        let hold = NewHold { order, ids, fence };
        match self.holding.write(&hold, record).await {
            Ok(done) => {
                self.keep(&hold).await;
                Ok(done)
            }
            Err(EffectError::Unsettled(fault)) => self.settle(&hold, record, fault).await,
            Err(nothing_changed) => {
                self.release(&locks(&hold)).await;
                Err(nothing_changed)
            }
        }
    }

    /// That nobody could have so many seats of the order's concert is said without asking anybody.
    pub(super) fn check_size(&self, order: &Order, seats: usize) -> Result<(), EffectError<ReserveRefusal>> {
        let most = order.seats_per_user.unwrap_or(self.rules().seats_per_user);
        let is_within = seats <= usize::try_from(most).unwrap_or(usize::MAX);
        is_within.then_some(()).ok_or(EffectError::Refused(ReserveRefusal::SeatLimit))
    }

    /// Which of these seats are locked now.
    pub(super) async fn locked(&self, concert: ConcertId, seats: &[SeatId]) -> Result<Vec<SeatId>, Fault> {
        self.holds.locked(concert, seats).await
    }

    /// Which seats this process knows to be about to be somebody's.
    pub(super) fn spoken_for(&self) -> &SpokenFor {
        &self.spoken_for
    }

    /// The reservations are written: their locks may live as long as they. Where Redis is away now, whoever tries these
    /// seats next is told by `PostgreSQL`.
    async fn keep(&self, hold: &NewHold) {
        let payable_for = Duration::from_secs(self.rules().hold_seconds.into());
        if let Err(fault) = self.holds.keep(hold.order.concert, hold.order.user, &locks(hold), payable_for).await {
            tracing::warn!(%fault, "seat locks could not be kept; PostgreSQL tells who tries their seats");
        }
    }

    /// Extends the time to pay of a reservation, and with it its lock's life and its owner's admission. Must run to its end
    /// once begun.
    pub async fn extend(&self, user: UserId, id: ReservationId) -> Result<Extended, EffectError<ExtendRefusal>> {
        let extended = self.db.extend(user, id, self.rules()).await?;
        let payable_for = (extended.deadline - extended.now).to_std().unwrap_or_default();
        if let Err(fault) = self.holds.keep(extended.lock.concert, user, &[extended.lock], payable_for).await {
            tracing::warn!(%fault, "a seat lock was not extended; once it has ended PostgreSQL tells who tries its seat");
        }
        Ok(extended)
    }

    /// The reservations may be there or not. Only what is known not to be is unlocked; what can't be known is left to
    /// the locks' own end, and to the sweeper.
    async fn settle(
        &self,
        hold: &NewHold,
        record: &Record<Held>,
        fault: Fault,
    ) -> Result<Done<Held>, EffectError<ReserveRefusal>> {
        match self.db.settle(hold).await {
            Ok(Some(outcome)) => {
                self.keep(hold).await;
                let answer = (record.render)(&outcome);
                Ok(Done { outcome, answer })
            }
            Ok(None) => {
                self.release(&locks(hold)).await;
                Err(fault.into())
            }
            Err(unsettled) => {
                tracing::warn!(%fault, %unsettled, "what became of a hold is not known; its locks will run out");
                Err(fault.into())
            }
        }
    }

    /// Ends the admission of someone who has just paid, where their room is set so and nothing of theirs is left to be
    /// paid. What fails here changes nothing about the payment: the admission then ends with its time.
    pub async fn leave_after_payment(&self, concert: ConcertId, user: UserId) {
        let left = async {
            if !self.holds.leaves_on_payment(concert).await? || self.db.has_pending(user, concert).await? {
                return Ok::<_, Fault>(false);
            }
            self.holds.leave_after_payment(concert, user).await
        };
        if let Err(fault) = left.await {
            tracing::warn!(%fault, "an admission was not ended with the payment; it ends with its time");
        }
    }

    /// Lets locks last while their reservations are being paid for, `payable_for` so long.
    pub(super) async fn keep_while_paying(&self, locks: &[SeatLock], payable_for: Duration) -> Result<(), Fault> {
        for lock in locks {
            self.holds.keep(lock.concert, lock.user, &[*lock], payable_for).await?;
        }
        Ok(())
    }

    /// What follows once a user has paid for seats: everybody sees that they are sold, their locks go, and the user's
    /// admission ends where nothing is left to be paid.
    pub async fn handed_over(&self, catalogue: &Catalogue, user: UserId, locks: &[SeatLock]) {
        for lock in locks {
            catalogue.seats_changed(lock.concert).await;
        }
        // Sold seats need no lock: what is sold reads so in the database.
        self.release(locks).await;
        let mut concerts: Vec<_> = locks.iter().map(|lock| lock.concert).collect();
        concerts.dedup();
        for concert in concerts {
            self.leave_after_payment(concert, user).await;
        }
    }

    /// Releases locks that nobody needs any more. Where Redis is away they are kept for
    /// [`release_left_over`](Self::release_left_over); at the latest they run out by themselves.
    pub async fn release(&self, locks: &[SeatLock]) {
        let ended: Vec<Ended> = locks.iter().map(|lock| Ended { lock: *lock, due: None }).collect();
        self.release_ended(&ended).await;
    }

    /// The same; those whose reservations ended by their deadline come with how long ago that was.
    pub(super) async fn release_ended_late(&self, locks: &[(SeatLock, Option<Duration>)]) {
        let now = Instant::now();
        let ended = |(lock, late): &(SeatLock, Option<Duration>)| Ended {
            lock: *lock,
            due: late.and_then(|late| now.checked_sub(late)),
        };
        self.release_ended(&locks.iter().map(ended).collect::<Vec<_>>()).await;
    }

    async fn release_ended(&self, ended: &[Ended]) {
        if ended.is_empty() {
            return;
        }
        let locks: Vec<SeatLock> = ended.iter().map(|ended| ended.lock).collect();
        self.spoken_for.forget(locks.iter().map(|lock| lock.seat));
        if let Err(fault) = self.holds.release(&locks).await {
            tracing::warn!(%fault, locks = locks.len(), "seat locks could not be released yet");
            let mut left_over = self.left_over();
            let room = MAX_LEFT_OVER.saturating_sub(left_over.len());
            left_over.extend(ended.iter().take(room));
        } else {
            note_resale(ended);
        }
    }

    /// Tries again what could not be released before, a part of it at a time.
    pub async fn release_left_over(&self) -> Result<(), Fault> {
        let part: Vec<Ended> = self.left_over().iter().take(RELEASE_BATCH).copied().collect();
        if !part.is_empty() {
            let locks: Vec<SeatLock> = part.iter().map(|ended| ended.lock).collect();
            self.holds.release(&locks).await?;
            // Others only add at the end.
            self.left_over().drain(..part.len());
            note_resale(&part);
        }
        Ok(())
    }

    fn left_over(&self) -> MutexGuard<'_, Vec<Ended>> {
        self.left_over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// These seats can be sold again, as from now.
fn note_resale(ended: &[Ended]) {
    let since = histogram!(TIME_TO_RESALE.name);
    ended.iter().filter_map(|ended| ended.due).for_each(|due| since.record(due.elapsed()));
}

fn locks(hold: &NewHold) -> Vec<SeatLock> {
    let order = &hold.order;
    let lock = |seat| SeatLock { concert: order.concert, seat, user: order.user, fence: hold.fence };
    order.seats.iter().map(|seat| lock(seat.id)).collect()
}
