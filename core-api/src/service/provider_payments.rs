//! Payments through a provider: begun in `PostgreSQL`, asked for, completed, captured. A request takes these steps as far as
//! they go; whatever it does not reach the reconciler goes on with, by the same rules.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{counter, gauge, histogram};
use chrono::TimeDelta;
use common::ids::{PaymentId, ProviderPaymentId, ReservationId, UserId};
use common::money::Money;
use common::problem::{ErrorCode, Problem};
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::{Catalogue, Reserving, Returns, Turns};
use crate::domain::Fault;
use crate::domain::effect::Claim;
use crate::domain::provider_payment::{
    Attempt, AttemptPart, PaymentProvider, PaymentState, PaymentToken, ProviderState, Step, Told, concerts_of, is_news,
};
use crate::domain::reservation::SeatLock;
use crate::metrics::{OLDEST_UNSETTLED, PAYMENT_REPAIR, PROVIDER_ERRORS};
use crate::store::postgres::{Begun, Completed, Db, NewAttempt, RefundDue};
use crate::store::redis::FailedPayments;

/// How many requests wait for the provider at once; further ones get 503, so that a slow provider takes no more of what
/// everybody needs.
const MAX_ASKING: usize = 256;
/// How many attempts, and how many refunds, the reconciler looks at at once.
const BATCH: usize = 8;
/// More steps than there are from a beginning to an end.
const MAX_STEPS: usize = 8;
/// What a request left undone is looked at again within this time.
const SOON: TimeDelta = TimeDelta::milliseconds(500);
/// The same after the provider has told something new: a request that is at it is done by then.
const AFTER_NEWS: TimeDelta = TimeDelta::seconds(1);
/// The longest pause between two looks: once the provider is back everything is put right soon.
const MAX_PAUSE: TimeDelta = TimeDelta::seconds(5);

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct ProviderRules {
    /// How long a hold waits for a decision.
    pub grace: TimeDelta,
    /// How long one call to the provider may take.
    pub timeout: Duration,
}

impl ProviderRules {
    /// A call that has not arrived by then is not going to.
    fn unheard_for(self) -> TimeDelta {
        TimeDelta::from_std(self.timeout * 2).unwrap_or(MAX_PAUSE)
    }

    /// Whoever began something is done with it by then, or dead: both calls of a request, and the database's part.
    fn lease(self) -> TimeDelta {
        self.unheard_for() + TimeDelta::seconds(2)
    }
}

/// What is to be paid, and how.
#[derive(Debug)]
pub struct CardOrder {
    /// Whose.
    pub user: UserId,
    /// For what; none of them twice.
    pub reservations: Vec<ReservationId>,
    /// The user's card.
    pub token: PaymentToken,
    /// The client's key, where the request had one.
    pub claim: Option<Claim>,
}

/// How far a payment came within its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The money is taken and the seats are the user's.
    Paid,
    /// It is still under way.
    Pending,
    /// The provider refused.
    Declined,
    /// The hold ended before the provider had decided.
    TooLate,
}

/// What came of an order.
#[derive(Debug)]
pub enum CardOutcome {
    /// There was nothing to pay; no provider was asked.
    Free,
    /// The provider was asked.
    Asked {
        /// How far it came.
        verdict: Verdict,
        /// What it comes to in all.
        amount: Money,
        /// Its payments, in the order they were asked for.
        parts: Vec<AttemptPart>,
    },
}

/// Pays through a provider, where there is one.
#[derive(Debug, Clone)]
pub struct ProviderPayments {
    provider: Option<Arc<dyn PaymentProvider>>,
    rules: ProviderRules,
    db: Db,
    reserving: Reserving,
    catalogue: Catalogue,
    returns: Returns,
    turns: Turns,
    failed: FailedPayments,
    places: Arc<Semaphore>,
}

