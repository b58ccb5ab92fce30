//! Redis: seat locks.

mod holds;
mod keys;

pub use holds::{HoldOutcome, Holds};
