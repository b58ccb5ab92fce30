//! What visitors do.

mod ahead;
mod crowd;
pub(crate) mod journey;
mod options;
mod queue;
mod requests;
mod visitor;
pub(crate) mod wait;
mod waiter;
