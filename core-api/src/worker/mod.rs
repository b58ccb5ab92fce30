//! What runs beside the requests: ending what nobody paid for, forgetting old idempotency keys,
//! watching seats.

mod key_purge;
mod left_behind;
mod repeat;
mod seat_watch;
mod sweeper;

pub(crate) use key_purge::purge_keys;
pub(crate) use left_behind::look_for_locks;
pub(crate) use seat_watch::watch_seats;
pub(crate) use sweeper::{release_left_over, sweep};
