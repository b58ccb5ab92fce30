//! core-api over HTTP, with real PostgreSQL and Redis.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod audit;
mod bad_input;
mod best_available;
mod card;
mod card_payments;
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
mod provider_webhooks;
mod reconciling;
mod refunds;
mod releases;
mod reservations;
mod schema;
mod seat_events;
mod support;
mod waitlist;
