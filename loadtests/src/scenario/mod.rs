//! What visitors do.

mod accounts;
mod ahead;
mod crowd;
pub(crate) mod journey;
mod options;
mod queue;
mod requests;
mod selling;
pub(crate) mod surge;
mod verdict;
mod visitor;
pub(crate) mod wait;
mod waiter;
