//! Several holds decided one after the other over what one transaction has locked: each sees what the ones before it took.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use common::ids::{ConcertId, ReservationId, SeatId, UserId};
use common::money::Money;

use super::reservation::{Held, HeldSeat, Order, ReserveRefusal};

/// A seat that nobody has.
#[derive(Debug, Clone, Copy)]
pub struct FreeSeat {
    /// Of which concert.
    pub concert: ConcertId,
    /// What it costs.
    pub price: Money,
}

/// What a user has of a concert.
#[derive(Debug, Clone, Copy)]
pub struct UserSeats {
    /// Seats that are theirs, paid for or not yet.
    pub live: u64,
    /// How many of them they may have.
    pub most: u64,
}

/// What is locked, as it will be once the holds decided so far are written.
#[derive(Debug)]
pub struct HoldBook {
    free: HashMap<SeatId, FreeSeat>,
    users: HashMap<(UserId, ConcertId), UserSeats>,
    now: DateTime<Utc>,
    hold_for: TimeDelta,
}

impl HoldBook {
    /// Over these seats and users, all of them locked before `now`; who holds one has `hold_for` to pay.
    pub fn new(
        free: HashMap<SeatId, FreeSeat>,
        users: HashMap<(UserId, ConcertId), UserSeats>,
        now: DateTime<Utc>,
        hold_for: TimeDelta,
    ) -> Self {
        Self { free, users, now, hold_for }
    }

    /// Decides an order; its seats' reservations get `ids`. `None` where it can't be decided from what is locked: a seat is
    /// not free, or the user or a seat is somebody else's for the moment.
    pub fn hold(&mut self, order: &Order, ids: &[ReservationId]) -> Option<Result<Held, ReserveRefusal>> {
        let has = self.users.get_mut(&(order.user, order.concert))?;
        let live = has.live.saturating_add(order.seats.len() as u64);
        if live > has.most {
            return Some(Err(ReserveRefusal::SeatLimit));
        }
        let free = |id: &SeatId| self.free.get(id).filter(|seat| seat.concert == order.concert);
        let reservations = order.seats.iter().zip(ids).map(|(seat, id)| {
            free(&seat.id).map(|free| HeldSeat { reservation: *id, seat: seat.clone(), amount: free.price })
        });
        let reservations = reservations.collect::<Option<Vec<_>>>()?;
        has.live = live;
        for seat in &order.seats {
            self.free.remove(&seat.id);
        }
        Some(Ok(Held { reservations, reserved_at: self.now, expires_at: self.now + self.hold_for }))
    }
}

#[cfg(test)]
mod tests {
    use common::tokens::PassId;

    use super::*;
    use crate::domain::seat::{Seat, SeatStatus};

    fn seat(price: Money) -> Seat {
        Seat {
            id: SeatId::generate(),
            number: 1_i64.try_into().unwrap(),
            section: "A".to_owned(),
            price,
            status: SeatStatus::Available,
        }
    }

    fn order(user: UserId, concert: ConcertId, seats: &[Seat]) -> Order {
        let pass = PassId { position: 1, nonce: 1 };
        Order { user, pass, concert, seats_per_user: None, seats: seats.to_vec() }
    }

    fn hold(book: &mut HoldBook, order: &Order) -> Option<Result<Vec<Money>, ReserveRefusal>> {
        let ids: Vec<ReservationId> = order.seats.iter().map(|_| ReservationId::generate()).collect();
        let held = book.hold(order, &ids)?;
        Some(held.map(|held| held.reservations.iter().map(|one| one.amount).collect()))
    }

    fn book(concert: ConcertId, seats: &[Seat], users: &[UserId], most: u64) -> HoldBook {
        let free = seats.iter().map(|seat| (seat.id, FreeSeat { concert, price: seat.price })).collect();
        let users = users.iter().map(|user| ((*user, concert), UserSeats { live: 0, most })).collect();
        HoldBook::new(free, users, DateTime::UNIX_EPOCH, TimeDelta::seconds(300))
    }

    #[test]
    fn a_seat_is_the_first_one_s_and_costs_what_it_costs_now() {
        let (concert, users) = (ConcertId::generate(), [UserId::generate(), UserId::generate()]);
        let now = Money::from_json_number("2").unwrap();
        let mut seats = [seat(now)];
        let mut book = book(concert, &seats, &users, 4);
        // What a buyer was shown may have changed since.
        seats[0].price = Money::ZERO;
        assert!(matches!(hold(&mut book, &order(users[0], concert, &seats)), Some(Ok(paid)) if paid == [now]));
        assert!(hold(&mut book, &order(users[1], concert, &seats)).is_none());
    }

    #[test]
    fn what_a_user_held_a_moment_ago_counts() {
        let (concert, user) = (ConcertId::generate(), UserId::generate());
        let seats: Vec<Seat> = (0..4).map(|_| seat(Money::ZERO)).collect();
        let mut book = book(concert, &seats, &[user], 3);
        assert!(matches!(hold(&mut book, &order(user, concert, &seats[..2])), Some(Ok(_))));
        assert!(matches!(hold(&mut book, &order(user, concert, &seats[2..])), Some(Err(ReserveRefusal::SeatLimit))));
        assert!(matches!(hold(&mut book, &order(user, concert, &seats[2..3])), Some(Ok(_))));
    }

    #[test]
    fn all_seats_or_none_and_none_of_another_concert() {
        let (concert, user) = (ConcertId::generate(), UserId::generate());
        let seats = [seat(Money::ZERO), seat(Money::ZERO)];
        let mut book = book(concert, &seats[..1], &[user], 4);
        assert!(hold(&mut book, &order(user, concert, &seats)).is_none());
        assert!(hold(&mut book, &order(user, ConcertId::generate(), &seats[..1])).is_none());
        assert!(matches!(hold(&mut book, &order(user, concert, &seats[..1])), Some(Ok(_))), "nothing was taken");
    }
}
