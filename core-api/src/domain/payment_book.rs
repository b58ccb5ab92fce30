//! Several payments decided one after the other over what one transaction has locked: each sees what the ones before it
//! took.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use common::ids::{PaymentId, ReservationId, UserId};
use common::money::Money;

use super::payment::{LockedReservation, Paid, PaidReservation, PayRefusal, decide};
use super::reservation::{ReservationStatus, SeatLock};

/// What is locked, as it will be once the payments decided so far are written.
#[derive(Debug)]
pub struct PaymentBook {
    reservations: HashMap<ReservationId, (LockedReservation, SeatLock)>,
    balances: HashMap<UserId, Money>,
    now: DateTime<Utc>,
}

impl PaymentBook {
    /// Over these reservations and balances, all of them locked before `now`.
    pub fn new(
        reservations: impl IntoIterator<Item = (LockedReservation, SeatLock)>,
        balances: HashMap<UserId, Money>,
        now: DateTime<Utc>,
    ) -> Self {
        let reservations = reservations.into_iter().map(|entry| (entry.0.id, entry)).collect();
        Self { reservations, balances, now }
    }

    /// The time at which everything was locked.
    pub fn now(&self) -> DateTime<Utc> {
        self.now
    }

    /// What a user's balance is by now; `None` where it is not locked.
    pub fn balance(&self, user: UserId) -> Option<Money> {
        self.balances.get(&user).copied()
    }

    /// Decides `user`'s payment for `wanted`, none of them twice. `None` where it can't be decided from what is locked:
    /// the user or one of the reservations is somebody else's for the moment, or there is no such one.
    pub fn pay(&mut self, user: UserId, wanted: &[ReservationId]) -> Option<Result<Paid, PayRefusal>> {
        let balance = self.balance(user)?;
        let own = |id: &ReservationId| self.reservations.get(id).filter(|(_, lock)| lock.user == user).copied();
        let found: Vec<(LockedReservation, SeatLock)> = wanted.iter().map(own).collect::<Option<_>>()?;
        let facts: Vec<LockedReservation> = found.iter().map(|(reservation, _)| *reservation).collect();
        let bill = match decide(wanted.len(), &facts, balance, self.now) {
            Ok(bill) => bill,
            Err(refusal) => return Some(Err(refusal)),
        };
        self.balances.insert(user, bill.balance);
        for id in wanted {
            self.reservations
                .entry(*id)
                .and_modify(|(reservation, _)| reservation.status = ReservationStatus::Completed);
        }
        let payments = found.into_iter().map(|(reservation, lock)| PaidReservation {
            payment: PaymentId::generate(),
            reservation: reservation.id,
            amount: reservation.amount,
            lock,
        });
        Some(Ok(Paid { bill, payments: payments.collect() }))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use common::ids::{ConcertId, SeatId};

    use super::*;

    fn money(text: &str) -> Money {
        Money::from_json_number(text).unwrap()
    }

    fn book(owners: &[UserId], balances: &[(UserId, &str)]) -> (PaymentBook, Vec<ReservationId>) {
        let locked = |user: &UserId| {
            let (concert, seat) = (ConcertId::generate(), SeatId::generate());
            let reservation = LockedReservation {
                id: ReservationId::generate(),
                status: ReservationStatus::Pending,
                amount: money("10"),
                deadline: DateTime::UNIX_EPOCH + TimeDelta::seconds(1),
                paying_until: None,
            };
            (reservation, SeatLock { concert, seat, user: *user, fence: 1 })
        };
        let reservations: Vec<_> = owners.iter().map(locked).collect();
        let ids = reservations.iter().map(|(reservation, _)| reservation.id).collect();
        let balances = balances.iter().map(|(user, balance)| (*user, money(balance))).collect();
        (PaymentBook::new(reservations, balances, DateTime::UNIX_EPOCH), ids)
    }

    #[test]
    fn payments_of_a_user_see_each_other() {
        let user = UserId::generate();
        let (mut book, ids) = book(&[user; 4], &[(user, "25")]);
        let paid = book.pay(user, &[ids[1], ids[0]]).unwrap().unwrap();
        assert_eq!((paid.bill.total, paid.bill.balance), (money("20"), money("5")));
        assert_eq!(paid.payments.iter().map(|one| one.reservation).collect::<Vec<_>>(), [ids[1], ids[0]]);
        assert_eq!(book.pay(user, &[ids[0], ids[2]]).unwrap().unwrap_err(), PayRefusal::AlreadyPaid);
        assert_eq!(book.pay(user, &[ids[2]]).unwrap().unwrap_err(), PayRefusal::InsufficientBalance);
        assert_eq!(book.balance(user), Some(money("5")), "a refusal takes nothing");
    }

    #[test]
    fn what_is_not_locked_is_not_decided() {
        let (user, stranger, away) = (UserId::generate(), UserId::generate(), UserId::generate());
        let (mut book, ids) = book(&[user, stranger, away], &[(user, "25"), (stranger, "25")]);
        assert!(book.pay(user, &[ids[0], ids[1]]).is_none(), "another's reservation");
        assert!(book.pay(user, &[ids[0], ReservationId::generate()]).is_none());
        assert!(book.pay(away, &[ids[2]]).is_none(), "a balance that is not locked");
        assert!(book.pay(user, &[ids[0]]).unwrap().is_ok(), "and nothing was taken by trying");
    }
}
