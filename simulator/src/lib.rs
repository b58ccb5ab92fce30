//! A deterministic simulator of the waiting room: one seed, one virtual clock, one order of events.
//!
//! Real gateways run with real scripts on a real Redis, in one process and on one thread. Time is virtual, so that a
//! minute takes as long as what happens in it. Faults come by chance, visitors too, and an observer that sees every answer
//! and every state says which promise is broken.

mod clock;
mod faults;
mod log;
pub mod mutants;
mod observer;
pub mod plan;
mod process;
mod record;
pub mod report;
mod requests;
mod rng;
pub mod run;
mod scripts;
mod servers;
mod site;
mod transport;
mod visitors;
mod world;

pub use log::Line;
pub use observer::{Promise, Violation};
