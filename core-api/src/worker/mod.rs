//! What runs beside the requests: ending what nobody paid for, forgetting old idempotency keys,
//! watching seats, telling which sessions have ended.

mod key_purge;
mod repeat;
mod seat_watch;
mod sessions;
mod sweeper;

pub(crate) use key_purge::purge_keys;
pub(crate) use seat_watch::watch_seats;
pub(crate) use sessions::{know_ended_sessions, log_ended_sessions, purge_sessions};
pub(crate) use sweeper::{release_left_over, sweep};
