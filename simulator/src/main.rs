//! The simulator on the command line.
#![expect(clippy::print_stdout, reason = "this command talks to the person at the terminal")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use simulator::Violation;
use simulator::mutants::{MUTANTS, Mutant, by_name};
use simulator::report;
use simulator::run::{Outcome, Runner};

/// Run simulated waiting rooms with faults by chance, and check every promise after every step.
///
/// A seed always runs the same way. A failing one is shown with the command that repeats it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Options {
    /// How many seeds to run
    #[arg(long, default_value_t = 500, value_name = "N")]
    seeds: u64,
    /// The first seed; the only one unless --seeds or --minutes is given as well
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Run new seeds for so long instead
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Run with a known fault built in (see --mutants)
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Say for each known fault after how many seeds it is found
    #[arg(long)]
    mutants: bool,
    /// How many failing seeds are shown in full
    #[arg(long, default_value_t = 3, value_name = "N")]
    show: usize,
    /// Write the whole log of the seed as well
    #[arg(long)]
    log: bool,
    /// How many worlds run at once
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<bool> {
    let threads = options.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    if options.mutants {
        return find_mutants(options, threads);
    }
    let mutant = match &options.mutant {
        Some(name) => Some(by_name(name).ok_or_else(|| anyhow::anyhow!("there is no mutant {name}"))?),
        None => None,
    };
    let runner = Runner::start(mutant)?;
    let first = options.seed.unwrap_or(1);
    let begun = Instant::now();
    let until = options.minutes.map(|minutes| begun + Duration::from_secs(60 * minutes));
    let count =
        if options.seed.is_some() && options.minutes.is_none() && options.seeds == 500 { 1 } else { options.seeds };
    let seeds = (first..).take_while(move |seed| match until {
        Some(until) => Instant::now() < until,
        None => *seed < first + count,
    });
    let summary = Summary::default();
    runner.run_many(seeds, threads, |outcome| summary.add(&outcome, options))?;
    summary.print(begun.elapsed());
    Ok(summary.failed.load(Ordering::Relaxed) == 0)
}

#[derive(Default)]
struct Summary {
    ran: AtomicU64,
    failed: AtomicU64,
    broken: Mutex<BTreeMap<String, Vec<u64>>>,
}

impl Summary {
    fn add(&self, outcome: &Outcome, options: &Options) -> bool {
        self.ran.fetch_add(1, Ordering::Relaxed);
        if options.log {
            print!("{}", outcome.log());
        }
        if !outcome.is_good() {
            let failed = self.failed.fetch_add(1, Ordering::Relaxed);
            if usize::try_from(failed).is_ok_and(|failed| failed < options.show) {
                println!("{}", report::failure(outcome, options.mutant.as_deref()));
            }
            if let Ok(mut broken) = self.broken.lock() {
                for violation in &outcome.violations {
                    broken.entry(format!("{:?}", violation.promise)).or_default().push(outcome.plan.seed);
                }
            }
        }
        true
    }

    fn print(&self, elapsed: Duration) {
        if let Ok(broken) = self.broken.lock() {
            for (promise, seeds) in &*broken {
                let mut first = seeds.clone();
                first.sort_unstable();
                first.truncate(8);
                println!("{promise}: {} seeds, such as {first:?}", seeds.len());
            }
        }
        let (ran, failed) = (self.ran.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        println!("{ran} seeds in {:.1} s, {failed} failed", elapsed.as_secs_f64());
    }
}

fn find_mutants(options: &Options, threads: usize) -> anyhow::Result<bool> {
    let mut runner = Runner::start(None)?;
    let mut all_found = true;
    println!("{:<28} {:>5}  promise", "mutant", "seeds");
    for mutant in MUTANTS {
        runner.mutate(Some(mutant))?;
        all_found &= find(&runner, mutant, options, threads)?;
    }
    Ok(all_found)
}

/// Slots of worlds that run beside those of the threads.
const BASELINE_SLOT: usize = 16;

fn slot_of(outcome: &Outcome) -> usize {
    usize::try_from(outcome.plan.seed % 16).unwrap_or(0)
}

fn find(runner: &Runner, mutant: &Mutant, options: &Options, threads: usize) -> anyhow::Result<bool> {
    let (ran, found) = (AtomicU64::new(0), Mutex::new(None));
    let first = options.seed.unwrap_or(1);
    runner.run_many(first..first + options.seeds, threads, |outcome| {
        let ran = ran.fetch_add(1, Ordering::Relaxed) + 1;
        if outcome.is_good() {
            return true;
        }
        // What breaks without the mutant as well does not show it.
        let unchanged = runner.run_unchanged(outcome.plan.seed, BASELINE_SLOT + slot_of(&outcome)).ok();
        let is_known = |broken: &&Violation| {
            unchanged.as_ref().is_some_and(|other| other.violations.iter().any(|known| known.promise == broken.promise))
        };
        let Some(violation) = outcome.violations.iter().find(|broken| !is_known(broken)) else { return true };
        if let Ok(mut found) = found.lock() {
            found.get_or_insert((ran, outcome.plan.seed, violation.promise));
        }
        false
    })?;
    let found = found.into_inner().ok().flatten();
    match found {
        Some((ran, seed, promise)) => println!("{:<28} {ran:>5}  {promise:?} (seed {seed})", mutant.name),
        None => println!("{:<28}  none  SURVIVES {} seeds: {}", mutant.name, options.seeds, mutant.fault),
    }
    Ok(found.is_some())
}
