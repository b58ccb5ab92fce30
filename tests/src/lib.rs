//! Helpers of the end-to-end tests.

pub mod documents;
pub mod site;
pub mod spec;
pub mod stub_upstream;
