//! The protocol of recovery as a model.
pub mod actions;
mod faults;
mod fingerprint;
mod gateways;
pub mod observer;
mod rebuilding;
pub mod rules;
mod scripts;
pub mod search;
pub mod state;
mod visitors;
