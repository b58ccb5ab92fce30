//! Waiting for seats that come free.

use chrono::{DateTime, Utc};
use common::ids::{ConcertId, ReservationId, UserId};

/// One wait: who came first has the lower number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitId(pub i64);

/// Somebody who waits, and whose turn it is.
#[derive(Debug, Clone, Copy)]
pub struct Waiting {
    /// Their wait.
    pub id: WaitId,
    /// Who.
    pub user: UserId,
}

/// How a wait stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Of which concert.
    pub concert: ConcertId,
    /// Of which section only.
    pub section: Option<String>,
    /// Since when.
    pub joined_at: DateTime<Utc>,
    /// What has come of it.
    pub state: WaitState,
}

/// What has come of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitState {
    /// Nothing yet; so many are in front for the same seats, oneself included.
    Waiting {
        /// From 1.
        place: u64,
    },
    /// A seat is held for them and can be paid for.
    Offered {
        /// The offer.
        reservation: ReservationId,
        /// Until when it can be paid for.
        expires_at: DateTime<Utc>,
    },
}

/// Why somebody was not put on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinRefusal {
    /// As many wait as may.
    Full,
    /// There is no such user (any more).
    UnknownUser,
}

/// How offering a seat went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferRefusal {
    /// They can't have it: they have left, were offered another seat, or have as many as one may.
    NotTheirs,
    /// The seat is not free any more.
    SeatGone,
}
