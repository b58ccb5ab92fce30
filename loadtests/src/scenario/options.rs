//! What all scenarios with visitors can be told.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use chrono::Utc;
use rand::RngExt;
use uuid::Uuid;

use crate::catalog::Concert;
use crate::client::Client;
use crate::invariants::Stores;
use crate::report::Facts;
use crate::room::{Limits, Rooms};
use crate::schedule::Arrivals;
use crate::target::TargetArgs;

/// Options of scenarios whose visitors come to a concert that is there.
#[derive(Debug, clap::Args)]
pub(crate) struct ComingArgs {
    /// How many visitors arrive
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(super) users: u32,
    /// How many of them arrive in a second, on average
    #[arg(long, value_parser = rate)]
    pub(super) arrivals_per_second: f64,
    /// The concert [default: of those on sale, the largest that the visitors can sell out]
    #[arg(long)]
    pub(super) concert: Option<Uuid>,
}

/// Options of every scenario with visitors.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// How the gaps between arrivals are drawn
    #[arg(long, value_enum, default_value = "poisson")]
    pub(super) arrivals: Arrivals,
    /// Repeats the arrivals and choices of an earlier run [default: a new one, which is shown]
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for report.html and report.json [default: target/load/SCENARIO-TIME]
    #[arg(long)]
    pub(super) report: Option<PathBuf>,
    /// A request is given up after this many seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    request_timeout_seconds: u64,
    /// Requests in flight, and so connections, at most; more of them wait, which counts as latency (the default is what
    /// one worker of the local nginx has room for)
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    max_requests_in_flight: u32,
    /// What the gateways' refresh and this program's own delays may add before "overtaken" is said
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub(super) order_slack_ms: u64,
    /// Don't check the stores
    #[arg(long)]
    pub(super) no_check: bool,
    #[command(flatten)]
    pub(super) target: TargetArgs,
}

/// A share of something.
pub(super) fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1 is expected".to_owned()),
    }
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.001..=1_000_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.001 to 1000000 is expected".to_owned()),
    }
}

impl RunArgs {
    pub(super) fn client(&self) -> Result<Client> {
        let in_flight = usize::try_from(self.max_requests_in_flight)?;
        Client::new(self.target.origin()?, Duration::from_secs(self.request_timeout_seconds), in_flight)
    }

    /// What a sale is judged by: the stores, which answer, and the limits of the room; none without checks.
    pub(super) async fn judged_by(&self) -> Result<(Option<Stores>, Limits)> {
        if self.no_check {
            return Ok((None, Limits::default()));
        }
        let stores = self.target.stores()?;
        Rooms::connect(&stores).await?;
        Ok((Some(stores), self.target.limits()?))
    }

    /// The seed that was given, or a new one.
    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| rand::rng().random())
    }

    /// What is about to be run: so many visitors, so many of them in a second.
    pub(super) fn facts(
        &self,
        scenario: &'static str,
        origin: &str,
        concert: Concert,
        (users, arrivals_per_second): (u32, f64),
        seed: u64,
    ) -> Facts {
        Facts {
            scenario,
            origin: origin.to_owned(),
            started_at: Utc::now(),
            users,
            arrivals_per_second,
            arrivals: format!("{:?}", self.arrivals).to_lowercase(),
            seed,
            order_slack_ms: self.order_slack_ms,
            concert,
            conditions: Vec::new(),
        }
    }
}

impl ComingArgs {
    /// How many come, and how many of them in a second.
    pub(super) fn crowd(&self) -> (u32, f64) {
        (self.users, self.arrivals_per_second)
    }
}
