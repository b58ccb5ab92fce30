//! What visitors do.

pub(crate) mod journey;
mod requests;
mod visitor;
