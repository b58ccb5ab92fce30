//! Reservations: a seat held until a deadline, then paid for or given back.

use chrono::{DateTime, TimeDelta, Utc};
use common::ids::{ConcertId, ReservationId, SeatId, UserId};
use common::money::Money;
use common::tokens::PassId;

use super::Fault;
use super::refund::RefundRefusal;
use super::seat::{Seat, SeatNumber};

/// How far a reservation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReservationStatus {
    /// Held, not paid.
    Pending,
    /// Paid.
    Completed,
    /// Given back, or not paid in time.
    Canceled,
}

impl ReservationStatus {
    /// As in the database and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Canceled => "canceled",
        }
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Completed, Self::Canceled].into_iter().find(|status| status.as_str() == text)
    }
}

/// A reservation as its owner sees it.
#[derive(Debug, Clone)]
pub struct Reservation {
    /// Which one.
    pub id: ReservationId,
    /// Of which concert.
    pub concert: ConcertId,
    /// How far it has come.
    pub status: ReservationStatus,
    /// What it costs.
    pub amount: Money,
    /// Its seat.
    pub seat: SeatId,
    /// The seat's number.
    pub seat_number: SeatNumber,
    /// The seat's section.
    pub section: String,
    /// What the seat costs now.
    pub price: Money,
    /// When it was made.
    pub reserved_at: DateTime<Utc>,
    /// Until when it can be paid for.
    pub expires_at: DateTime<Utc>,
    /// When it was paid for.
    pub completed_at: Option<DateTime<Utc>>,
    /// When its time to pay was extended, if it was.
    pub extended_at: Option<DateTime<Utc>>,
    /// The database's time at the reading.
    pub read_at: DateTime<Utc>,
}

impl Reservation {
    /// The time left to pay, rounded up; 0 unless it is pending.
    pub fn seconds_left(&self) -> u64 {
        match self.status {
            ReservationStatus::Pending => seconds_between(self.read_at, self.expires_at),
            ReservationStatus::Completed | ReservationStatus::Canceled => 0,
        }
    }
}

/// Whole seconds from `start` to `end`, rounded up; 0 where that is past.
pub fn seconds_between(start: DateTime<Utc>, end: DateTime<Utc>) -> u64 {
    u64::try_from((end - start).num_milliseconds()).unwrap_or(0).div_ceil(1_000)
}

/// What somebody admitted asks for: these seats, all or none.
#[derive(Debug, Clone)]
pub struct Order {
    /// Who.
    pub user: UserId,
    /// Their admission.
    pub pass: PassId,
    /// Of which concert.
    pub concert: ConcertId,
    /// How many seats of the concert one may have, where it has a limit of its own.
    pub seats_per_user: Option<u32>,
    /// Which seats: at least one, none twice.
    pub seats: Vec<Seat>,
}

/// Seats that are held now.
#[derive(Debug, Clone)]
pub struct Held {
    /// A reservation per seat, in the order they were asked for.
    pub reservations: Vec<HeldSeat>,
    /// When.
    pub reserved_at: DateTime<Utc>,
    /// Until when they can be paid for.
    pub expires_at: DateTime<Utc>,
}

/// One seat that is held.
#[derive(Debug, Clone)]
pub struct HeldSeat {
    /// Its reservation.
    pub reservation: ReservationId,
    /// The seat.
    pub seat: Seat,
    /// What is to be paid.
    pub amount: Money,
}

/// Why seats were not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReserveRefusal {
    /// The admission has ended, or never was this one's.
    NotAdmitted,
    /// Somebody has one of the seats.
    SeatTaken,
    /// No seats that were wished for are free.
    NoSeatsTogether,
    /// The user would have more seats of the concert than one may have.
    SeatLimit,
    /// There is no such user (any more).
    UnknownUser,
}

