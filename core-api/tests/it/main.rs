//! core-api over HTTP, with real PostgreSQL and Redis.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod audit;
mod bad_input;
mod best_available;
mod catalogue;
mod client;
mod demo;
mod extending;
mod faults;
mod idempotency;
mod login_limit;
mod money;
mod payment_batches;
mod payment_records;
mod payments;
mod refunds;
mod releases;
mod reservations;
mod schema;
mod seat_events;
mod sessions;
mod support;
mod waitlist;
