//! The gateway's process.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use common::clock::SystemClock;
use common::config::{Reader, markdown_table};
use common::http::ServeLimits;
use common::lifecycle::Lifecycle;
use gateway::Config;
use tokio::net::TcpListener;

/// The waiting room: admits people in queue position order and proxies the admitted to core-api.
#[derive(Parser)]
#[command(version, after_help = "Settings are environment variables; `gateway settings` lists them.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Clone, Copy)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default).
    Serve,
    /// Print new secrets as NAME=value lines for an environment file.
    GenerateSecrets,
    /// Exit 0 if the gateway that listens on `GATEWAY_LISTEN` is ready, 1 if not.
    Healthcheck,
    /// Print every setting with its unit, default and meaning, as a Markdown table.
    Settings,
}

#[expect(clippy::print_stdout, reason = "what these subcommands are for is what they print")]
fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command.unwrap_or(Command::Serve) {
        Command::Serve => serve(),
        Command::GenerateSecrets => {
            print!("{}", gateway::secrets::generate()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Healthcheck => {
            let listen = std::env::var("GATEWAY_LISTEN").unwrap_or_else(|_| "127.0.0.1:3101".to_owned());
            Ok(if common::healthcheck::is_ready(&listen) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Settings => {
            print!("{}", markdown_table(gateway::config::SETTINGS));
            Ok(ExitCode::SUCCESS)
        }
    }
}

#[tokio::main]
async fn serve() -> anyhow::Result<ExitCode> {
    let config = Config::read(Reader::from_env())?;
    let listen = config.listen;
    let limits = ServeLimits { max_connections: config.max_connections, ..ServeLimits::default() };
    let lifecycle = Lifecycle::default();
    common::metrics::start(config.metrics_listen, gateway::metrics::ALL, &lifecycle).await?;
    let app = gateway::app(gateway::state(config, Arc::new(SystemClock), &lifecycle)?);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("can't listen on {listen}"))?;
    tracing::info!(%listen, "gateway is serving");
    let orderly = lifecycle.serve(listener, app, limits).await;
    Ok(if orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
