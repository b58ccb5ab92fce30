//! The gateway's process.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use common::clock::SystemClock;
use common::config::{Reader, markdown_table};
use common::http::{ServeLimits, listen as listen_on};
use common::lifecycle::Lifecycle;
use gateway::Config;
use gateway::secrets::{self, KeyList, Step};

/// A request makes some dozens of small allocations, and an open stream lives among them: glibc's malloc takes longer for
/// each and gives less memory back (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The waiting room: admits people in queue position order and proxies the admitted to core-api.
#[derive(Parser)]
#[command(version, after_help = "Settings are environment variables; `gateway settings` lists them.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

/// An environment file is a page or two; what is larger is something else.
const ENV_FILE_MAX_BYTES: u64 = 1 << 20;

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT (the default).
    Serve,
    /// Print new secrets as NAME=value lines for an environment file.
    GenerateSecrets,
    /// Take one step of a rotation of keys: read an environment file on standard input, write the new one to standard
    /// output. docs/KEYS.md says what to do between two steps.
    RotateKeys {
        /// Which one
        #[arg(value_enum)]
        step: Step,
        /// Only this list (may be given several times); all unless given
        #[arg(long, value_enum, value_name = "LIST")]
        only: Vec<KeyList>,
    },
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
            print!("{}", secrets::generate()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::RotateKeys { step, only } => rotate_keys(step, &only),
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

/// Nothing is written unless all of it can be: half a file in the place of the old one would be lost keys.
fn rotate_keys(step: Step, only: &[KeyList]) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    std::io::stdin().take(ENV_FILE_MAX_BYTES + 1).read_to_string(&mut text).context("standard input can't be read")?;
    anyhow::ensure!(text.len() as u64 <= ENV_FILE_MAX_BYTES, "standard input is too large for an environment file");
    match secrets::rotate(&text, step, only) {
        Ok(rotated) => {
            // Whether all of it arrived counts: on a full disk, what is there is not the new file.
            let mut out = std::io::stdout();
            out.write_all(rotated.as_bytes()).and_then(|()| out.flush()).context("the new file can't be written")?;
            Ok(ExitCode::SUCCESS)
        }
        Err(refusal) => {
            eprintln!("{refusal}");
            Ok(ExitCode::FAILURE)
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
    let listener = listen_on(listen).with_context(|| format!("can't listen on {listen}"))?;
    tracing::info!(%listen, "gateway is serving");
    let orderly = lifecycle.serve(listener, app, limits).await;
    Ok(if orderly { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
