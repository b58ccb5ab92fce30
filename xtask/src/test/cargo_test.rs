//! `cargo test`, with one line per test binary and failures in full.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use stack::process::Foreground;
use stack::wait;

use super::steps::{Outcome, Step};
use super::{Failure, Totals};
use crate::ui::{self, Colour};

/// A test that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LINES_AHEAD: usize = 1024;
/// Beyond this a failing binary's output is cut at its beginning.
const OUTPUT_MAX_LINES: usize = 5000;
/// So many last lines of a binary that crashed say why.
const MESSAGE_LINES: usize = 8;

/// Which tests are run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Selection<'a> {
    /// Those whose name contains this; all without it.
    pub(super) filter: Option<&'a str>,
    /// Only the one whose name this is.
    pub(super) exact: bool,
}

/// Runs the selected tests of the workspace.
pub(super) fn run(env: &[(&str, String)], selection: Selection<'_>) -> Result<Outcome> {
    let (reader, writer) = std::io::pipe()?;
    let mut command = crate::cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast", "--color", "never"])
        .args(selection.filter)
        .args(if selection.exact { &["--", "--exact"][..] } else { &[] })
        .envs(env.iter().map(|(name, value)| (name, value)))
        // The assertion says what is wrong; forty lines of the runtime's inside hide it.
        .env("RUST_BACKTRACE", "0")
        .current_dir(stack::project_root())
        .stdin(Stdio::null())
        // One pipe for both, so that cargo's "Running …" stays before what ran.
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let cargo = Foreground::start(&mut command)?;
    // It holds the write ends, and we wait for the last of them to be closed.
    drop(command);
    let mut report = Report::default();
    read(&lines(reader), |line| report.line(line))?;
    let succeeded = cargo.wait()?.success();
    let (totals, failures) = report.end(succeeded);
    Ok(Outcome::Tests(totals, failures))
}

fn lines(reader: std::io::PipeReader) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    receiver
}

