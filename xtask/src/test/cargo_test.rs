//! `cargo test`, with one line per test binary and failures in full.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use stack::process::Foreground;
use stack::wait;

use super::Totals;
use crate::ui::{self, Colour};

/// A test that says nothing for so long hangs.
const SILENCE_MAX: Duration = Duration::from_mins(10);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const LINES_AHEAD: usize = 1024;
/// Beyond this a failing binary's output is cut at its beginning.
const OUTPUT_MAX_LINES: usize = 5000;

/// Runs all tests of the workspace, or those whose name contains `filter`.
pub(super) fn run(env: &[(&str, String)], filter: Option<&str>) -> Result<Totals> {
    let (reader, writer) = std::io::pipe()?;
    let mut command = crate::cargo();
    command
        .args(["test", "--workspace", "--no-fail-fast", "--color", "never"])
        .args(filter)
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
    Ok(report.end(succeeded))
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
            for line in std::mem::take(&mut self.output) {
                ui::say(&line);
            }
            ui::say(&format!("  {} {name} ended without a result", ui::paint(Colour::Red, "✗")));
        }
        self.output.clear();
    }

    fn end(mut self, succeeded: bool) -> Totals {
        let unsaid = if self.running.is_none() { std::mem::take(&mut self.output) } else { Vec::new() };
        self.abandon();
        if !succeeded && self.totals.failed == 0 {
            // It did not compile, or cargo itself failed.
            for line in unsaid {
                ui::say(&line);
            }
            self.totals.failed += 1;
        }
        self.totals
    }
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
        report.end(succeeded)
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
