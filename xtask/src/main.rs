//! `cargo xtask …`: the project's commands.
#![expect(clippy::print_stdout, reason = "these commands talk to the person at the terminal")]

mod audit;
mod browser;
mod capacity;
mod fuzz_api;
mod signals;
mod sqlx_prepare;
mod test;
mod ui;
mod up;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Onsale's commands. Each says more with --help.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Up(up::Options),
    Test(test::Options),
    /// Run a load test against the running stack (`cargo xtask load --help` lists the scenarios)
    #[command(disable_help_flag = true)]
    Load {
        /// Passed on as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure the hot paths against the ceiling of this machine (`cargo xtask bench --help` says more)
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Serve the examples of api-spec.yaml on port 3005
    Mock,
    /// Check that the draw of a sale was the one announced before it opened
    #[command(disable_help_flag = true)]
    VerifyDraw {
        /// Passed on as they are
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    Audit(audit::Options),
    Capacity(capacity::Options),
    FuzzApi(fuzz_api::Options),
    SqlxPrepare(sqlx_prepare::Options),
    /// Take the pictures in README.md anew (runs the browser's tests)
    Screenshots,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Action::Up(options) => watchfully(|| up::run(&options)),
        Action::Test(options) => watchfully(|| Ok(test::run(&options))),
        Action::SqlxPrepare(options) => watchfully(|| sqlx_prepare::run(&options).map(|()| ExitCode::SUCCESS)),
        Action::FuzzApi(options) => watchfully(|| fuzz_api::run(&options)),
        Action::Screenshots => watchfully(browser::screenshots),
        Action::Audit(options) => audit::run(&options),
        Action::Capacity(options) => capacity::run(&options),
        Action::Load { arguments } => become_package("loadtests", &arguments),
        Action::Bench { arguments } => bench(&arguments),
        Action::VerifyDraw { arguments } => become_package("verify-draw", &arguments),
        Action::Mock => become_command(&mut Command::new(stack::project_root().join("run-mock-server.sh"))),
    };
    outcome.unwrap_or_else(|error| {
        ui::say(&format!("{} {error:#}", ui::paint(ui::Colour::Red, "error:")));
        ExitCode::FAILURE
    })
}

/// Signals stop the command in order instead of ending it where it stands.
fn watchfully(command: impl FnOnce() -> Result<ExitCode>) -> Result<ExitCode> {
    signals::install()?;
    command()
}

/// The cargo that runs this, or the one in `PATH`.
fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(program)
}

/// Puts another package's optimised binary in this one's place.
fn become_package(package: &str, arguments: &[String]) -> Result<ExitCode> {
    become_command(cargo().args(["run", "--release", "--quiet", "--package", package, "--"]).args(arguments))
}

/// Builds what is measured, and puts the bench in this one's place.
fn bench(arguments: &[String]) -> Result<ExitCode> {
    let packages = ["--package", "gateway", "--package", "core-api", "--package", "bench"];
    let root = stack::project_root();
    let build = cargo().args(["build", "--release", "--quiet", "--bins"]).args(packages).current_dir(&root).status()?;
    anyhow::ensure!(build.success(), "it does not build, see above");
    become_package("bench", arguments)
}

/// Puts another program in this one's place, so that signals and the terminal are its own.
fn become_command(command: &mut Command) -> Result<ExitCode> {
    Err(command.exec()).with_context(|| command.get_program().display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn load_passes_its_options_on() {
        let cli = Cli::parse_from(["xtask", "load", "journey", "--users", "5", "--help"]);
        let Action::Load { arguments } = cli.command else {
            panic!("not load: {cli:?}");
        };
        assert_eq!(arguments, ["journey", "--users", "5", "--help"]);
    }
}
