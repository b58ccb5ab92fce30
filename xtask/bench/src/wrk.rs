//! wrk, the load generator: requests that were made beforehand, one after the other on each of its connections.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use stack::programs;

use crate::cpu::{self, GENERATOR};

/// Reads the requests, and tells what came of them in a form that is easy to read.
const SCRIPT: &str = include_str!("requests.lua");
/// What parts two requests in the file that wrk reads.
const SEPARATOR: u8 = 0;
/// Connections of one run; each has one request under way at a time, kept alive, nothing pipelined.
pub(crate) const CONNECTIONS: u32 = 64;

/// Requests to be sent, byte for byte.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    bytes: Vec<u8>,
    count: u64,
    /// Whether they begin anew once all have been sent.
    again: bool,
}

impl Requests {
    /// The same ones over and over.
    pub(crate) fn repeated(requests: impl IntoIterator<Item = String>) -> Self {
        Self { again: true, ..Self::once(requests) }
    }

    /// Each of them once; a run that needs more is wrong.
    pub(crate) fn once(requests: impl IntoIterator<Item = String>) -> Self {
        let mut made = Self::default();
        for request in requests {
            made.bytes.extend_from_slice(request.as_bytes());
            made.bytes.push(SEPARATOR);
            made.count += 1;
        }
        made
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) answers: u64,
    pub(crate) per_second: f64,
    /// The 99th percentile, in ms.
    pub(crate) p99_ms: f64,
    /// How much of its core the generator took, 0–1.
    pub(crate) generator: f64,
}

/// Whether answers are to be refusals (400 and more) or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    Good,
    Refusals,
}

/// Sends requests to `address` for a time, from a core of its own. Every answer has to be of that kind.
pub(crate) fn run(address: &str, requests: &Requests, answers: Answers, time: Duration) -> Result<Load> {
    let folder = tempfile::tempdir()?;
    let (script, file) = (folder.path().join("requests.lua"), folder.path().join("requests"));
    std::fs::write(&script, SCRIPT)?;
    std::fs::write(&file, &requests.bytes)?;
    let (cpu_before, begun) = (cpu::of_ended_children()?, Instant::now());
    let text = programs::output(&mut command(address, &script, &file, requests, time))?;
    let taken = cpu::of_ended_children()? - cpu_before;
    let mut load = read(&text, answers).with_context(|| format!("wrk said:\n{text}"))?;
    // Reading the requests is no part of sending them, but all of it happens on the core.
    load.generator = (taken / begun.elapsed().as_secs_f64()).min(1.0);
    ensure!(
        requests.again || load.answers <= requests.count,
        "{} requests were made and {} sent: make more",
        requests.count,
        load.answers
    );
    Ok(load)
}

fn command(address: &str, script: &Path, file: &Path, requests: &Requests, time: Duration) -> Command {
    let mut command = programs::command("taskset");
    command.args(["-c", &GENERATOR.to_string(), "wrk", "-t", "1", "-c", &CONNECTIONS.to_string()]);
    command.args(["-d", &format!("{}s", time.as_secs().max(1)), "--timeout", "10s", "-s"]).arg(script);
    command.arg(format!("http://{address}/")).arg("--").arg(file);
    command.arg(if requests.again { "again" } else { "once" });
    command
}

/// What `requests.lua` prints at its end.
fn read(text: &str, wanted: Answers) -> Result<Load> {
    let line = text.lines().find_map(|line| line.strip_prefix("onsale ")).context("no figures")?;
    let figures: Vec<f64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let &[answers, seconds, p99_us, failures, refusals] = figures.as_slice() else { bail!("figures are missing") };
    ensure!(failures < 1.0, "{failures} requests failed");
    let others = if wanted == Answers::Good { refusals } else { answers - refusals };
    ensure!(others < 1.0, "{others} of {answers} answers had another status");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let count = answers as u64;
    Ok(Load { answers: count, per_second: answers / seconds, p99_ms: p99_us / 1e3, generator: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_failures_are_none() {
        let load = read("Running 1s test\nonsale 1000 2 1500 0 0\n", Answers::Good).unwrap();
        assert_eq!((load.answers, load.p99_ms.to_bits()), (1_000, 1.5_f64.to_bits()));
        assert!(read("onsale 1000 2 1500 3 0", Answers::Good).unwrap_err().to_string().contains("3 requests failed"));
        for (text, wanted) in [("onsale 9 2 15 0 4", Answers::Good), ("onsale 9 2 15 0 5", Answers::Refusals)] {
            assert!(read(text, wanted).unwrap_err().to_string().contains("4 of 9 answers had another status"));
        }
        assert!(read("wrk: unable to connect", Answers::Good).is_err());
    }
}
