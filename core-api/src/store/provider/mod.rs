//! Payment providers.

mod http;

pub use http::HttpProvider;
