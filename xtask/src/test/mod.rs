//! `cargo xtask test`: every check and test there is.

mod cargo_test;
mod failures;
mod servers;
mod steps;
mod stress;

use std::process::ExitCode;
use std::time::Instant;

use crate::ui::{self, Colour};
use cargo_test::Selection;
use failures::{Failure, Failures};
use servers::Servers;
use steps::{Outcome, Step};
use stress::Stress;

/// Run every check and test, on private servers with free ports, also while `up` runs.
///
/// The last line has the totals: each test counts as one, and each other step as one. The lines before it name what failed,
/// each with the command that runs it alone.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Take only this step (may be given several times)
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
    /// Run only the tests whose name contains this, and no other step
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// FILTER is the whole name of a test
    #[arg(long, requires = "filter")]
    exact: bool,
    /// Run the tests N times, and end with a list of those that failed at least once: how often, and how they failed
    /// first. Without --only, no other step is run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Keep every core busy beside the tests, which finds those that rely on speed. Without --only, no other step is run
    #[arg(long)]
    stress: bool,
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let steps = options.steps();
    let servers = Servers::default();
    let selection = Selection { filter: options.filter.as_deref(), exact: options.exact };
    let (mut totals, mut failures) = (Totals::default(), Failures::default());
    let mut stress = None;
    for round in 1..=options.repeat {
        if options.repeat > 1 {
            ui::say(&format!("── run {round} of {}", options.repeat));
        }
        // What is built stays built.
        for step in steps.iter().copied().filter(|step| round == 1 || *step != Step::Build) {
            if options.stress && step != Step::Build {
                stress.get_or_insert_with(Stress::start);
            }
            ui::say(&format!("── {}", step.title()));
            let begun = Instant::now();
            let outcome = step.take(&servers, selection);
            if stack::wait::is_cancelled() {
                failures.answer(options.repeat);
                ui::say("Stopped.");
                return ExitCode::from(crate::signals::EXIT_INTERRUPTED);
            }
            let outcome = outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
            report(step, &outcome, begun);
            totals.add(outcome.totals());
            outcome.failures(step).into_iter().for_each(|failure| failures.add(round, failure));
        }
    }
    drop(stress);
    // The servers' end says nothing that belongs after the totals.
    drop(servers);
    failures.answer(options.repeat);
    ui::answer(&totals.to_string());
    if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Options {
    fn steps(&self) -> Vec<Step> {
        use clap::ValueEnum;
        if !self.only.is_empty() {
            // Tests run the workspace's binaries, and must not run yesterday's.
            let needs_build = [Step::Tests, Step::Fuzz, Step::Browser].iter().any(|step| self.only.contains(step));
            let wanted = |step: &Step| self.only.contains(step) || *step == Step::Build && needs_build;
            return Step::value_variants().iter().copied().filter(wanted).collect();
        }
        if self.filter.is_some() || self.repeat > 1 || self.stress {
            return vec![Step::Build, Step::Tests];
        }
        Step::value_variants().to_vec()
    }
}

fn report(step: Step, outcome: &Outcome, begun: Instant) {
    let time = ui::seconds(begun.elapsed());
    let title = step.title();
    ui::say(&match outcome {
        Outcome::Passed => format!("{} {title} ({time})", ui::paint(Colour::Green, "✓")),
        Outcome::Tests(totals, _) if totals.failed == 0 => {
            format!("{} {title}: {totals} ({time})", ui::paint(Colour::Green, "✓"))
        }
        Outcome::Tests(totals, _) => format!("{} {title}: {totals} ({time})", ui::paint(Colour::Red, "✗")),
        Outcome::Failed(why) => format!("{} {title} ({time}): {why}", ui::paint(Colour::Red, "✗")),
        Outcome::Skipped(why) => format!("{} {title} skipped: {why}", ui::paint(Colour::Yellow, "-")),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_is_only_named_when_something_was() {
        let mut totals = Totals { passed: 3, failed: 1, skipped: 0 };
        assert_eq!(totals.to_string(), "3 passed, 1 failed");
        totals.add(Totals { passed: 0, failed: 0, skipped: 2 });
        assert_eq!(totals.to_string(), "3 passed, 1 failed, 2 skipped");
    }

    fn options(line: &[&str]) -> Options {
        #[derive(clap::Parser)]
        struct Cli {
            #[command(flatten)]
            options: Options,
        }
        <Cli as clap::Parser>::parse_from([&["test"], line].concat()).options
    }

    #[test]
    fn a_filter_runs_tests_only_and_only_keeps_the_order() {
        assert_eq!(options(&["seat"]).steps(), [Step::Build, Step::Tests]);
        assert_eq!(options(&["--only", "tests", "--only", "fmt"]).steps(), [Step::Format, Step::Build, Step::Tests]);
    }

    #[test]
    fn repeated_and_stressed_are_the_tests_unless_told_otherwise() {
        assert_eq!(options(&["--repeat", "2"]).steps(), [Step::Build, Step::Tests]);
        assert_eq!(options(&["--stress"]).steps(), [Step::Build, Step::Tests]);
        assert_eq!(options(&["--stress", "--only", "fmt"]).steps(), [Step::Format]);
        assert_eq!(options(&["--repeat", "1"]).steps().len(), options(&[]).steps().len());
    }
}