fn read(lines: &Receiver<String>, mut take: impl FnMut(&str)) -> Result<()> {
    let mut last = Instant::now();
    loop {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(line) => {
                last = Instant::now();
                take(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if wait::is_cancelled() => bail!("stopped"),
            Err(RecvTimeoutError::Timeout) if last.elapsed() > SILENCE_MAX => {
                bail!("the tests have said nothing for {}", ui::seconds(SILENCE_MAX))
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

/// Reads what cargo and the test binaries write.
#[derive(Debug, Default)]
struct Report {
    totals: Totals,
    failures: Vec<Failure>,
    /// What runs now, by the name that cargo gives it.
    running: Option<String>,
    /// What it has said since.
    output: Vec<String>,
}

impl Report {
    fn line(&mut self, line: &str) {
        if let Some(name) = binary_name(line) {
            self.abandon();
            self.running = Some(name);
        } else if let Some((ok, totals)) = parse_result(line) {
            self.totals.add(totals);
            self.finish(ok, totals);
        } else {
            if self.output.len() == OUTPUT_MAX_LINES {
                self.output.remove(0);
            }
            self.output.push(line.to_owned());
        }
    }

    /// A binary's result line has come.
    fn finish(&mut self, ok: bool, totals: Totals) {
        let output = std::mem::take(&mut self.output);
        let name = self.running.clone().unwrap_or_else(|| "tests".to_owned());
        if !ok {
            self.failures.extend(failures(&name, &output));
            for line in output.iter().filter(|line| !line.ends_with(" ... ok")) {
                ui::say(line);
            }
            ui::say(&format!("  {} {name}: {totals}", ui::paint(Colour::Red, "✗")));
        } else if totals != Totals::default() {
            ui::say(&format!("  {} {name}: {totals}", ui::paint(Colour::Green, "✓")));
        }
        // Cargo says more about some binaries after their result; that is not a crash.
        self.running = None;
    }

    /// A binary that ended without a result line has crashed.
    fn abandon(&mut self) {
        if let Some(name) = self.running.take() {
            self.totals.failed += 1;
            let output = std::mem::take(&mut self.output);
            for line in &output {
                ui::say(line);
            }
            let last = output.get(output.len().saturating_sub(MESSAGE_LINES)..).unwrap_or_default();
            self.failures.push(Step::Tests.failure(format!("{name} ended without a result"), last.join("\n")));
            ui::say(&format!("  {} {name} ended without a result", ui::paint(Colour::Red, "✗")));
        }
        self.output.clear();
    }

    fn end(mut self, succeeded: bool) -> (Totals, Vec<Failure>) {
        let unsaid = if self.running.is_none() { std::mem::take(&mut self.output) } else { Vec::new() };
        self.abandon();
        if !succeeded && self.totals.failed == 0 {
            // It did not compile, or cargo itself failed.
            for line in &unsaid {
                ui::say(line);
            }
            self.totals.failed += 1;
            self.failures.push(Step::Tests.failure("cargo test".to_owned(), unsaid.join("\n")));
        }
        (self.totals, self.failures)
    }
}

/// The tests that failed in a binary, by what it wrote: a section `---- name stdout ----` for each that wrote anything, and
/// at the end `failures:` with their names.
fn failures(binary: &str, output: &[String]) -> Vec<Failure> {
    let Some(list) = output.iter().rposition(|line| line == "failures:") else {
        return Vec::new();
    };
    let (sections, names) = output.split_at(list);
    let names = names.iter().filter_map(|line| line.strip_prefix("    "));
    names.map(|name| failure(binary, name, section(sections, name))).collect()
}

fn failure(binary: &str, name: &str, message: String) -> Failure {
    // Names of documentation's tests have spaces and brackets.
    let is_plain = name.chars().all(|letter| letter.is_alphanumeric() || "_:".contains(letter));
    let quoted = if is_plain { name.to_owned() } else { format!("'{name}'") };
    Failure { name: format!("{binary}: {name}"), command: format!("cargo xtask test --exact {quoted}"), message }
}

/// What the test `name` wrote.
fn section(sections: &[String], name: &str) -> String {
    let is_head = |line: &&String| line.starts_with("---- ") && line.ends_with(" stdout ----");
    let lines = sections.iter().skip_while(|line| **line != format!("---- {name} stdout ----")).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| !is_head(line)).map(|line| line.trim_end()).collect();
    lines.join("\n").trim().to_owned()
}

/// `     Running unittests src/lib.rs (target/debug/deps/stack-af87d6a7f0fd96d2)` → `stack (src/lib.rs)`;
/// `   Doc-tests common` → `common (doc)`.
fn binary_name(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} (doc)"));
    }
    let (source, path) = line.strip_prefix("Running ")?.strip_suffix(')')?.split_once(" (")?;
    let file = path.rsplit('/').next()?;
    let name = file.rsplit_once('-').map_or(file, |(name, _)| name);
    let source = source.strip_prefix("unittests ").unwrap_or(source);
    Some(format!("{name} ({source})"))
}

/// `test result: ok. 10 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.06s`
fn parse_result(line: &str) -> Option<(bool, Totals)> {
    let (verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut totals = Totals::default();
    for part in counts.split("; ") {
        let Some((number, what)) = part.split_once(' ') else {
            continue;
        };
        match (number.parse(), what) {
            (Ok(number), "passed") => totals.passed = number,
            (Ok(number), "failed") => totals.failed = number,
            (Ok(number), "ignored") => totals.skipped = number,
            _ => {}
        }
    }
    Some((verdict == "ok", totals))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals_of(text: &str, succeeded: bool) -> Totals {
        let mut report = Report::default();
        text.lines().for_each(|line| report.line(line));
        report.end(succeeded).0
    }

    fn failures_of(text: &str) -> Vec<Failure> {
        let mut report = Report::default();
        text.lines().for_each(|line| report.line(line));
        report.end(false).1
    }

    const GOOD: &str = "\
     Running unittests src/lib.rs (target/debug/deps/stack-af87d6a7f0fd96d2)

running 11 tests
test ports::tests::one ... ok

test result: ok. 10 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.06s

   Doc-tests stack

running 2 tests

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn totals_are_summed_up() {
        assert_eq!(totals_of(GOOD, true), Totals { passed: 12, failed: 0, skipped: 1 });
    }

    #[test]
    fn failures_are_counted_once() {
        let text = format!(
            "{GOOD}     Running tests/a.rs (target/debug/deps/a-0123)\n\ntest x ... FAILED\n\
             test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
             error: 1 target failed:\n"
        );
        assert_eq!(totals_of(&text, false), Totals { passed: 16, failed: 2, skipped: 1 });
    }

    /// What `cargo test` wrote, shortened.
    const BAD: &str = "\
     Running tests/it/main.rs (target/debug/deps/it-0123)

running 3 tests
test waitlist::one ... ok
test deliveries::count ... FAILED
test deliveries::result ... FAILED

failures:

---- deliveries::count stdout ----

thread 'deliveries::count' (4711) panicked at core-api/tests/it/deliveries.rs:7:5:
assertion `left == right` failed
  left: \"5\"
 right: \"4\"

---- deliveries::result stdout ----
Error: nothing is on sale


failures:
    deliveries::count
    deliveries::result

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s

error: test failed, to rerun pass `-p core-api --test it`
   Doc-tests common

running 1 test
test common/src/lib.rs - (line 3) ... FAILED

failures:

failures:
    common/src/lib.rs - (line 3)

test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s
";

    #[test]
    fn what_failed_is_named_with_its_command_and_its_message() {
        let [count, result, documentation] = &failures_of(BAD)[..] else { panic!("{:?}", failures_of(BAD)) };
        assert_eq!(count.name, "it (tests/it/main.rs): deliveries::count");
        assert_eq!(count.command, "cargo xtask test --exact deliveries::count");
        let message = count.message.lines().collect::<Vec<_>>();
        assert_eq!((message.len(), message[1]), (4, "assertion `left == right` failed"));
        assert_eq!(result.message, "Error: nothing is on sale");
        assert_eq!(documentation.command, "cargo xtask test --exact 'common/src/lib.rs - (line 3)'");
    }

    #[test]
    fn what_crashes_or_does_not_compile_is_repeated_as_a_whole() {
        let crash = "     Running tests/a.rs (target/debug/deps/a-0123)\nrunning 1 test\nerror: test failed\n";
        let crashed = &failures_of(crash)[0];
        assert_eq!(crashed.name, "a (tests/a.rs) ended without a result");
        assert_eq!(crashed.message, "running 1 test\nerror: test failed");
        let broken = &failures_of("error: could not compile `gateway`\n")[0];
        assert_eq!(
            (broken.name.as_str(), broken.message.as_str()),
            ("cargo test", "error: could not compile `gateway`")
        );
        assert_eq!([&crashed.command, &broken.command], ["cargo xtask test --only tests"; 2]);
    }

    #[test]
    fn a_binary_that_crashes_is_a_failure() {
        let crash = "     Running tests/a.rs (target/debug/deps/a-0123)\nrunning 1 test\nerror: test failed\n";
        assert_eq!(totals_of(crash, false).failed, 1);
        assert_eq!(totals_of(&format!("{crash}{GOOD}"), false), Totals { passed: 12, failed: 1, skipped: 1 });
    }

    #[test]
    fn what_does_not_compile_is_a_failure() {
        assert_eq!(totals_of("error: could not compile `gateway`\n", false).failed, 1);
    }

    #[test]
    fn binaries_have_short_names() {
        let name = binary_name("     Running unittests src/main.rs (target/debug/deps/core_api-2c66ab3c53e4cb46)");
        assert_eq!(name.as_deref(), Some("core_api (src/main.rs)"));
        assert_eq!(binary_name("   Doc-tests common").as_deref(), Some("common (doc)"));
        assert_eq!(binary_name("test a ... ok"), None);
    }
}
