//! Redis: seat locks, the log of ended sessions.

mod ended;
mod holds;
mod keys;

pub use ended::EndedLog;
pub use holds::{HoldOutcome, Holds};
