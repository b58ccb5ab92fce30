//! Helpers of the end-to-end tests.

pub mod documents;
pub mod jose;
pub mod site;
pub mod spec;
pub mod stub_upstream;
