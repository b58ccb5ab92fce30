//! What runs beside the requests: ending what nobody paid for, forgetting old idempotency keys,
//! watching seats, delivering webhooks, telling which sessions have ended, going on with payments that nobody else goes
//! on with.

mod key_purge;
mod left_behind;
mod reconciler;
mod repeat;
mod seat_watch;
mod sessions;
mod sweeper;
mod webhooks;

pub(crate) use key_purge::{purge_events, purge_keys};
pub(crate) use left_behind::{look_for_locks, look_for_seats};
pub(crate) use reconciler::{measure_payments, reconcile};
pub(crate) use seat_watch::watch_seats;
pub(crate) use sessions::{know_ended_sessions, log_ended_sessions, purge_sessions};
pub(crate) use sweeper::{release_left_over, sweep};
pub(crate) use webhooks::{deliver_webhooks, keep_up_webhooks};
