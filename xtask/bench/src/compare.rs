//! Two things measured by turns, round after round.

use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context as _, Result};
use stack::nginx::Nginx;

use crate::cpu;
use crate::figures::{Row, What};
use crate::wrk::{self, Answers, CONNECTIONS, Load, Requests};
use crate::{progress, stopping};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// How often each pair is measured.
    pub(crate) rounds: u32,
    /// How long one measurement takes.
    pub(crate) time: Duration,
    /// People in the largest room.
    pub(crate) million: usize,
    /// People who are let in one after the other.
    pub(crate) drained: usize,
    /// Event streams.
    pub(crate) streams: usize,
}

/// One side of a comparison by wrk: whom it asks for what.
pub(crate) struct Side<'a> {
    pub(crate) address: String,
    /// Makes the requests of a round.
    pub(crate) requests: Box<dyn FnMut(u32) -> Result<Requests> + 'a>,
    pub(crate) answers: Answers,
    /// The processes that are measured.
    pub(crate) servers: Vec<u32>,
}

impl<'a> Side<'a> {
    /// Always the same requests.
    pub(crate) fn repeating(address: &dyn Display, servers: &[u32], requests: &'a [String]) -> Self {
        Self {
            address: address.to_string(),
            requests: Box::new(|_| Ok(Requests::repeated(requests.iter().cloned()))),
            answers: Answers::Good,
            servers: servers.to_vec(),
        }
    }

    /// Always the same requests, to an nginx.
    pub(crate) fn nginx(nginx: &Nginx, requests: &'a [String]) -> Self {
        Self::repeating(&format!("127.0.0.1:{}", nginx.port()), &[nginx.process().pid()], requests)
    }

    /// What it came to, and how much CPU the servers used of each second.
    pub(crate) fn measure(&mut self, round: u32, time: Duration) -> Result<(Load, f64)> {
        let requests = (self.requests)(round)?;
        let before = cpu::used(&self.servers)?;
        let load = tokio::task::block_in_place(|| wrk::run(&self.address, &requests, self.answers, time))?;
        // wrk hears Ctrl-C as well, and tells what it had by then.
        stopping::check()?;
        let seconds = f64::from(u32::try_from(load.answers)?) / load.per_second;
        Ok((load, (cpu::used(&self.servers)? - before) / seconds))
    }
}

/// How busy everybody was, over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    generator: f64,
    servers: f64,
    p99_ms: f64,
}

impl Busy {
    fn note(&mut self, (load, servers): (Load, f64)) {
        self.generator = self.generator.max(load.generator);
        self.servers = self.servers.max(servers);
        self.p99_ms = self.p99_ms.max(load.p99_ms);
    }

    fn say(&self) -> String {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let (generator, servers) = (percent(self.generator), percent(self.servers));
        format!("server {servers} of a core, wrk {generator}, p99 {:.1} ms", self.p99_ms)
    }
}

/// Measures both by turns.
pub(crate) fn compare(extent: Extent, what: What, mut ours: Side<'_>, mut ceiling: Side<'_>, how: &str) -> Result<Row> {
    let (mut pairs, mut our_load, mut their_load) = (Vec::new(), Busy::default(), Busy::default());
    for round in 0..extent.rounds {
        progress::say(what.name, round, extent.rounds);
        let one = ours.measure(round, extent.time).context("ours")?;
        let other = ceiling.measure(round, extent.time).context("the ceiling")?;
        pairs.push((one.0.per_second, other.0.per_second));
        our_load.note(one);
        their_load.note(other);
    }
    let note = format!(
        "{how} wrk on a core of its own, {CONNECTIONS} connections kept alive, nothing pipelined. At most: ours {}; the \
         ceiling {}.",
        our_load.say(),
        their_load.say()
    );
    Ok(what.row(&pairs, note))
}