impl ProviderPayments {
    /// Over these.
    pub fn new(
        provider: Option<Arc<dyn PaymentProvider>>,
        rules: ProviderRules,
        db: Db,
        (reserving, catalogue, returns): (Reserving, Catalogue, Returns),
        turns: Turns,
        failed: FailedPayments,
    ) -> Self {
        let places = Arc::new(Semaphore::new(MAX_ASKING));
        Self { provider, rules, db, reserving, catalogue, returns, turns, failed, places }
    }

    /// Pays for a user's reservations, all or none. Must run to its end once begun; who dies in it leaves the rest to the
    /// reconciler.
    pub async fn pay(&self, order: CardOrder) -> Result<CardOutcome, Problem> {
        let provider = self.provider.as_deref().ok_or(ErrorCode::PaymentMethodUnavailable)?;
        // First the turn: whoever waits for theirs takes no place from others.
        let turn = self.turns.take(order.user).await?;
        let _place = self.places.try_acquire().map_err(|_| ErrorCode::Overloaded)?;
        if let Some(claim) = &order.claim
            && let Some(attempt) = self.db.attempt_of_key(claim, &order.reservations).await?
        {
            // An earlier try under this key has died. What it began is going on.
            let parts = self.db.attempt_parts(attempt.id).await?;
            return Ok(CardOutcome::Asked { verdict: verdict(attempt.state, false), amount: attempt.amount, parts });
        }
        let begun = self.begin(provider, &order).await?;
        // Not while the provider is asked: others share the queue.
        drop(turn);
        let Begun::Attempt { attempt, parts, keep } = begun else { return Ok(CardOutcome::Free) };
        self.keep(&attempt, &keep).await;
        let amount = attempt.amount;
        let verdict = self.ask(provider, attempt, &order.token).await;
        Ok(CardOutcome::Asked { verdict, amount, parts })
    }

    async fn begin(&self, provider: &dyn PaymentProvider, order: &CardOrder) -> Result<Begun, Problem> {
        let new = NewAttempt {
            user: order.user,
            reservations: &order.reservations,
            provider: provider.name(),
            claim: order.claim.as_ref(),
            grace: self.rules.grace,
            first_look: self.rules.lease(),
        };
        Ok(self.db.begin_attempt(&new).await?)
    }

    /// Locks last as long as the reservations do now. One that is lost costs whoever tries the seat a look into
    /// `PostgreSQL`.
    async fn keep(&self, attempt: &Attempt, locks: &[SeatLock]) {
        let payable_for = (attempt.decide_until - attempt.read_at).to_std().unwrap_or_default();
        if let Err(fault) = self.reserving.keep_while_paying(locks, payable_for).await {
            tracing::warn!(%fault, "seat locks were not kept for a payment; PostgreSQL tells who tries their seats");
        }
    }

    /// From here on the attempt stands, so nothing is an error any more: what is not done now is done by the reconciler.
    async fn ask(&self, provider: &dyn PaymentProvider, attempt: Attempt, token: &PaymentToken) -> Verdict {
        let id = attempt.id;
        let driven = match provider.authorise(id, attempt.amount, token).await {
            Ok(told) => self.drive(provider, attempt, told).await,
            Err(fault) => Err(fault),
        };
        match driven {
            Ok(driven) => verdict(driven.state, driven.too_late),
            Err(fault) => {
                counter!(PROVIDER_ERRORS.name).increment(1);
                tracing::warn!(%fault, payment = %id, "a payment is left to the reconciler");
                self.again(id, SOON).await;
                // It may have come to a decision before that.
                let known = self.db.attempt(id).await.ok().flatten();
                known.map_or(Verdict::Pending, |attempt| verdict(attempt.state, false))
            }
        }
    }

