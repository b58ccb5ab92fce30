//! Paying for reservations: what is decided under their lock.

use chrono::{DateTime, Utc};
use common::ids::{PaymentId, ReservationId};
use common::money::Money;

use super::reservation::{ReservationStatus, SeatLock};

/// A reservation whose row is locked.
#[derive(Debug, Clone, Copy)]
pub struct LockedReservation {
    /// Which one.
    pub id: ReservationId,
    /// How far it has come.
    pub status: ReservationStatus,
    /// What it costs.
    pub amount: Money,
    /// Until when it can be paid for.
    pub deadline: DateTime<Utc>,
    /// Until when a payment of it that is under way at a provider keeps it, if one is.
    pub paying_until: Option<DateTime<Utc>>,
}

/// Why nothing was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayRefusal {
    /// The user has no such reservation.
    UnknownReservation,
    /// One is paid for already.
    AlreadyPaid,
    /// One is being paid for at this moment, through a provider.
    InProgress,
    /// The user's cards were declined too often of late: somebody may be trying out cards that are not theirs.
    TooOften,
    /// One was given back, or its time to pay has passed.
    Expired,
    /// The balance does not cover them.
    InsufficientBalance,
    /// There is no such user (any more).
    UnknownUser,
}

/// What paying takes: the sum and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bill {
    /// What is paid in all.
    pub total: Money,
    /// The balance after it.
    pub balance: Money,
}

/// Whether `wanted` reservations, of which `locked` were found, can be paid for from `balance` at `now`, all or none.
/// `now` is the time at which all of them, and the balance, were locked: a payment that began before the deadline and
/// got its locks after it comes too late.
pub fn decide(
    wanted: usize,
    locked: &[LockedReservation],
    balance: Money,
    now: DateTime<Utc>,
) -> Result<Bill, PayRefusal> {
    let total = payable(wanted, locked, now)?;
    let balance = balance.checked_sub(total).ok_or(PayRefusal::InsufficientBalance)?;
    Ok(Bill { total, balance })
}

/// What the `wanted` reservations, of which `locked` were found, cost in all, where they can be paid for at `now`.
pub fn payable(wanted: usize, locked: &[LockedReservation], now: DateTime<Utc>) -> Result<Money, PayRefusal> {
    if locked.len() != wanted {
        return Err(PayRefusal::UnknownReservation);
    }
    if locked.iter().any(|reservation| reservation.status == ReservationStatus::Completed) {
        return Err(PayRefusal::AlreadyPaid);
    }
    let pending = |r: &LockedReservation| r.status == ReservationStatus::Pending;
    if locked.iter().any(|r| pending(r) && r.paying_until.is_some_and(|until| until > now)) {
        return Err(PayRefusal::InProgress);
    }
    if !locked.iter().all(|r| pending(r) && r.deadline > now) {
        return Err(PayRefusal::Expired);
    }
    let total = locked.iter().try_fold(Money::ZERO, |sum, reservation| sum.checked_add(reservation.amount));
    // More than anybody can have.
    total.ok_or(PayRefusal::InsufficientBalance)
}

/// A payment that was made.
#[derive(Debug, Clone)]
pub struct Paid {
    /// What it came to.
    pub bill: Bill,
    /// One payment per reservation, in the order they were asked for.
    pub payments: Vec<PaidReservation>,
}

/// A payment as its owner reads it later.
#[derive(Debug, Clone)]
pub struct PaymentRecord {
    /// Which one; later ones sort after it.
    pub id: PaymentId,
    /// What was paid for.
    pub reservation: ReservationId,
    /// `pending`, `success` or `failed`.
    pub status: String,
    /// How much.
    pub amount: Money,
    /// `balance` or `card`.
    pub method: String,
    /// When.
    pub created_at: DateTime<Utc>,
    /// When the money went back, if it did.
    pub refunded_at: Option<DateTime<Utc>>,
    /// Whether the provider has given it back, where it goes back through one.
    pub refund_settled: Option<bool>,
}

/// One reservation that is paid for now.
#[derive(Debug, Clone)]
pub struct PaidReservation {
    /// The payment.
    pub payment: PaymentId,
    /// What was paid for.
    pub reservation: ReservationId,
    /// How much.
    pub amount: Money,
    /// The seat's lock, which nobody needs any more.
    pub lock: SeatLock,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn money(text: &str) -> Money {
        Money::from_json_number(text).unwrap()
    }

    fn locked(status: ReservationStatus, seconds_left: i64) -> LockedReservation {
        LockedReservation {
            id: ReservationId::generate(),
            status,
            amount: money("60.00"),
            deadline: DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds_left),
            paying_until: None,
        }
    }

    #[test]
    fn all_or_none_and_the_gravest_reason_is_told() {
        use ReservationStatus::{Canceled, Completed, Pending};
        let now = DateTime::UNIX_EPOCH;
        let rich = money("120.00");
        let decide = |list: &[LockedReservation], balance| decide(list.len(), list, balance, now);
        let ok = [locked(Pending, 1), locked(Pending, 1)];
        assert_eq!(decide(&ok, rich), Ok(Bill { total: rich, balance: Money::ZERO }));
        assert_eq!(decide(&ok, money("119.99")), Err(PayRefusal::InsufficientBalance));
        assert_eq!(super::decide(3, &ok, rich, now), Err(PayRefusal::UnknownReservation));
        assert_eq!(decide(&[ok[0], locked(Pending, 0)], rich), Err(PayRefusal::Expired));
        assert_eq!(decide(&[ok[0], locked(Canceled, 1)], rich), Err(PayRefusal::Expired));
        assert_eq!(decide(&[locked(Canceled, 1), locked(Completed, 0)], rich), Err(PayRefusal::AlreadyPaid));
    }

    #[test]
    fn what_is_being_paid_for_can_not_be_paid_for_twice() {
        let now = DateTime::UNIX_EPOCH;
        let paying = |seconds_left, until| LockedReservation {
            paying_until: Some(now + TimeDelta::seconds(until)),
            ..locked(ReservationStatus::Pending, seconds_left)
        };
        let of = |reservation| payable(1, &[reservation], now);
        assert_eq!(of(paying(1, 1)), Err(PayRefusal::InProgress));
        assert_eq!(of(paying(0, 1)), Err(PayRefusal::InProgress), "the hold goes on past its deadline");
        assert_eq!(of(paying(1, 0)), Ok(money("60.00")), "nobody waits for that attempt any more");
        assert_eq!(of(paying(0, 0)), Err(PayRefusal::Expired));
    }
}
