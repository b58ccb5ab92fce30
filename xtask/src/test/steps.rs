//! The steps of `cargo xtask test`.

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use stack::install::Tool;
use stack::process::Foreground;
use stack::programs;

use super::cargo_test::{self, Selection};
use super::servers::Servers;
use super::{Failure, Totals};
use crate::fuzz_api::{self, Extent};
use crate::{browser, sqlx_prepare, ui};

/// Runs on the Node.js of Debian 12, unlike version 2.
const REDOCLY: &str = "@redocly/cli@1.34.20";

/// In the order they are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Step {
    /// Rust formatting
    #[value(name = "fmt")]
    Format,
    /// Lints
    Clippy,
    /// Documentation without warnings
    Docs,
    /// The tests, and the binaries that end-to-end tests run
    Build,
    /// Descriptions of SQL queries are up to date
    Sqlx,
    /// Unit, Lua, SQL, HTTP, nginx and end-to-end tests
    Tests,
    /// What a gateway tells Prometheus, and the alerts made of it
    Metrics,
    /// Lint of api-spec.yaml
    Spec,
    /// Made-up requests against api-spec.yaml
    Fuzz,
    /// The pages in Chromium
    Browser,
    /// Shell scripts, by bash and shellcheck
    Scripts,
    /// docker-compose.yml
    Compose,
}

/// How a step ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Passed,
    Failed(String),
    /// Not possible here, for the reason given.
    Skipped(String),
    Tests(Totals, Vec<Failure>),
}

impl Outcome {
    pub(super) fn totals(&self) -> Totals {
        let none = Totals::default();
        match self {
            Self::Passed => Totals { passed: 1, ..none },
            Self::Failed(_) => Totals { failed: 1, ..none },
            Self::Skipped(_) => Totals { skipped: 1, ..none },
            Self::Tests(totals, _) => *totals,
        }
    }

    /// What failed in `step`: its tests, or the step itself.
    pub(super) fn failures(self, step: Step) -> Vec<Failure> {
        match self {
            Self::Passed | Self::Skipped(_) => Vec::new(),
            Self::Failed(message) => vec![step.failure(step.title().to_owned(), message)],
            Self::Tests(_, failures) => failures,
        }
    }
}

impl Step {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Format => "cargo fmt",
            Self::Clippy => "cargo clippy",
            Self::Docs => "cargo doc",
            Self::Build => "cargo build",
            Self::Sqlx => ".sqlx up to date",
            Self::Tests => "cargo test",
            Self::Metrics => "promtool",
            Self::Spec => "lint of api-spec.yaml",
            Self::Fuzz => "schemathesis",
            Self::Browser => "browser",
            Self::Scripts => "shell scripts",
            Self::Compose => "docker compose config",
        }
    }

    /// A failure in this step that the whole step repeats.
    pub(super) fn failure(self, name: String, message: String) -> Failure {
        let value = self.to_possible_value();
        let step = value.as_ref().map_or_else(|| self.title(), |value| value.get_name());
        Failure { name, command: format!("cargo xtask test --only {step}"), message }
    }

    pub(super) fn take(self, servers: &Servers, selection: Selection<'_>) -> Result<Outcome> {
        match self {
            Self::Format => component("fmt", &["fmt", "--all", "--", "--check", "--files-with-diff"]),
            Self::Clippy => {
                component("clippy", &["clippy", "--workspace", "--all-targets", quietness(), "--", "-D", "warnings"])
            }
            Self::Docs => cargo(&["doc", "--workspace", "--no-deps", quietness()], &[("RUSTDOCFLAGS", "-D warnings")]),
            // With the tests, which have more dependencies: built alone, the binaries' would be built with other
            // features, and then all over again.
            Self::Build => cargo(&["build", "--workspace", "--all-targets", quietness()], &[]),
            Self::Sqlx => sqlx_prepare::check(servers.postgres()?).map(|()| Outcome::Passed),
            Self::Tests => match cargo(&["test", "--workspace", "--no-run", quietness()], &[])? {
                Outcome::Passed => cargo_test::run(&servers.environment()?, selection),
                broken => Ok(broken),
            },
            Self::Metrics => check_metrics(servers),
            Self::Spec => lint_spec(),
            Self::Fuzz => fuzz(),
            Self::Browser => browse(),
            Self::Scripts => check_scripts(),
            Self::Compose => check_compose(),
        }
    }
}

/// Has promtool read what a running gateway tells, and make each alert go off.
fn check_metrics(servers: &Servers) -> Result<Outcome> {
    if let Err(error) = ui::install(&[Tool::Promtool]) {
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    let scrape = stack::profile_dir()?.parent().context("no target folder")?.join("metrics/gateway.txt");
    if scrape.is_file() {
        std::fs::remove_file(&scrape)?;
    }
    let environment = servers.environment()?;
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // Of the whole workspace, for the same features as in all other steps: nothing is built anew.
    let arguments = ["test", "--workspace", "--test", "metrics", quietness()];
    let Outcome::Passed = cargo(&arguments, &environment)? else {
        return Ok(Outcome::Failed("there is no scrape to check, see above".to_owned()));
    };
    let text = File::open(&scrape).with_context(|| scrape.display().to_string())?;
    programs::output(programs::command("promtool").args(["check", "metrics"]).stdin(text))?;
    let monitoring = stack::project_root().join("docker/monitoring");
    for (words, file) in [
        (["check", "config"], "prometheus.yml"),
        (["check", "rules"], "alerts.yml"),
        (["test", "rules"], "alerts_test.yml"),
    ] {
        programs::output(programs::command("promtool").args(words).arg(monitoring.join(file)))?;
    }
    Ok(Outcome::Passed)
}

/// Cargo's progress is for terminals; in a log, two hundred lines about dependencies hide the rest.
fn quietness() -> &'static str {
    if std::io::stderr().is_terminal() { "--color=auto" } else { "--quiet" }
}

