//! The sandbox's binary: `sandbox-provider`, `sandbox-provider healthcheck`, `sandbox-provider settings`.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use common::clock::SystemClock;
use common::config::{Reader, markdown_table};
use common::lifecycle::Lifecycle;
use common::telemetry;
use sandbox_provider::{Config, Sandbox, config};
use tokio::net::TcpListener;

/// A payment provider for development and tests. Settings come from the environment; `sandbox-provider settings` lists
/// them.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default)
    Serve,
    /// Ask the sandbox of this environment whether it is ready; exit status 0 if it is
    Healthcheck,
    /// Print all settings as a Markdown table
    Settings,
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command.unwrap_or(Command::Serve) {
        Command::Serve => run(),
        Command::Healthcheck => Ok(healthcheck()),
        Command::Settings => print_settings(),
    };
    outcome.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "sandbox-provider: {error:#}");
        ExitCode::FAILURE
    })
}

fn run() -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve())
}

async fn serve() -> anyhow::Result<ExitCode> {
    let mut reader = Reader::from_env();
    telemetry::init(&mut reader);
    let config = Config::read(reader)?;
    let lifecycle = Lifecycle::default();
    let sandbox = Sandbox::new(&config, Arc::new(SystemClock), &lifecycle);
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("{} can't be listened on ({})", config.listen, config::LISTEN.name))?;
    tracing::info!(listen = %config.listen, "serving; no money is moved here");
    let in_order = sandbox.serve(listener, lifecycle).await;
    Ok(if in_order { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn healthcheck() -> ExitCode {
    let mut reader = Reader::from_env();
    let listen = reader.text(&config::LISTEN);
    if common::healthcheck::is_ready(&listen) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_settings() -> anyhow::Result<ExitCode> {
    std::io::stdout().write_all(markdown_table(config::SETTINGS).as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
