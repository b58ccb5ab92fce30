//! The core-api binary: `core-api`, `core-api migrate`, `core-api demo`, `core-api set-role`, `core-api audit`,
//! `core-api healthcheck`, `core-api settings`.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use common::clock::SystemClock;
use common::config::{Reader, markdown_table};
use common::lifecycle::Lifecycle;
use common::telemetry;
use common::tokens::Role;
use core_api::config::{self, Config};
use core_api::domain::account::Login;
use core_api::domain::text::Text;
use core_api::store::postgres::Db;
use core_api::{App, demo};

/// A request makes some dozens of small allocations, and an open stream lives among them: glibc's malloc takes longer for
/// each and gives less memory back (docs/PERFORMANCE.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Seats, holds and money. Settings come from the environment; `core-api settings` lists them.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Serve the API until SIGTERM or SIGINT (the default)
    Serve,
    /// Apply the database migrations that are missing
    Migrate,
    /// Load demo data; doing it again changes nothing
    Demo,
    /// Give an account another role: this is how somebody becomes staff or an administrator
    ///
    /// Its sessions end within a second, since their tokens say the old role. Exit status 0 if it has the role now.
    SetRole {
        /// The account's email or id
        account: String,
        /// `user` buys tickets, `staff` lets people in at the door as well, `admin` runs sales as well
        #[arg(value_parser = ["user", "staff", "admin"])]
        role: String,
    },
    /// Check in the database that everything about seats and money holds that must always hold
    ///
    /// Prints each rule with how often it is broken, and some examples. Only reads; can be run at any time. Exit status
    /// 0 if all hold, 1 if one is broken, 2 if that could not be found out.
    Audit,
    /// Ask the core-api of this environment whether it is ready; exit status 0 if it is
    Healthcheck,
    /// Print all settings as a Markdown table
    Settings,
}

/// `audit`'s exit status where nothing was found out.
const AUDIT_NOT_MADE: u8 = 2;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command.unwrap_or(Command::Serve) {
        Command::Serve => in_runtime(serve()),
        Command::Migrate => in_runtime(migrate()),
        Command::Demo => in_runtime(load_demo()),
        Command::SetRole { account, role } => in_runtime(set_role(account, role)),
        Command::Audit => in_runtime(audit()),
        Command::Healthcheck => Ok(healthcheck()),
        Command::Settings => print_settings(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            // Not a log line: it may be the logging that is configured wrongly.
            let _ = writeln!(std::io::stderr(), "core-api: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

async fn serve() -> anyhow::Result<ExitCode> {
    let mut reader = Reader::from_env();
    telemetry::init(&mut reader);
    let config = Config::read(reader)?;
    let lifecycle = Lifecycle::default();
    common::metrics::start(config.metrics_listen, core_api::METRICS, &lifecycle).await?;
    let app = App::new(&config, Arc::new(SystemClock), lifecycle)?;
    let listener = common::http::listen(config.listen)
        .with_context(|| format!("{} can't be listened on ({})", config.listen, config::LISTEN.name))?;
    tracing::info!(listen = %config.listen, "serving");
    let in_order = app.serve(listener).await;
    tracing::info!(in_order, "stopped");
    Ok(if in_order { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The database's URL, for commands that need no other setting.
fn database_url() -> anyhow::Result<String> {
    let mut reader = Reader::from_env();
    telemetry::init(&mut reader);
    let url = reader.text(&config::DATABASE_URL);
    reader.finish()?;
    Ok(url)
}

async fn migrate() -> anyhow::Result<ExitCode> {
    Db::migrate(&database_url()?).await?;
    tracing::info!("all migrations are applied");
    Ok(ExitCode::SUCCESS)
}

async fn load_demo() -> anyhow::Result<ExitCode> {
    demo::load(&Db::new(&database_url()?, 2)?).await?;
    tracing::info!("demo data is there");
    Ok(ExitCode::SUCCESS)
}

async fn set_role(account: String, role: String) -> anyhow::Result<ExitCode> {
    let login = Text::parse(&account).map_err(anyhow::Error::msg).context("no account has such a name")?;
    let role: Role = role.parse().context("the role")?;
    let user = Db::new(&database_url()?, 1)?.set_role(&Login::from(&login), role).await?;
    let user = user.context("there is no such account")?;
    tracing::info!(%user, ?role, "the account has this role now");
    Ok(ExitCode::SUCCESS)
}

async fn audit() -> anyhow::Result<ExitCode> {
    let audited = match Db::audit(&database_url()?).await {
        Ok(audited) => audited,
        Err(error) => {
            writeln!(std::io::stderr(), "core-api: the audit could not be made: {error:#}")?;
            return Ok(ExitCode::from(AUDIT_NOT_MADE));
        }
    };
    let mut out = std::io::stdout().lock();
    for found in &audited {
        let verdict = if found.broken == 0 { "ok" } else { "BROKEN" };
        writeln!(out, "{verdict:<6} {:>6}  {:<22} {}", found.broken, found.check.name, found.check.title)?;
        for example in &found.examples {
            writeln!(out, "{:16}{example}", "")?;
        }
    }
    let all_hold = audited.iter().all(|found| found.broken == 0);
    Ok(if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
