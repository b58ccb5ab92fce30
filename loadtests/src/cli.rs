//! The command line: which scenario, and what its end means for the exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::scenario::journey::{self, JourneyArgs};
use crate::scenario::surge::{self, SurgeArgs};
use crate::scenario::wait::{self, WaitArgs};
use crate::{check, target::TargetArgs};

/// Judges a running stack: `loadtests journey …`, `loadtests wait …`, `loadtests surge …`, `loadtests check …`.
#[derive(Debug, Parser)]
#[command(name = "loadtests", version, about = "Load scenarios that judge a running stack")]
#[command(after_help = "Exit code: 0 all is well; 1 something that must hold does not, or an answer was wrong; \
                        2 it could not be run (usage, nothing reachable)")]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Visitors sign up, queue, reserve a seat and pay
    Journey(JourneyArgs),
    /// Visitors join the waiting room, poll as told, and go in or give up; nobody buys
    Wait(WaitArgs),
    /// All arrive within seconds for a concert of few seats, with accounts that are made before
    Surge(SurgeArgs),
    /// Only the checks: seats, money and rooms as they are now
    Check {
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Whether everything was as it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return cannot_run(&error.into()),
    };
    let verdict = runtime.block_on(async {
        match &cli.scenario {
            Scenario::Journey(args) => journey::run(args).await,
            Scenario::Wait(args) => wait::run(args).await,
            Scenario::Surge(args) => surge::run(args).await,
            Scenario::Check { target } => check::run(target).await,
        }
    });
    match verdict {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::from(1),
        Err(error) => cannot_run(&error),
    }
}

fn cannot_run(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn figures_out_of_bounds_are_refused() {
        let with = |args: &[&str]| {
            Cli::try_parse_from(
                [&["loadtests", "journey", "--users", "5", "--arrivals-per-second", "1"], args].concat(),
            )
        };
        assert!(with(&[]).is_ok());
        for bad in
            [["--users", "0"], ["--users", "200001"], ["--arrivals-per-second", "0"], ["--arrivals-per-second", "NaN"]]
        {
            assert!(with(&bad).is_err(), "{bad:?}");
        }
        for bad in [
            ["--set-admit-per-second", "NaN"],
            ["--set-admit-per-second", "inf"],
            ["--set-admit-per-second", "0"],
            ["--set-burst", "0"],
            ["--set-max-active", "0"],
        ] {
            assert!(Cli::try_parse_from([&["loadtests", "surge"], &bad[..]].concat()).is_err(), "{bad:?}");
        }
        assert!(Cli::try_parse_from(["loadtests", "surge", "--set-admit-per-second", "0.5"]).is_ok());
        let wait = |args: [&str; 2]| {
            let some = ["loadtests", "wait", "--users", "5", "--arrivals-per-second", "1"];
            Cli::try_parse_from([&some[..], &args].concat())
        };
        assert!(wait(["--abandon", "1"]).is_ok());
        for bad in [["--abandon", "1.1"], ["--leave", "-0.1"], ["--leave", "NaN"], ["--stay-ms", "-1"]] {
            assert!(wait(bad).is_err(), "{bad:?}");
        }
    }
}
