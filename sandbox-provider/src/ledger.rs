//! The sandbox's payments. Whatever is asked for twice is done once.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::money::Money;
use uuid::Uuid;

use crate::behaviour::Behaviour;

/// How many payments are remembered; the oldest gives way.
pub const MAX_PAYMENTS: usize = 100_000;
/// How many refunds one payment has at most.
const MAX_REFUNDS: usize = 100;

/// How far a payment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not decided yet.
    Processing,
    /// The money is set aside.
    Authorised,
    /// Refused.
    Declined,
    /// The money is taken.
    Captured,
    /// It could not be.
    CaptureFailed,
    /// What was set aside is free again, or is never going to be set aside.
    Voided,
    /// All of what was taken was given back.
    Refunded,
}

impl State {
    /// As it stands in answers and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Processing => "processing",
            Self::Authorised => "authorised",
            Self::Declined => "declined",
            Self::Captured => "captured",
            Self::CaptureFailed => "capture_failed",
            Self::Voided => "voided",
            Self::Refunded => "refunded",
        }
    }
}

/// A payment.
#[derive(Debug, Clone)]
pub struct Payment {
    /// Whose id it is: the one that the merchant gave it.
    pub id: Uuid,
    /// How much.
    pub amount: Money,
    /// How far it has come.
    pub state: State,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// How often its state has changed: the number of its latest message.
    pub version: u32,
    /// What was given back, by the refund's id.
    pub refunds: BTreeMap<Uuid, Money>,
    /// Whether something that fails once has failed.
    pub has_failed: bool,
}

impl Payment {
    /// What was given back in all; `None` where that can't be.
    pub fn refunded(&self) -> Option<Money> {
        self.refunds.values().try_fold(Money::ZERO, |sum, amount| sum.checked_add(*amount))
    }
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such payment.
    Unknown,
    /// The same id was used for another amount.
    OtherAmount,
    /// Its state does not allow it.
    NotNow,
    /// More would be given back than was taken.
    TooMuch,
}

/// What was taken and given back, over all payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Payments whose money is set aside and neither taken nor given free.
    pub authorised: usize,
    /// What merchants have: taken, less given back.
    pub kept: Money,
}

/// All payments.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Payments>);

#[derive(Debug, Default)]
struct Payments {
    by_id: HashMap<Uuid, Payment>,
    order: VecDeque<Uuid>,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Payments> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them.
    pub fn find(&self, id: Uuid) -> Option<Payment> {
        self.lock().by_id.get(&id).cloned()
    }

    /// What was taken and given back.
    pub fn totals(&self) -> Totals {
        let payments = self.lock();
        payments.by_id.values().fold(Totals::default(), |totals, payment| match payment.state {
            State::Authorised => Totals { authorised: totals.authorised + 1, ..totals },
            State::Captured => {
                let kept = payment.refunded().and_then(|refunded| payment.amount.checked_sub(refunded));
                Totals { kept: totals.kept.checked_add(kept.unwrap_or(Money::ZERO)).unwrap_or(Money::MAX), ..totals }
            }
            _ => totals,
        })
    }

    /// Makes a payment, or finds the one that was made under this id before; whether it is new.
    pub fn open(&self, id: Uuid, amount: Money, behaviour: Behaviour) -> Result<(Payment, bool), Refusal> {
        let mut payments = self.lock();
        if let Some(known) = payments.by_id.get(&id) {
            // Voided before it came: it is not to be made, whatever it was to be.
            let is_same = known.amount == amount || known.amount.is_zero();
            return if is_same { Ok((known.clone(), false)) } else { Err(Refusal::OtherAmount) };
        }
        let payment = payments.insert(id, amount, State::Processing, behaviour);
        Ok((payment, true))
    }

    /// Decides a payment that is not decided yet; `None` where it was decided, or voided, meanwhile.
    pub fn decide(&self, id: Uuid) -> Option<Payment> {
        let mut payments = self.lock();
        let payment = payments.by_id.get_mut(&id).filter(|payment| payment.state == State::Processing)?;
        Some(payment.go_to(if payment.behaviour == Behaviour::Decline { State::Declined } else { State::Authorised }))
    }

    /// Takes what was set aside. The second is whether something changed, as in all of these.
    pub fn capture(&self, id: Uuid) -> Result<(Payment, bool), Refusal> {
        let mut payments = self.lock();
        let payment = payments.by_id.get_mut(&id).ok_or(Refusal::Unknown)?;
        match (payment.state, payment.behaviour) {
            (State::Authorised, Behaviour::CaptureFails) => Ok((payment.go_to(State::CaptureFailed), true)),
            (State::Authorised, _) => Ok((payment.go_to(State::Captured), true)),
            _ => Ok((payment.clone(), false)),
        }
    }

