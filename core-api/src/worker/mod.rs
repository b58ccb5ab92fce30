//! What runs beside the requests: ending what nobody paid for, forgetting old idempotency keys.

mod key_purge;
mod repeat;
mod sweeper;

pub(crate) use key_purge::purge_keys;
pub(crate) use sweeper::{release_left_over, sweep};