    /// Takes step after step from what the provider says, as far as they go.
    async fn drive(
        &self,
        provider: &dyn PaymentProvider,
        mut attempt: Attempt,
        mut told: Told,
    ) -> Result<Driven, Fault> {
        let (id, lease, mut too_late) = (attempt.id, self.rules.lease(), false);
        for _ in 0..MAX_STEPS {
            let moved = match attempt.next(told.state, self.rules.unheard_for()) {
                Step::Done | Step::Wait => break,
                Step::Capture => {
                    told = provider.capture(id).await?;
                    continue;
                }
                Step::Void => {
                    told = provider.void(id).await?;
                    continue;
                }
                Step::ReturnAll => {
                    provider.refund(id, PaymentId::from(id.as_uuid()), attempt.amount).await?;
                    told.state = ProviderState::Refunded;
                    continue;
                }
                Step::Complete => match self.db.complete_attempt(id, told.reference.as_deref(), lease).await? {
                    Completed::Sold(handed) => {
                        self.reserving.handed_over(&self.catalogue, handed.user, &handed.locks).await;
                        true
                    }
                    Completed::TooLate(concerts) => {
                        too_late = true;
                        self.failed.note(&concerts).await;
                        true
                    }
                    Completed::Before => false,
                },
                Step::Decline => self.fail(id, None).await?,
                Step::GiveUp => self.fail(id, Some(lease)).await?,
                Step::Settle => self.db.end_attempt(id, PaymentState::Captured).await?,
                Step::Close => self.db.end_attempt(id, PaymentState::Voided).await?,
                Step::Revoke => self.revoke(id).await?,
            };
            if !moved {
                tracing::debug!(payment = %id, "somebody else has moved this payment");
            }
            attempt = self.db.attempt(id).await?.ok_or_else(|| Fault::Internal(format!("payment {id} is gone")))?;
        }
        Ok(Driven { state: attempt.state, too_late })
    }

    /// Nothing comes of an attempt; whether it was undecided.
    async fn fail(&self, id: ProviderPaymentId, void_within: Option<TimeDelta>) -> Result<bool, Fault> {
        let Some(concerts) = self.db.fail_attempt(id, void_within).await? else { return Ok(false) };
        self.failed.note(&concerts).await;
        Ok(true)
    }

    async fn revoke(&self, id: ProviderPaymentId) -> Result<bool, Fault> {
        let Some(handed) = self.db.revoke_attempt(id, self.rules.lease()).await? else { return Ok(false) };
        tracing::warn!(payment = %id, seats = handed.locks.len(), "money could not be captured; its seats are taken back");
        self.failed.note(&concerts_of(&handed.locks)).await;
        self.returns.left_behind(&handed.locks).await;
        Ok(true)
    }

    /// The provider has told something of a payment. Noted once; where it can be news, the payment is looked at soon. What
    /// is true is asked of the provider then: messages come late, twice and out of order.
    pub async fn noted(&self, event: &str, payment: ProviderPaymentId, told: &str) -> Result<(), Problem> {
        let provider = self.provider.as_deref().ok_or(ErrorCode::NotFound)?;
        if !self.db.note_event(provider.name(), event, payment, told).await? {
            return Ok(());
        }
        let Some(state) = self.db.attempt_state(provider.name(), payment).await? else {
            tracing::warn!(%payment, "the provider told of a payment that is none of ours");
            return Ok(());
        };
        if ProviderState::parse(told).is_none_or(|told| is_news(state, told)) {
            self.db.look_within(payment, AFTER_NEWS).await?;
        }
        Ok(())
    }

    /// Looks at what is due, a part of it at a time; whether there may be more.
    pub async fn reconcile(&self) -> Result<bool, Fault> {
        let Some(provider) = self.provider.as_deref() else { return Ok(false) };
        let (limit, lease) = (i64::try_from(BATCH).unwrap_or(i64::MAX), self.rules.lease());
        let attempts = self.db.attempts_due(provider.name(), limit, lease).await?;
        let refunds = self.db.refunds_due(provider.name(), limit, lease).await?;
        let more = attempts.len() == BATCH || refunds.len() == BATCH;
        join_all(attempts.into_iter().map(|(attempt, looks)| self.look_at(provider, attempt, looks))).await;
        join_all(refunds.into_iter().map(|refund| self.give_back(provider, refund))).await;
        Ok(more)
    }

