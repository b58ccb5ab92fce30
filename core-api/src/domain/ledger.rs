//! Balances and what changed them.

use chrono::{DateTime, Utc};
use common::ids::ReservationId;
use rust_decimal::Decimal;

/// Why a balance was not charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargeRefusal {
    /// It would be over what a balance can be.
    OverLimit,
    /// There is no such user (any more).
    UnknownUser,
}

/// One entry of a user's ledger.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its number; later entries have higher ones.
    pub id: i64,
    /// `charge`, `payment` or `refund`.
    pub kind: String,
    /// Positive for what came in, negative for what went out.
    pub amount: Decimal,
    /// What was paid for or refunded.
    pub reservation: Option<ReservationId>,
    /// When.
    pub created_at: DateTime<Utc>,
}
