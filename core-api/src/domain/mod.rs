//! What is sold, held and paid for, and what decides: no HTTP, no SQL, no Redis.

pub mod account;
pub mod best_available;
pub mod branding;
pub mod catalogue;
pub mod csv;
pub mod effect;
pub mod hall;
pub mod hold_book;
pub mod ledger;
pub mod logo;
pub mod managed;
pub mod payment;
pub mod payment_book;
pub mod plan;
pub mod provider_payment;
pub mod refund;
pub mod reservation;
pub mod sales;
pub mod seat;
pub mod seat_log;
pub mod session;
pub mod text;
pub mod ticket;
pub mod waitlist;
pub mod webhook;
pub mod webhook_delivery;
pub mod webhook_target;

/// Something that this service depends on failed it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// It is away or too slow for now; the same request may well succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// It refused what it should never be asked: a fault of ours.
    #[error("{0}")]
    Internal(String),
}