    /// Gives free what was set aside. What is not known is noted as voided, so that it can't be made later.
    pub fn void(&self, id: Uuid) -> (Payment, bool) {
        let mut payments = self.lock();
        match payments.by_id.get_mut(&id) {
            None => (payments.insert(id, Money::ZERO, State::Voided, Behaviour::Accept), true),
            Some(payment) if matches!(payment.state, State::Processing | State::Authorised | State::CaptureFailed) => {
                (payment.go_to(State::Voided), true)
            }
            Some(payment) => (payment.clone(), false),
        }
    }

    /// Gives back a part of what was taken.
    pub fn refund(&self, id: Uuid, refund: Uuid, amount: Money) -> Result<(Payment, bool), Refusal> {
        let mut payments = self.lock();
        let payment = payments.by_id.get_mut(&id).ok_or(Refusal::Unknown)?;
        if let Some(known) = payment.refunds.get(&refund) {
            return if *known == amount { Ok((payment.clone(), false)) } else { Err(Refusal::OtherAmount) };
        }
        if payment.state != State::Captured || amount.is_zero() || payment.refunds.len() >= MAX_REFUNDS {
            return Err(Refusal::NotNow);
        }
        let after = payment.refunded().and_then(|before| before.checked_add(amount)).ok_or(Refusal::TooMuch)?;
        if after > payment.amount {
            return Err(Refusal::TooMuch);
        }
        payment.refunds.insert(refund, amount);
        let state = if after == payment.amount { State::Refunded } else { State::Captured };
        Ok((payment.go_to(state), true))
    }

    /// Whether this is the first time that something of a payment fails that fails once.
    pub fn fails_now(&self, id: Uuid) -> bool {
        let mut payments = self.lock();
        payments.by_id.get_mut(&id).is_some_and(|payment| !std::mem::replace(&mut payment.has_failed, true))
    }
}

impl Payment {
    fn go_to(&mut self, state: State) -> Self {
        self.state = state;
        self.version += 1;
        self.clone()
    }
}

impl Payments {
    fn insert(&mut self, id: Uuid, amount: Money, state: State, behaviour: Behaviour) -> Payment {
        if self.order.len() >= MAX_PAYMENTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_id.remove(&oldest);
        }
        let payment = Payment { id, amount, state, behaviour, version: 0, refunds: BTreeMap::new(), has_failed: false };
        self.order.push_back(id);
        self.by_id.insert(id, payment.clone());
        payment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        Money::from_json_number(text).unwrap()
    }

    fn authorised(ledger: &Ledger, amount: &str) -> Uuid {
        let id = Uuid::now_v7();
        ledger.open(id, money(amount), Behaviour::Accept).unwrap();
        ledger.decide(id).unwrap();
        id
    }

    #[test]
    fn what_is_asked_twice_is_done_once() {
        let ledger = Ledger::default();
        let id = authorised(&ledger, "10");
        assert!(!ledger.open(id, money("10"), Behaviour::Accept).unwrap().1);
        assert_eq!(ledger.open(id, money("11"), Behaviour::Accept).unwrap_err(), Refusal::OtherAmount);
        assert_eq!(ledger.totals().authorised, 1);
        assert!(ledger.capture(id).unwrap().1 && !ledger.capture(id).unwrap().1);
        let refund = Uuid::now_v7();
        assert!(ledger.refund(id, refund, money("4")).unwrap().1);
        assert!(!ledger.refund(id, refund, money("4")).unwrap().1);
        assert_eq!(ledger.totals(), Totals { authorised: 0, kept: money("6") });
        assert_eq!(ledger.refund(id, Uuid::now_v7(), money("6.01")).unwrap_err(), Refusal::TooMuch);
        assert_eq!(ledger.refund(id, Uuid::now_v7(), money("6")).unwrap().0.state, State::Refunded);
        assert_eq!(ledger.totals().kept, Money::ZERO);
    }

    #[test]
    fn what_is_voided_before_it_comes_is_never_made() {
        let (ledger, id) = (Ledger::default(), Uuid::now_v7());
        assert_eq!(ledger.void(id).0.state, State::Voided);
        let (payment, is_new) = ledger.open(id, money("10"), Behaviour::Accept).unwrap();
        assert_eq!((payment.state, is_new), (State::Voided, false));
        assert!(ledger.decide(id).is_none());
        let taken = authorised(&ledger, "10");
        ledger.capture(taken).unwrap();
        assert_eq!(ledger.void(taken).0.state, State::Captured, "what is taken is refunded, not voided");
    }

    #[test]
    fn the_oldest_gives_way() {
        let ledger = Ledger::default();
        let first = authorised(&ledger, "1");
        for _ in 0..MAX_PAYMENTS {
            ledger.void(Uuid::now_v7());
        }
        assert!(ledger.find(first).is_none());
        assert_eq!(ledger.lock().by_id.len(), MAX_PAYMENTS);
    }
}
