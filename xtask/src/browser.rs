//! The pages in a real browser: Chromium, driven by tests/browser, before a private stack.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stack::install::{self, Tool};
use stack::onsale::{Onsale, OnsaleOptions, no_rate_limits};
use stack::process::Foreground;
use stack::programs;
use stack::redis::{Redis, RedisOptions};

use crate::ui::{self, Colour};

/// The latest of each that runs on the Node.js of Debian 12.
const PACKAGES: &str = "playwright-core@1.56.1 axe-core@4.14.1";
/// How long nothing may be heard of the tests. Each has a limit of its own, which is shorter, and says when it ends: so this is
/// for what hangs beside them, and no sum of limits has to be kept up with.
const SILENCE_MAX: Duration = Duration::from_mins(4);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What tests/browser/reporter.mjs begins a test's line with.
const BEGUN: &str = "▶ ";
const PASSED: &str = "✓ ";
const FAILED: &str = "✗ ";
/// What README.md shows, of all the pictures that the tests take.
const SHOWN: [&str; 3] = ["waiting", "seats", "dashboard"];

/// How many tests passed, and which failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failures: Vec<String>,
}

/// How far the tests are.
#[derive(Debug, Default)]
struct Progress {
    count: Count,
    /// The test that has begun and not ended.
    running: Option<String>,
}

/// `cargo xtask screenshots`: takes README.md's pictures anew, by running the browser's tests.
pub(crate) fn screenshots() -> Result<ExitCode> {
    ui::install(&[Tool::Redis, Tool::Postgres, Tool::Nginx, Tool::Node, Tool::Chromium])?;
    let mut build = crate::cargo();
    build.args(["build", "--workspace", "--bins"]).current_dir(stack::project_root());
    ensure!(Foreground::start(&mut build)?.wait()?.success(), "it does not build, see above");
    let count = run(&install_packages()?)?;
    ensure!(count.failures.is_empty(), "pictures of what fails are not worth showing");
    let images = stack::project_root().join("docs/images");
    fs::create_dir_all(&images)?;
    for name in SHOWN {
        let file = format!("{name}.png");
        fs::copy(pictures()?.join(&file), images.join(&file)).with_context(|| file.clone())?;
    }
    ui::answer(&images.display().to_string());
    Ok(ExitCode::SUCCESS)
}

/// Installs what drives the browser where it is missing; the folder that it is in.
pub(crate) fn install_packages() -> Result<PathBuf> {
    stack::npm::install("browser-packages", PACKAGES, &mut |line| ui::say(&format!("  {line}")))
}

/// Runs all tests. Needs all servers and [`Tool::Chromium`] installed and the binaries built.
pub(crate) fn run(packages: &Path) -> Result<Count> {
    let redis = Redis::start(&RedisOptions::default())?;
    let onsale = Onsale::start(&options(&redis))?;
    let mut command = command(packages, &onsale)?;
    let mut node = Foreground::start(command.stdout(Stdio::piped()))?;
    let lines = lines(node.stdout().context("no output")?);
    let mut progress = Progress::default();
    read(&lines, &mut progress)?;
    let status = node.wait()?;
    let within = progress.within();
    let mut count = progress.count;
    // What fails outside of any test has no line of its own.
    if !status.success() && count.failures.is_empty() || count == Count::default() {
        count.failures.push("the tests ended too early".to_owned());
        ui::say(&format!("  {} the tests ended too early ({status}){within}", ui::paint(Colour::Red, "✗")));
    }
    onsale.setup().audit().context("after these tests something does not hold that must")?;
    ui::say(&format!("  pictures of every state: {}", pictures()?.display()));
    Ok(count)
}

/// Two gateways, since one is killed; as many requests as come: that there are limits is tested elsewhere.
fn options(redis: &Redis) -> OnsaleOptions {
    let [gateway_env, core_api_env] = no_rate_limits();
    OnsaleOptions { gateways: 2, redis_url: Some(redis.url()), gateway_env, core_api_env, ..OnsaleOptions::default() }
}

