//! Load scenarios that judge a running stack.
//!
//! A scenario sends visitors through the public API in an open model: they arrive when the schedule
//! says so, however slow the answers are, and every latency counts from the moment the step was
//! *meant* to start. At the end [`invariants`] asks PostgreSQL and Redis whether what must always
//! hold still does, and the exit code says so.
//!
//! A new scenario is a module in `scenario/` and a subcommand in [`cli`]; the HTTP client, the
//! recorder, the checks and the report are shared.

mod admission_order;
mod catalog;
mod check;
pub mod cli;
mod client;
pub mod invariants;
mod progress;
mod report;
mod retry;
mod room;
mod scenario;
mod schedule;
mod stats;
mod target;
mod usage;
