//! What failed, and how to run each failure alone.

use crate::ui;

/// More failures than this share one line.
const NAMED_MAX: usize = 20;
/// Lines of a failure's message; the rest stands where it failed.
const MESSAGE_MAX_LINES: usize = 8;

/// A test or a step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) name: String,
    /// Runs it alone.
    pub(super) command: String,
    /// Why it failed.
    pub(super) message: String,
}

/// The failures of all rounds, in the order in which they first came.
#[derive(Debug, Default)]
pub(super) struct Failures {
    failed: Vec<Failed>,
}

#[derive(Debug)]
struct Failed {
    first: Failure,
    rounds: u32,
    last_round: u32,
}

impl Failures {
    /// Notes a failure of a round; of one that failed before, only how often it fails.
    pub(super) fn add(&mut self, round: u32, failure: Failure) {
        match self.failed.iter_mut().find(|failed| failed.first.name == failure.name) {
            None => self.failed.push(Failed { first: failure, rounds: 1, last_round: round }),
            Some(known) if known.last_round == round => {}
            Some(known) => {
                known.rounds += 1;
                known.last_round = round;
            }
        }
    }

    /// The last lines before the totals: each failure with its command and, if the tests ran several times, how often it
    /// failed and how it failed first.
    pub(super) fn lines(&self, rounds: u32) -> Vec<String> {
        if self.failed.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![if rounds > 1 { "Failed at least once:".to_owned() } else { "Failed:".to_owned() }];
        for Failed { first, rounds: failed, .. } in self.failed.iter().take(NAMED_MAX) {
            let often = if rounds > 1 { format!(" ({failed} of {rounds} runs)") } else { String::new() };
            lines.push(format!("  {}{often}", first.name));
            lines.push(format!("    {}", first.command));
            if rounds > 1 {
                let message = first.message.lines().filter(|line| !line.trim().is_empty());
                lines.extend(message.take(MESSAGE_MAX_LINES).map(|line| format!("      {line}")));
            }
        }
        if let Some(more @ 1..) = self.failed.len().checked_sub(NAMED_MAX) {
            lines.push(format!("  and {more} more, see above"));
        }
        lines
    }

    pub(super) fn answer(&self, rounds: u32) {
        self.lines(rounds).iter().for_each(|line| ui::answer(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(name: &str, message: &str) -> Failure {
        let (name, command) = (name.to_owned(), format!("run {name}"));
        Failure { name, command, message: message.to_owned() }
    }

    #[test]
    fn each_failure_is_named_with_its_command() {
        let mut failures = Failures::default();
        assert_eq!(failures.lines(1), [""; 0]);
        failures.add(1, failure("a", "why"));
        failures.add(1, failure("b", "why"));
        assert_eq!(failures.lines(1), ["Failed:", "  a", "    run a", "  b", "    run b"]);
    }

    #[test]
    fn several_runs_tell_how_often_and_how_it_failed_first() {
        let mut failures = Failures::default();
        failures.add(1, failure("a", "first\n\nreason"));
        failures.add(1, failure("a", "again in the same run"));
        failures.add(3, failure("a", "another reason"));
        failures.add(3, failure("b", "one"));
        let expected = [
            "Failed at least once:",
            "  a (2 of 6 runs)",
            "    run a",
            "      first",
            "      reason",
            "  b (1 of 6 runs)",
            "    run b",
            "      one",
        ];
        assert_eq!(failures.lines(6), expected);
    }

    #[test]
    fn no_more_are_named_than_can_be_read() {
        let mut failures = Failures::default();
        for number in 0..NAMED_MAX + 5 {
            failures.add(1, failure(&number.to_string(), ""));
        }
        let lines = failures.lines(1);
        assert_eq!(
            (lines.len(), lines.last().map(String::as_str)),
            (2 * NAMED_MAX + 2, Some("  and 5 more, see above"))
        );
    }
}
