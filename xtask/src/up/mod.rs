//! `cargo xtask up`: the whole stack on this machine.

mod lock;
mod plan;
mod running;
mod settings;
mod welcome;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;
use stack::install::Tool;

use crate::ui;
use lock::Lock;
use plan::Plan;
use running::Running;

/// Others may pass through, as PostgreSQL has to where it runs as a user of its own, but not look around.
const DATA_MODE: u32 = 0o711;
/// Nobody else may look into what has no protection of its own.
const PRIVATE_MODE: u32 = 0o700;

/// Run the whole stack on this machine until Ctrl-C, with demo data.
///
/// Installs what is missing, builds the binaries and starts Redis, PostgreSQL, a sandbox of card
/// payments, core-api, gateway and nginx on 127.0.0.1, with their data under .onsale/. Then it shows the URL, logins and lines
/// to paste. Data is kept until --reset.
///
/// Where `REDIS_URL` (with `REDIS_MODE=cluster` for a cluster, `sentinel` for sentinels) or
/// `DATABASE_URL` is set, that server is used instead of a private one; the same goes for
/// `PAYMENT_PROVIDER_URL` and the sandbox. nginx allows each address `REQUESTS_PER_SECOND`, `REQUESTS_BURST` at once
/// and `CONNECTIONS_PER_ADDRESS` where these are set; by default so much that load tests don't meet them.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many gateways run behind nginx
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=50))]
    gateways: u16,
    /// How many core-apis run behind the gateways
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=50))]
    core_apis: u16,
    /// The port that clients use
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Delete the private servers' data and the secrets first
    #[arg(long)]
    reset: bool,
    /// How the binaries are built
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Profile {
    Dev,
    Release,
}

impl Profile {
    fn folder(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
        }
    }
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let data = stack::project_root().join(".onsale");
    let lock = Lock::take(&data)?;
    if options.reset {
        reset(&data)?;
    }
    let plan = Plan::new(options, data)?;
    plan.check_ports(lock.was_left_behind())?;
    let outcome = run_plan(&plan);
    lock.release();
    if stack::wait::is_cancelled() {
        ui::say("Stopped. `cargo xtask up` starts it again with its data; add --reset to start afresh.");
        return Ok(ExitCode::SUCCESS);
    }
    outcome.map(|()| ExitCode::SUCCESS)
}

/// Returns once everything has been stopped again.
fn run_plan(plan: &Plan) -> Result<()> {
    install_missing(plan)?;
    let mut running = Running::start(plan)?;
    ui::answer(&welcome::text(plan));
    let outcome = running.supervise();
    if let Err(error) = &outcome {
        // Now, not after the seconds that the others may take to stop.
        ui::say(&format!("{error:#}"));
    }
    ui::say("Stopping …");
    running.stop();
    outcome.map_err(|_| anyhow!("a part of the stack has ended by itself (see above); the rest was stopped"))
}

fn install_missing(plan: &Plan) -> Result<()> {
    let mut tools = vec![Tool::Nginx];
    if plan.redis_port.is_some() {
        tools.push(Tool::Redis);
    }
    if plan.postgres_port.is_some() {
        tools.push(Tool::Postgres);
    }
    ui::install(&tools)
}

/// Makes a folder, if there is none.
fn make_folder(folder: &Path, mode: u32) -> Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(folder).with_context(|| folder.display().to_string())
}

/// Deletes everything but the lock that is held.
fn reset(data: &Path) -> Result<()> {
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        let outcome = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else if path.ends_with(lock::FILE_NAME) {
            Ok(())
        } else {
            std::fs::remove_file(&path)
        };
        outcome.with_context(|| format!("{} can't be deleted", path.display()))?;
    }
    Ok(())
}
