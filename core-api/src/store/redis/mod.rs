//! Redis: seat locks, the log of ended sessions, what operators are shown of payments.

mod chart;
mod ended;
mod holds;
mod keys;

pub use chart::FailedPayments;
pub use ended::EndedLog;
pub use holds::{HoldOutcome, Holds};
