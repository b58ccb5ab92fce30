//! `cargo xtask test`: every check and test there is.

mod cargo_test;
mod servers;
mod steps;

use std::process::ExitCode;
use std::time::Instant;

use crate::ui::{self, Colour};
use servers::Servers;
use steps::{Outcome, Step};

/// Run every check and test, on private servers with free ports, also while `up` runs.
///
/// The last line has the totals: each test counts as one, and each other step as one.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Take only this step (may be given several times)
    #[arg(long, value_enum, value_name = "STEP")]
    only: Vec<Step>,
    /// Run only the tests whose name contains this, and no other step
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
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
    let mut totals = Totals::default();
    for step in steps {
        ui::say(&format!("── {}", step.title()));
        let begun = Instant::now();
        let outcome = step.take(&servers, options.filter.as_deref());
        if stack::wait::is_cancelled() {
            ui::say("Stopped.");
            return ExitCode::from(crate::signals::EXIT_INTERRUPTED);
        }
        let outcome = outcome.unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        report(step, &outcome, begun);
        totals.add(outcome.totals());
    }
    // The servers' end says nothing that belongs after the totals.
    drop(servers);
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
        if self.filter.is_some() {
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
        Outcome::Tests(totals) if totals.failed == 0 => {
            format!("{} {title}: {totals} ({time})", ui::paint(Colour::Green, "✓"))
        }
        Outcome::Tests(totals) => format!("{} {title}: {totals} ({time})", ui::paint(Colour::Red, "✗")),
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

    #[test]
    fn a_filter_runs_tests_only_and_only_keeps_the_order() {
        let options = Options { only: Vec::new(), filter: Some("seat".into()) };
        assert_eq!(options.steps(), [Step::Build, Step::Tests]);
        let options = Options { only: vec![Step::Tests, Step::Format], filter: None };
        assert_eq!(options.steps(), [Step::Format, Step::Build, Step::Tests]);
    }
}
