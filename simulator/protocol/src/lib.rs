//! How a waiting room recovers lost state, as a model that is small enough to search completely.
//!
//! Redis holds the room and can lose it, or lose the latest part of it. Three parties still know something: each
//! gateway knows what it answered, the record (`PostgreSQL`) knows what was written, and each visitor holds signed
//! tokens.
//! `docs/QUEUE.md` describes how the scripts and the gateway rebuild a room today. This crate describes those rules, and the
//! rules that are to replace them, as a state machine and searches it breadth first. A search either looks at every
//! state and finds no broken promise, or it returns a shortest way to one.
//!
//! ```text
//! cargo run -p protocol --release --example counterexamples
//! cargo test -p protocol
//! ```
//!
//! # What is modelled
//!
//! - [`state`]: two gateways, three visitors, the room in Redis, an earlier copy of it, the record, one late message.
//!   There is no time, only order. A lease can end at any moment, and every word about it knows when.
//! - [`actions`]: visitors join, leave, and poll with any token that they ever got. Gateways admit the first person in line,
//!   end leases, find a loss, open the next epoch, retell their words, rebuild step by step, and record events in order.
//! - Faults, as many as [`state::Bounds`] allows: Redis is wiped, or a copy that misses the last changes takes over. A gateway
//!   is paused and wakes up in the middle of its work. All gateways crash. A call arrives later, even after another loss.
//! - [`observer`]: sees everything, and checks the promises in [`observer::Property`].
//! - [`rules`]: each rule of recovery is a switch. [`rules::Rules::today`] has none of them, as the scripts and the gateway
//!   work today. [`rules::Rules::mended`] has all of them, as they are to work.
//! - [`scenarios`]: which rules are searched, with which faults, and what the search must find. The tests and [`report`] use
//!   the same lists.
//!
//! # What is not modelled
//!
//! - Rates, capacity, presence, the draw and passes. An offer and its claim are one action, the admission.
//! - A room without a record, and a record that loses rows.
//! - Two Redis processes that serve at the same time.
//!
//! These need the real scripts, and are for other tests.
//!
//! # Assumptions
//!
//! - Positions jump further than positions can have been given unseen ([`state::GAP`]).
//! - A gateway that is not paused retells before the rebuild begins. It has 1.5 seconds and ticks four times a second.
//! - A person near the front polls, and is back, before a person behind them is admitted.
//! - The mark of an end outlives every late message. It is kept for an hour.
//! - A gateway forgets a word once the record has it. A real one keeps it for 90 seconds, which can only help.
//! - What a gateway has seen of an epoch adds nothing once the Redis process is compared. It only compares epochs then.
//!
//! # What the mended rules do not promise
//!
//! The observer makes two exceptions, and no other. Both need a fault that destroys the last trace of something: Redis,
//! the record and every running gateway have lost it.
//!
//! - The last trace of a departure: the person can come back with their token.
//! - The last trace of an admission: the person is in line again, at their own position.
//!
//! There is no exception for a position. The token proves it.
//!
//! # How the search stays small
//!
//! States that differ only in the names of visitors or gateways count as one. Where rules compare moments only by
//! order, only their order counts. Once no loss can follow, the memory of gateways does not count. `fingerprint.rs`
//! implements this. Crate `stateright` was considered: its breadth-first search has no symmetry reduction, and its
//! depth-first search, which has one, does not find shortest ways.

pub mod actions;
pub mod events;
mod faults;
mod fingerprint;
mod gateways;
pub mod message;
pub mod observer;
mod rebuilding;
mod restoring;
pub mod rules;
pub mod scenarios;
mod scripts;
pub mod search;
pub mod state;
mod trace;
mod visitors;

use std::fmt::Write;

use scenarios::Scenario;

/// Searches every scenario and writes the results to `out`, with a shortest way to each broken promise. Returns whether
/// every result is the expected one. Takes about half a minute.
pub fn report(out: &mut impl Write) -> Result<bool, std::fmt::Error> {
    let mut is_as_expected = true;
    for scenario in scenarios::all() {
        let found = scenario.search();
        let Scenario { name, .. } = scenario;
        writeln!(out, "{name}: {} states, {} actions deep", found.states, found.depth)?;
        let broken = found.counterexample.as_ref().map(|counterexample| counterexample.property);
        let is_expected = broken == scenario.breaks && (broken.is_some() || found.is_exhaustive);
        match &found.counterexample {
            Some(counterexample) => writeln!(out, "{counterexample}")?,
            None => writeln!(out, "  nothing is broken\n")?,
        }
        if !is_expected {
            writeln!(out, "  UNEXPECTED: the search should break {:?}\n", scenario.breaks)?;
            is_as_expected = false;
        }
    }
    Ok(is_as_expected)
}
