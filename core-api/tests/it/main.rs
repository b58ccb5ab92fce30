//! core-api over HTTP, with real PostgreSQL and Redis.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod admin_concerts;
mod admin_held_back;
mod admin_sales;
mod audit;
mod bad_input;
mod best_available;
mod catalogue;
mod check_ins;
mod client;
mod demo;
mod extending;
mod faults;
mod idempotency;
mod login_limit;
mod money;
mod outbox;
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
mod tickets;
mod waitlist;
mod webhook_deliveries;
mod webhook_failures;
mod webhook_receiver;
mod webhooks;
