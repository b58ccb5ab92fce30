//! The waiting room alone: everybody joins, most wait to the end, some go away.
//!
//! Visitors have no accounts. Their sessions are made here, with the secret of the stack, so that what is measured
//! is the room and not the hashing of passwords.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use common::ids::UserId;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::accounts::SessionMaker;
use super::ahead::AheadCheck;
use super::crowd::{self, Crowd};
use super::options::{ComingArgs, RunArgs, share};
use super::requests::Sender;
use super::waiter::{WaitPlan, Waiter};
use crate::catalog;
use crate::cli::Verdict;
use crate::client::Client;
use crate::invariants::{Finding, StoreWatch, Stores};
use crate::report::{self, Excused, Facts, Report, terminal};
use crate::room::{Limits, RoomWatch, Rooms};
use crate::schedule::Schedule;
use crate::stats::waits::WaitLog;
use crate::stats::{Outcome, Recorder};
use crate::target::TargetArgs;

/// Options of `loadtests wait`. Visitors beyond `--arrivals-per-second` do not queue up: they arrive when it is time.
/// A rate of `--users` or more means all at once.
#[derive(Debug, clap::Args)]
pub(crate) struct WaitArgs {
    /// The share of those in line who stop polling at some moment of their wait
    #[arg(long, default_value_t = 0.33, value_parser = share)]
    abandon: f64,
    /// The share of those who say so (DELETE /queue/token); the others just close the tab
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    leave: f64,
    /// How long someone who was admitted stays inside, on average (exponential)
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(0..=3_600_000))]
    stay_ms: u64,
    /// The run ends after this many seconds, whoever is still in line
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    max_seconds: u64,
    /// File with a line `SESSION_SECRET=…` [default: the variable `SESSION_SECRET`, else that of `cargo xtask up`]
    #[arg(long)]
    session_secret_file: Option<PathBuf>,
    #[command(flatten)]
    coming: ComingArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs the scenario and reports.
pub(crate) async fn run(args: &WaitArgs) -> Result<Verdict> {
    let run = Run::prepare(args).await?;
    terminal::print_start(&run.facts)?;
    let interrupted = run.send_visitors(args).await;
    let report = Report {
        facts: run.facts.clone(),
        interrupted,
        figures: run.recorder.snapshot(),
        findings: run.judge(args),
        samples: run.watch.samples(),
        // A room that is flooded may say "later"; visitors come back, and it is counted.
        excused: Excused::Busy,
        waits: Some(run.log.snapshot()),
        surge: None,
    };
    report::publish(&report, args.run.report.as_deref())
}

/// A run, ready to begin.
struct Run {
    facts: Facts,
    plan: Arc<WaitPlan>,
    client: Arc<Client>,
    recorder: Arc<Recorder>,
    log: Arc<WaitLog>,
    stores: Option<Stores>,
    watch: RoomWatch,
    store_watch: StoreWatch,
    seed: u64,
}

impl Run {
    /// Finds the target, the concert, the room and the secret, so that nothing is missing at the end.
    async fn prepare(args: &WaitArgs) -> Result<Self> {
        let client = args.run.client()?;
        let sessions = TargetArgs::session_keys(args.session_secret_file.as_deref())?;
        let concert = catalog::choose(&client, args.coming.concert, args.coming.users).await?;
        let stores = if args.run.no_check { None } else { Some(args.run.target.room_stores()?) };
        let ahead = match &stores {
            Some(stores) => Some(AheadCheck::new(Rooms::connect(stores).await?, concert.id)),
            None => None,
        };
        let limits = if args.run.no_check { Limits::default() } else { args.run.target.limits()? };
        let plan = WaitPlan {
            concert: concert.id,
            sessions: SessionMaker::new(sessions),
            abandon: args.abandon,
            leave: args.leave,
            stay: Duration::from_millis(args.stay_ms),
            poll_slack: Duration::from_millis(args.run.order_slack_ms),
            ahead,
        };
        let seed = args.run.seed();
        let mut facts = args.run.facts("wait", client.origin(), concert, args.coming.crowd(), seed);
        if args.all_at_once() {
            "all at once".clone_into(&mut facts.arrivals);
        }
        Ok(Self {
            facts,
            plan: Arc::new(plan),
            client: Arc::new(client),
            recorder: Arc::new(Recorder::new(Instant::now(), Duration::from_secs(args.max_seconds))),
            log: Arc::default(),
            stores,
            watch: RoomWatch::new(limits),
            store_watch: StoreWatch::default(),
            seed,
        })
    }

    async fn send_visitors(&self, args: &WaitArgs) -> Option<&'static str> {
        let watching = self.watch.start(self.stores.as_ref(), self.plan.concert, self.recorder.started());
        let asking = self.store_watch.start(self.database(), self.plan.concert);
        let crowd = Crowd {
            recorder: self.recorder.clone(),
            users: args.coming.users,
            schedule: args.schedule(self.seed),
            length_max: Duration::from_secs(args.max_seconds),
            too_long: "the time limit (--max-seconds)",
        };
        let reason = crowd.send(|number, arrival| self.visitor(number, arrival)).await;
        crowd::leave_at_once_when_asked_again();
        watching.end().await;
        asking.end().await;
        reason
    }

    /// The stores, where the database is known; a run that only looks at a room does without.
    fn database(&self) -> Option<&Stores> {
        self.stores.as_ref().filter(|stores| !stores.database_url.is_empty())
    }

    fn visitor(&self, number: u32, arrival: Instant) -> impl Future<Output = Outcome> + use<> {
        let (plan, client, recorder) = (self.plan.clone(), self.client.clone(), self.recorder.clone());
        let log = self.log.clone();
        let rng = StdRng::seed_from_u64(self.seed ^ (u64::from(number) + 1).rotate_left(32));
        async move {
            let sender = Sender { client: &client, recorder: &recorder, rng };
            // Not from the seed: a repeated run needs people whom the room does not know.
            let waiter = Waiter { plan: &plan, log: &log, sender, user: UserId::generate() };
            Box::pin(waiter.visit(arrival)).await
        }
    }

    /// All verdicts: of the room while it was watched, and of what the visitors saw.
    fn judge(&self, args: &WaitArgs) -> Vec<Finding> {
        let mut findings = if self.stores.is_some() { self.watch.findings() } else { Vec::new() };
        if self.database().is_some() {
            findings.extend(self.store_watch.findings());
        }
        findings.push(self.recorder.read(|figures| report::order(figures, args.run.order_slack_ms)));
        findings.extend(self.log.snapshot().findings());
        findings.sort_by_key(|finding| finding.point);
        findings
    }
}

impl WaitArgs {
    fn all_at_once(&self) -> bool {
        self.coming.arrivals_per_second >= f64::from(self.coming.users)
    }

    fn schedule(&self, seed: u64) -> Schedule {
        if self.all_at_once() {
            return Schedule::at_once(self.coming.users);
        }
        Schedule::new(self.run.arrivals, self.coming.users, self.coming.arrivals_per_second, seed)
    }
}