fn command(packages: &Path, onsale: &Onsale) -> Result<Command> {
    let tests = stack::project_root().join("tests/browser");
    let pictures = pictures()?;
    if pictures.is_dir() {
        fs::remove_dir_all(&pictures)?;
    }
    fs::create_dir_all(&pictures)?;
    let gateway = onsale.gateways().first().context("no gateway")?;
    let mut command = programs::command(programs::find("node").context("node is not installed")?);
    command
        .arg("--test-reporter")
        .arg(tests.join("reporter.mjs"))
        .arg(tests.join("main.mjs"))
        .env("ONSALE_URL", onsale.url())
        .env("ONSALE_SESSION_SECRET", onsale.setup().secrets.get("SESSION_SECRET")?)
        .env("ONSALE_GATEWAY_PID", gateway.process().pid().to_string())
        .env("ONSALE_PACKAGES", packages.join("node_modules"))
        .env("ONSALE_CHROMIUM", install::chromium().context("Chromium is not installed")?)
        .env("ONSALE_PICTURES", pictures);
    Ok(command)
}

/// Where the tests leave a picture of each state.
fn pictures() -> Result<PathBuf> {
    Ok(stack::profile_dir()?.parent().context("no target folder")?.join("browser"))
}

fn lines(output: std::process::ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn read(lines: &Receiver<String>, progress: &mut Progress) -> Result<()> {
    let mut heard = Instant::now();
    loop {
        match lines.recv_timeout(LOOK_EVERY) {
            Ok(line) => {
                heard = Instant::now();
                progress.line(&line);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if stack::wait::is_cancelled() => bail!("stopped"),
            Err(RecvTimeoutError::Timeout) if heard.elapsed() > SILENCE_MAX => {
                bail!("nothing was heard of the tests for {}{}", ui::seconds(SILENCE_MAX), progress.within())
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

impl Progress {
    /// Counts a line and says it.
    fn line(&mut self, line: &str) {
        if let Some(test) = line.strip_prefix(BEGUN) {
            self.running = Some(test.to_owned());
        } else if let Some(test) = line.strip_prefix(PASSED) {
            self.running = None;
            self.count.passed += 1;
            ui::say(&format!("  {} {test}", ui::paint(Colour::Green, "✓")));
        } else if let Some(test) = line.strip_prefix(FAILED) {
            self.running = None;
            // The time that it took is no part of its name.
            self.count.failures.push(test.rsplit_once(" (").map_or(test, |(name, _)| name).to_owned());
            ui::say(&format!("  {} {test}", ui::paint(Colour::Red, "✗")));
        } else {
            ui::say(&format!("    {line}"));
        }
    }

    /// In which test that was, for what went wrong.
    fn within(&self) -> String {
        self.running.as_ref().map_or_else(String::new, |test| format!(", in: {test}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_counted_by_their_lines() {
        let mut progress = Progress::default();
        for line in ["▶ one", "✓ one (1.0 s)", "▶ two", "✗ two (0.1 s)", "✓-like text of a message", "✓ three (2.0 s)"]
        {
            progress.line(line);
        }
        assert_eq!(progress.count, Count { passed: 2, failures: vec!["two".to_owned()] });
        assert_eq!(progress.within(), "");
        progress.line("▶ four");
        assert_eq!(progress.within(), ", in: four");
    }

    #[test]
    fn each_test_has_a_limit_that_is_shorter_than_the_silence_that_is_borne() {
        let mut limits = Vec::new();
        for entry in fs::read_dir(stack::project_root().join("tests/browser")).expect("the browser's tests") {
            let text = fs::read_to_string(entry.expect("a file").path()).expect("a text");
            for test in text.lines().filter(|line| line.trim_start().starts_with("test(")) {
                let limit = test.split("{ timeout: ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
                limits.push(Duration::from_millis(limit.unwrap_or_else(|| panic!("without a limit: {test}"))));
            }
        }
        assert!(limits.len() > 10, "{limits:?}");
        // A browser takes a moment to be closed.
        assert!(limits.iter().all(|limit| *limit + Duration::from_secs(30) < SILENCE_MAX), "{limits:?}");
    }
}