/// A seat's lock in Redis: whoever ends a reservation releases this one and no later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeatLock {
    /// Of which concert.
    pub concert: ConcertId,
    /// Which seat.
    pub seat: SeatId,
    /// Whose.
    pub user: UserId,
    /// Which of their locks.
    pub fence: i64,
}

/// What extending a reservation's time to pay depends on, once its row is locked.
#[derive(Debug, Clone, Copy)]
pub struct Extendable {
    /// How far it has come.
    pub status: ReservationStatus,
    /// Until when it can be paid for.
    pub deadline: DateTime<Utc>,
    /// Whether that was put off before.
    pub is_extended: bool,
}

/// Why a reservation's time to pay was not extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendRefusal {
    /// The user has no such reservation.
    Unknown,
    /// Nobody's is.
    NotOffered,
    /// It is paid for.
    AlreadyPaid,
    /// It was given back, or its time to pay has passed.
    Expired,
    /// Its time was extended before.
    AlreadyExtended,
}

impl Extendable {
    /// The deadline that is `by` later, where it may be put off at `now`, the time after its row was locked: once, and
    /// only before it has come.
    pub fn extended(self, by: TimeDelta, now: DateTime<Utc>) -> Result<DateTime<Utc>, ExtendRefusal> {
        match self.status {
            ReservationStatus::Completed => return Err(ExtendRefusal::AlreadyPaid),
            ReservationStatus::Canceled => return Err(ExtendRefusal::Expired),
            ReservationStatus::Pending if self.deadline <= now => return Err(ExtendRefusal::Expired),
            ReservationStatus::Pending => {}
        }
        if self.is_extended {
            return Err(ExtendRefusal::AlreadyExtended);
        }
        self.deadline.checked_add_signed(by).ok_or(ExtendRefusal::NotOffered)
    }
}

/// A reservation that is given back.
#[derive(Debug, Clone, Copy)]
pub struct Canceled {
    /// The lock to be released; `None` where there never was one.
    pub lock: Option<SeatLock>,
    /// What went back to the user; `None` where it was not paid for.
    pub refunded: Option<Refunded>,
    /// Whether it had ended before, so that nothing was changed.
    pub had_ended: bool,
}

/// Money that goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refunded {
    /// How much.
    pub amount: Money,
    /// Where it goes through a provider: whether that has done it. `None` where it went to the balance, at once.
    pub settled: Option<bool>,
}

/// Why a reservation was not canceled.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// The user has no such reservation.
    #[error("no such reservation")]
    Unknown,
    /// It is paid for, and the money can't go back.
    #[error("no refund")]
    Refused(RefundRefusal),
    /// A dependency failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_put_off_once_and_never_after_it() {
        let now = DateTime::UNIX_EPOCH;
        let by = TimeDelta::seconds(60);
        let of = |status, seconds_left, is_extended| {
            Extendable { status, deadline: now + TimeDelta::seconds(seconds_left), is_extended }.extended(by, now)
        };
        assert_eq!(of(ReservationStatus::Pending, 1, false), Ok(now + TimeDelta::seconds(61)));
        assert_eq!(of(ReservationStatus::Pending, 1, true), Err(ExtendRefusal::AlreadyExtended));
        assert_eq!(of(ReservationStatus::Pending, 0, false), Err(ExtendRefusal::Expired));
        assert_eq!(of(ReservationStatus::Pending, 0, true), Err(ExtendRefusal::Expired), "the gravest reason");
        assert_eq!(of(ReservationStatus::Canceled, 1, false), Err(ExtendRefusal::Expired));
        assert_eq!(of(ReservationStatus::Completed, 1, false), Err(ExtendRefusal::AlreadyPaid));
    }

    #[test]
    fn time_left_is_rounded_up_and_never_negative() {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(seconds_between(now, now + TimeDelta::milliseconds(1)), 1);
        assert_eq!(seconds_between(now, now + TimeDelta::milliseconds(2_000)), 2);
        assert_eq!(seconds_between(now, now - TimeDelta::seconds(5)), 0);
    }
}
