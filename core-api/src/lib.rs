//! core-api: seats, holds and money.
//!
//! `http → service → {domain ← store}`: handlers parse a request and render its answer; services take the steps in
//! between; the domain decides and knows neither HTTP nor SQL nor Redis; stores keep. Handlers never name Redis or
//! sqlx, stores never name axum.

mod app;
pub mod config;
pub mod demo;
pub mod domain;
pub mod http;
pub mod metrics;
pub mod service;
mod state;
pub mod store;
mod worker;

pub use app::App;
pub use state::AppState;

/// The figures that a core-api keeps.
pub const METRICS: &[&[common::metrics::Metric]] = &[common::metrics::METRICS, lua::METRICS, metrics::METRICS];