/// A part of Rust that rustup may have left out.
fn component(name: &str, arguments: &[&str]) -> Result<Outcome> {
    let mut version = crate::cargo();
    version.args([name, "--version"]);
    if programs::output(&mut version).is_ok() {
        return cargo(arguments, &[]);
    }
    Ok(Outcome::Skipped(format!(
        "cargo {name} is not installed (`rustup component add {}`)",
        match name {
            "fmt" => "rustfmt",
            other => other,
        }
    )))
}

fn cargo(arguments: &[&str], env: &[(&str, &str)]) -> Result<Outcome> {
    let mut command = crate::cargo();
    command.args(arguments).envs(env.iter().copied());
    run(&mut command)
}

/// Runs a command whose own output says what is wrong.
fn run(command: &mut Command) -> Result<Outcome> {
    let status = Foreground::start(command.current_dir(stack::project_root()))?.wait()?;
    Ok(if status.success() { Outcome::Passed } else { Outcome::Failed(format!("{status}, see above")) })
}

fn lint_spec() -> Result<Outcome> {
    if let Err(error) = ui::install(&[Tool::Node]) {
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    let installed = stack::npm::install("redocly", REDOCLY, &mut |line| ui::say(&format!("  {line}")));
    let folder = match installed {
        Ok(folder) => folder,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    let mut lint = Command::new(folder.join("node_modules/.bin/redocly"));
    lint.args(["lint", "api-spec.yaml"]).env("REDOCLY_TELEMETRY", "off").env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true");
    run(&mut lint)
}

/// The same requests each time: a run that fails, fails again.
fn fuzz() -> Result<Outcome> {
    ui::install(&[Tool::Redis, Tool::Postgres, Tool::Nginx])?;
    if let Err(error) = ui::install(&[Tool::Python]) {
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    let schemathesis = match fuzz_api::install() {
        Ok(program) => program,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    let failed = fuzz_api::fuzz(&schemathesis, Extent { seed: fuzz_api::FIXED_SEED, time: None })?;
    Ok(if failed == 0 { Outcome::Passed } else { Outcome::Failed("see above".to_owned()) })
}

/// Two buyers and an operator in Chromium.
fn browse() -> Result<Outcome> {
    ui::install(&[Tool::Redis, Tool::Postgres, Tool::Nginx])?;
    if let Err(error) = ui::install(&[Tool::Node, Tool::Chromium]) {
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    let packages = match browser::install_packages() {
        Ok(folder) => folder,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    let browser::Count { passed, failures } = browser::run(&packages)?;
    let failures: Vec<Failure> =
        failures.into_iter().map(|name| Step::Browser.failure(format!("browser: {name}"), String::new())).collect();
    let failed = failures.len() as u64;
    Ok(Outcome::Tests(Totals { passed, failed, skipped: 0 }, failures))
}

fn check_scripts() -> Result<Outcome> {
    let root = stack::project_root();
    let mut scripts = vec![root.join(".ci/run")];
    find_scripts(&root, &mut scripts)?;
    for script in &scripts {
        programs::output(programs::command("bash").arg("-n").arg(script))?;
    }
    if let Err(error) = ui::install(&[Tool::Shellcheck]) {
        return Ok(Outcome::Skipped(format!("{error:#}")));
    }
    programs::output(programs::command("shellcheck").args(&scripts))?;
    ui::say(&format!("  {} scripts", scripts.len()));
    Ok(Outcome::Passed)
}

/// All `*.sh` of the project, but not what was installed or built into it.
fn find_scripts(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let ours = !name.as_encoded_bytes().starts_with(b".") && name != "target" && name != "node_modules";
        if entry.file_type()?.is_dir() && ours {
            find_scripts(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "sh") {
            found.push(path);
        }
    }
    Ok(())
}

fn check_compose() -> Result<Outcome> {
    if !stack::project_root().join("docker-compose.yml").is_file() {
        bail!("docker-compose.yml is missing");
    }
    let plugin: &[&str] = &["docker", "compose"];
    let program: &[&str] = &["docker-compose"];
    let installed = [plugin, program].into_iter().find(|words| programs::succeeds(&[words, &["version"][..]].concat()));
    let Some((program, arguments)) = installed.and_then(<[_]>::split_first) else {
        return Ok(Outcome::Skipped("docker with its compose plugin is not installed".to_owned()));
    };
    // The example has a value for every variable that must have one.
    let mut command = Command::new(program);
    command.args(arguments).args(["--env-file", ".env.example", "config", "--quiet"]);
    run(&mut command)
}
