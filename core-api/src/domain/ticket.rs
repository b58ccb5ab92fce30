//! Tickets: what a reservation that is paid for is at the door, and letting it in.

use chrono::{DateTime, NaiveDate, Utc};
use common::ids::{ConcertId, ReservationId, UserId};
use common::tokens::EntryTicket;

use super::seat::SeatNumber;

/// A ticket as its owner sees it. It is its reservation, completed, and has no other name.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Of which reservation.
    pub reservation: ReservationId,
    /// To which concert.
    pub concert: ConcertId,
    /// What the concert is called.
    pub concert_name: String,
    /// The concert's day.
    pub concert_date: NaiveDate,
    /// Where it is.
    pub venue: String,
    /// The seat.
    pub seat: TicketSeat,
    /// Since when there is this ticket: the payment.
    pub issued_at: DateTime<Utc>,
    /// When it was let in, if it was.
    pub checked_in_at: Option<DateTime<Utc>>,
}

impl Ticket {
    /// What its code says.
    pub fn claims(&self) -> EntryTicket {
        let TicketSeat { section, number } = &self.seat;
        let seat = format!("{section}-{}", number.get());
        EntryTicket { reservation: self.reservation, concert: self.concert, seat }
    }
}

/// A seat as a ticket names it.
#[derive(Debug, Clone)]
pub struct TicketSeat {
    /// Its section.
    pub section: String,
    /// Its number there.
    pub number: SeatNumber,
}

/// Why a user's reservation has no ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoTicket {
    /// The user has no such reservation.
    Unknown,
    /// It is held, not paid for; or its money is set aside at a provider and not taken yet.
    NotPaid,
    /// It was never paid for and has ended.
    Expired,
    /// It was paid for and given back.
    Revoked,
}

/// A ticket as a door sees it, good or given back.
#[derive(Debug, Clone)]
pub struct IssuedTicket {
    /// Of which reservation.
    pub reservation: ReservationId,
    /// The seat.
    pub seat: TicketSeat,
    /// Since when there is this ticket.
    pub issued_at: DateTime<Utc>,
    /// When it was given back, if it was.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was let in, and by whom, if it was.
    pub checked_in: Option<(DateTime<Utc>, UserId)>,
}

/// A ticket that is let in now.
#[derive(Debug, Clone)]
pub struct CheckIn {
    /// Of which reservation.
    pub reservation: ReservationId,
    /// To which concert.
    pub concert: ConcertId,
    /// The seat.
    pub seat: TicketSeat,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why a ticket was not let in, once its code was found to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckInRefusal {
    /// There is no such reservation, or none of which it could be the ticket.
    Unknown,
    /// It is for another concert than the one at this door.
    WrongConcert,
    /// It was given back for its money.
    Revoked,
    /// It was let in before.
    AlreadyCheckedIn {
        /// When.
        at: DateTime<Utc>,
        /// By whom.
        by: UserId,
    },
    /// Whoever checks it in is no user (any more).
    UnknownUser,
}

/// Why a check-in was not taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UndoRefusal {
    /// There never was one.
    NeverCheckedIn,
    /// Whoever takes it back is no user (any more).
    UnknownUser,
}

/// A check-in that is taken back.
#[derive(Debug, Clone, Copy)]
pub struct UndoneCheckIn {
    /// When the ticket was let in.
    pub checked_in_at: DateTime<Utc>,
    /// By whom.
    pub checked_in_by: UserId,
    /// When that was taken back.
    pub undone_at: DateTime<Utc>,
    /// By whom.
    pub undone_by: UserId,
}
