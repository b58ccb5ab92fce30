//! The scripts that run inside Redis, and the connection that runs them.
//!
//! `queue/` holds the waiting room's verbs, `chart/` that of what operators see of it, `holds/` the seat locks', `sessions/`
//! that of the log of ended sessions. A script's file says in its header what is atomic, its KEYS, ARGV and RETURNS, and its COST; the typed function that calls
//! it is in the store of the service that owns it, and nowhere else.

pub mod chart;
mod connection;
mod endpoint;
pub mod holds;
mod link;
mod metrics;
pub mod queue;
mod script;
pub mod sessions;
mod settings;

pub use connection::{Mode, Redis, RedisSettings, SentinelSettings, StoreError};
pub use metrics::METRICS;
pub use script::{Call, Script};
pub use settings::{REDIS_MODE, REDIS_SENTINEL_MASTER, REDIS_SENTINEL_PASSWORD, REDIS_TIMEOUT_MS, REDIS_URL};
