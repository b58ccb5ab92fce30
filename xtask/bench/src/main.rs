//! `cargo xtask bench`: the hot paths beside the ceiling of the machine.
#![expect(clippy::print_stdout, reason = "it talks to the person at the terminal")]

mod cases;
mod compare;
mod concerts;
mod cpu;
mod figures;
mod machine;
mod people;
mod progress;
mod report;
mod site;
mod stopping;
mod wrk;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use cases::PARTS;
use clap::Parser;
use compare::Extent;
use machine::Machine;
use report::Report;
use stack::install::Tool;
use stack::programs;

/// Measure the hot paths against the ceiling of this machine.
///
/// Starts private servers, measures ours and the ceiling by turns, prints one table, and writes it to docs/BENCHMARKS.md and
/// docs/benchmarks.json. It is no test: the exit status is 0 whatever the ratios are, 2 where something could not be
/// measured.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Options {
    /// Only the line of this name (may be given several times); writes no files
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// One short round of each, and a tenth of the people; writes no files
    #[arg(long)]
    quick: bool,
}

impl Options {
    fn extent(&self) -> Extent {
        let whole =
            Extent { rounds: 3, time: Duration::from_secs(3), million: 1_000_000, drained: 100_000, streams: 20_000 };
        if self.quick {
            return Extent {
                rounds: 1,
                time: Duration::from_secs(1),
                million: 100_000,
                drained: 10_000,
                streams: 2_000,
            };
        }
        whole
    }
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error.into()),
    };
    match runtime.block_on(run(&options)) {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::from(2),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &anyhow::Error) -> std::process::ExitCode {
    progress::clear();
    println!("error: {error:#}");
    std::process::ExitCode::from(2)
}

/// Whether all could be measured.
async fn run(options: &Options) -> Result<bool> {
    let known: Vec<&str> = PARTS.iter().flat_map(|part| part.names).copied().collect();
    for name in &options.only {
        ensure!(known.contains(&name.as_str()), "there is no {name}; there are {}", known.join(", "));
    }
    ensure!(cpu::count() >= 2, "two cores are needed: one for what is measured, one for who asks");
    ensure!(std::path::Path::new("/proc/self/stat").exists(), "it reads /proc and pins processes: it needs Linux");
    stopping::listen();
    let tools = [Tool::Redis, Tool::Postgres, Tool::Nginx, Tool::Wrk];
    stack::install::ensure(&tools, &mut |line| println!("{line}"))?;
    let (wanted, begun) =
        (|name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name), Instant::now());
    let mut report = Report::begin(&std::env::args().skip(1).collect::<Vec<_>>());
    for part in PARTS.iter().filter(|part| part.names.iter().any(|name| wanted(name))) {
        let measured = part.measure(options.extent(), &wanted).await;
        anyhow::ensure!(!stopping::is_asked(), "stopped by Ctrl-C; nothing was written");
        match measured {
            Ok(rows) => report.rows.extend(rows),
            Err(error) => report.failures.push((part.names.join(", "), format!("{error:#}"))),
        }
    }
    progress::clear();
    if options.quick {
        println!("A look only: a tenth of the people and streams that the lines name, one round of a second.");
    }
    println!("{}", report.markdown());
    println!("It took {} s.", begun.elapsed().as_secs());
    if !report.failures.is_empty() {
        println!("Nothing is written, as something could not be measured.");
    } else if options.only.is_empty() && !options.quick {
        for file in report.write(&stack::project_root())? {
            println!("written: {}", file.display());
        }
    }
    Ok(report.failures.is_empty())
}

impl Report {
    fn begin(arguments: &[String]) -> Self {
        let commit = programs::output(programs::command("git").args(["describe", "--always", "--dirty"]))
            .context("no commit")
            .unwrap_or_else(|_| "no commit".to_owned());
        Self {
            date: chrono::Utc::now().format("%Y-%m-%d").to_string(),
            commit: commit.trim().to_owned(),
            command: format!("cargo xtask bench {}", arguments.join(" ")).trim().to_owned(),
            machine: Machine::read(),
            rows: Vec::new(),
            failures: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_names_are_unique() {
        Options::command().debug_assert();
        let mut names: Vec<&str> = PARTS.iter().flat_map(|part| part.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