    async fn look_at(&self, provider: &dyn PaymentProvider, attempt: Attempt, looks: u32) {
        let (id, before) = (attempt.id, attempt.state);
        let age = attempt.read_at - attempt.state_since;
        let driven = match provider.find(id).await {
            Ok(told) => self.drive(provider, attempt, told).await,
            Err(fault) => Err(fault),
        };
        let state = match driven {
            Ok(driven) => driven.state,
            Err(fault) => {
                counter!(PROVIDER_ERRORS.name).increment(1);
                tracing::debug!(%fault, payment = %id, "a payment is looked at again later");
                // Some steps may have been taken.
                self.db.attempt(id).await.ok().flatten().map_or(before, |attempt| attempt.state)
            }
        };
        if state != before {
            note_repair(state.as_str(), age);
        }
        if matches!(state, PaymentState::Created | PaymentState::Authorised | PaymentState::VoidDue) {
            self.again(id, pause_after(looks)).await;
        }
    }

    async fn give_back(&self, provider: &dyn PaymentProvider, refund: RefundDue) {
        let given = match provider.refund(refund.attempt, refund.payment, refund.amount).await {
            Ok(()) => self.db.refunded(refund.payment).await,
            Err(fault) => Err(fault),
        };
        match given {
            Ok(is_news) => {
                if is_news {
                    note_repair("refunded", refund.age);
                }
            }
            Err(fault) => {
                counter!(PROVIDER_ERRORS.name).increment(1);
                tracing::debug!(%fault, payment = %refund.payment, "a refund is tried again later");
                // Where this fails the lease ends by itself.
                let _ = self.db.refund_again(refund.payment, pause_after(refund.looks)).await;
            }
        }
    }

    /// Tells how old the oldest unsettled payment is.
    pub async fn measure(&self) -> Result<(), Fault> {
        gauge!(OLDEST_UNSETTLED.name).set(self.db.unsettled().await?.oldest_seconds);
        Ok(())
    }

    /// Where this fails it is looked at once its lease has ended.
    async fn again(&self, id: ProviderPaymentId, after: TimeDelta) {
        if let Err(fault) = self.db.look_again(id, after).await {
            tracing::debug!(%fault, payment = %id, "the next look at a payment was not put forward");
        }
    }
}

/// How far a payment was taken.
struct Driven {
    state: PaymentState,
    /// The hold had ended.
    too_late: bool,
}

fn verdict(state: PaymentState, too_late: bool) -> Verdict {
    match state {
        PaymentState::Captured => Verdict::Paid,
        PaymentState::Created | PaymentState::Authorised => Verdict::Pending,
        PaymentState::Declined | PaymentState::VoidDue | PaymentState::Voided if too_late => Verdict::TooLate,
        PaymentState::Declined | PaymentState::VoidDue | PaymentState::Voided => Verdict::Declined,
    }
}

/// Twice as long after each look, up to a limit.
fn pause_after(looks: u32) -> TimeDelta {
    let factor = 1_i32.checked_shl(looks.saturating_sub(1).min(8)).unwrap_or(i32::MAX);
    SOON.checked_mul(factor).unwrap_or(MAX_PAUSE).min(MAX_PAUSE)
}

fn note_repair(outcome: &'static str, age: TimeDelta) {
    histogram!(PAYMENT_REPAIR.name, "outcome" => outcome).record(age.as_seconds_f64().max(0.0));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_that_keeps_repairs_within_their_bound() {
        let pauses: Vec<i64> = (1..7).map(|looks| pause_after(looks).num_milliseconds()).collect();
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(pause_after(u32::MAX), MAX_PAUSE);
        let rules = ProviderRules { grace: TimeDelta::seconds(60), timeout: Duration::from_secs(3) };
        assert!(
            rules.lease() > rules.unheard_for() && rules.lease() < TimeDelta::seconds(9),
            "found within ten seconds"
        );
    }
}
