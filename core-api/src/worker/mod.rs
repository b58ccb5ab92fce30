//! What runs beside the requests: ending what nobody paid for, forgetting old idempotency keys,
//! watching seats, going on with payments that nobody else goes on with.

mod key_purge;
mod reconciler;
mod repeat;
mod seat_watch;
mod sweeper;

pub(crate) use key_purge::{purge_events, purge_keys};
pub(crate) use reconciler::{measure_payments, reconcile};
pub(crate) use seat_watch::watch_seats;
pub(crate) use sweeper::{release_left_over, sweep};
