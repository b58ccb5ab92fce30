//! What the gateway and core-api share, and nothing else: configuration, tokens, problem+json, telemetry, lifecycle,
//! clock, ids and money. It knows neither Redis nor SQL.

pub mod changes;
pub mod clock;
pub mod colour;
pub mod config;
pub mod draw;
pub mod healthcheck;
pub mod http;
pub mod ids;
pub mod language;
pub mod lifecycle;
pub mod metrics;
pub mod money;
pub mod problem;
pub mod rate_limit;
pub mod signed_webhook;
pub mod telemetry;
pub mod tokens;
pub mod whole;
