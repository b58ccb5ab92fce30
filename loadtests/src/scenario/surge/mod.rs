//! The surge: everybody arrives within seconds, for a concert that has a seat for few of them.

mod hall;
mod overload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::Instant;

use self::hall::{Manager, RoomArgs};
use self::overload::{Overload, OverloadArgs};
use super::accounts::{Accounts, SessionMaker};
use super::crowd::{self, Crowd};
use super::options::RunArgs;
use super::requests::Sender;
use super::verdict;
use super::visitor::{Entry, Plan, Visitor};
use crate::catalog::Concert;
use crate::cli::Verdict;
use crate::client::Client;
use crate::invariants::{Database, Finding, StoreWatch, Stores};
use crate::progress;
use crate::report::{self, Excused, Facts, Report, terminal};
use crate::room::{Limits, RoomWatch, Rooms};
use crate::schedule::Schedule;
use crate::stats::surge::SurgeFigures;
use crate::stats::{Outcome, Recorder};
use crate::target::TargetArgs;
use crate::usage::{UsageWatch, Watched};

/// Options of `loadtests surge`.
#[derive(Debug, clap::Args)]
pub(crate) struct SurgeArgs {
    /// How many visitors arrive; their accounts are made before
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,
    /// They all arrive within so many seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    within_seconds: u32,
    /// How many seats the concert has that is made for the run
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    seats: u32,
    #[command(flatten)]
    room: RoomArgs,
    /// The run ends after this many seconds, whatever is still under way
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    max_duration_seconds: u64,
    /// How many seconds lie between two looks at the seats and the money of everybody: with many accounts a look is work
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    check_every_seconds: u64,
    /// File with a line `SESSION_SECRET=…` [default: the variable `SESSION_SECRET`, else that of `cargo xtask up`]
    #[arg(long)]
    session_secret_file: Option<PathBuf>,
    /// Processes whose CPU and memory are measured, each with all that it started [default: those of `cargo xtask up`]
    #[arg(long, value_name = "NAME=PROCESS-ID", value_delimiter = ',')]
    processes: Vec<Watched>,
    #[command(flatten)]
    overload: OverloadArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs the scenario and reports.
pub(crate) async fn run(args: &SurgeArgs) -> Result<Verdict> {
    let run = Run::prepare(args).await?;
    terminal::print_start(&run.facts)?;
    let interrupted = run.send_visitors(args).await;
    let overload = match &run.overload {
        Some(overload) if interrupted.is_none() => Some(overload.run().await),
        _ => None,
    };
    crowd::leave_at_once_when_asked_again();
    let mut findings = run.judge(args, interrupted).await;
    findings.extend(overload.as_ref().map(overload::finding));
    let report = Report {
        facts: run.facts.clone(),
        interrupted,
        findings,
        figures: run.recorder.snapshot(),
        samples: run.watch.samples(),
        // The rest is to be told "later" at once; visitors come back then, and it is counted.
        excused: Excused::Busy,
        waits: None,
        surge: Some(SurgeFigures { usage: run.usage.snapshot(), waited: run.client.waited_in_flight(), overload }),
    };
    report::publish(&report, args.run.report.as_deref())
}

/// A run, ready to begin.
struct Run {
    facts: Facts,
    plan: Arc<Plan>,
    client: Arc<Client>,
    recorder: Arc<Recorder>,
    /// None: the stores are not checked.
    stores: Option<Stores>,
    watch: RoomWatch,
    store_watch: StoreWatch,
    usage: UsageWatch,
    overload: Option<Overload>,
    seed: u64,
}

impl Run {
    /// Finds everything, makes the concert, its room and everybody's account.
    async fn prepare(args: &SurgeArgs) -> Result<Self> {
        let client = args.run.client()?;
        let sessions = SessionMaker::new(TargetArgs::session_keys(args.session_secret_file.as_deref())?);
        let stores = if args.run.no_check { None } else { Some(args.run.target.stores()?) };
        if let Some(stores) = &stores {
            Rooms::connect(stores).await?;
        }
        let limits = if args.run.no_check { Limits::default() } else { args.run.target.limits()? };
        let processes = args.run.target.processes(&args.processes)?;
        let mut database = connect(&args.run.target.database_url()?).await?;
        let (concert, line) = args.make_concerts(&client, &mut database, &sessions).await?;
        let accounts = Arc::new(Accounts::new(sessions));
        let took = args.make_accounts(&accounts, &mut database).await?;
        let seed = args.run.seed();
        let length_max = Duration::from_secs(args.max_duration_seconds);
        let mut facts = args.run.facts("surge", client.origin(), concert.clone(), args.crowd(), seed);
        facts.conditions = vec![
            format!("{} accounts with money were made before, in {:.1} s.", args.users, took.as_secs_f64()),
            args.room.describe(),
        ];
        let overload = line.map(|line| {
            Overload::new(args.overload, (accounts.clone(), args.users), line.id, client.origin(), processes.clone())
        });
        let plan = Plan {
            concert: concert.id,
            entry: Entry::Prepared(accounts),
            poll_slack: Duration::from_millis(args.run.order_slack_ms),
            lapse: 0.0,
            leave: true,
            best_when_taken: true,
        };
        Ok(Self {
            facts,
            plan: Arc::new(plan),
            client: Arc::new(client),
            recorder: Arc::new(Recorder::new(Instant::now(), length_max)),
            stores,
            watch: RoomWatch::new(limits),
            store_watch: StoreWatch::every(Duration::from_secs(args.check_every_seconds)),
            usage: UsageWatch::new(processes, length_max),
            overload: overload.transpose()?,
            seed,
        })
    }

    async fn send_visitors(&self, args: &SurgeArgs) -> Option<&'static str> {
        let started = self.recorder.started();
        let watching = self.watch.start(self.stores.as_ref(), self.plan.concert, started);
        let asking = self.store_watch.start(self.stores.as_ref(), self.plan.concert);
        let measuring = self.usage.start(started);
        let (users, per_second) = args.crowd();
        let crowd = Crowd {
            recorder: self.recorder.clone(),
            users,
            schedule: Schedule::new(args.run.arrivals, users, per_second, self.seed),
            length_max: Duration::from_secs(args.max_duration_seconds),
            too_long: "the time limit (--max-duration-seconds)",
        };
        let reason = crowd.send(|number, arrival| self.visitor(number, arrival)).await;
        measuring.end().await;
        watching.end().await;
        asking.end().await;
        reason
    }

    fn visitor(&self, number: u32, arrival: Instant) -> impl Future<Output = Outcome> + use<> {
        let (plan, client, recorder) = (self.plan.clone(), self.client.clone(), self.recorder.clone());
        let rng = StdRng::seed_from_u64(self.seed ^ (u64::from(number) + 1).rotate_left(32));
        async move {
            let sender = Sender { client: &client, recorder: &recorder, rng };
            Box::pin(Visitor { plan: &plan, sender, number }.visit(arrival)).await
        }
    }

    /// All verdicts: of the stores, of the room while it was watched, and of what the visitors saw.
    async fn judge(&self, args: &SurgeArgs, interrupted: Option<&'static str>) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(stores) = &self.stores {
            findings = self.ask_database(stores).await.unwrap_or_else(|error| verdict::not_asked(&error));
            findings.extend(self.store_watch.findings());
            findings.extend(self.watch.findings());
        }
        findings.extend(self.recorder.read(|figures| report::seen_by_visitors(figures, args.run.order_slack_ms)));
        findings.push(self.sold_out(args, interrupted));
        findings.sort_by_key(|finding| finding.point);
        findings
    }

    async fn ask_database(&self, stores: &Stores) -> Result<Vec<Finding>> {
        verdict::of_database(&mut Database::connect(&stores.database_url).await?, &self.recorder).await
    }

    /// Nobody is to go home without a seat while there are any.
    fn sold_out(&self, args: &SurgeArgs, interrupted: Option<&'static str>) -> Finding {
        let (sold, went_without) =
            self.recorder.read(|figures| (figures.seats_sold(), figures.outcome(Outcome::NoSeatLeft)));
        let left = u64::from(args.seats).saturating_sub(sold);
        let broken = if went_without > 0 { left } else { 0 };
        let example = format!("{sold} of {} seats were sold, and {went_without} people got none", args.seats);
        let title = "nobody went home without a seat while there were any";
        let finding = Finding::new(1, "sold_out", title, broken, vec![example]);
        match interrupted {
            Some(by) => finding.not_checked(&format!("the run was ended by {by}")),
            None => finding,
        }
    }
}

impl SurgeArgs {
    /// How many come, and how many of them in a second.
    fn crowd(&self) -> (u32, f64) {
        (self.users, f64::from(self.users) / f64::from(self.within_seconds))
    }

    /// The concert that is sold, and one more for the overload.
    async fn make_concerts(
        &self,
        client: &Client,
        database: &mut PgConnection,
        sessions: &SessionMaker,
    ) -> Result<(Concert, Option<Concert>)> {
        let manager = Manager::appoint(client, database, sessions).await?;
        let made = self.make_concerts_by(&manager).await;
        // Whatever became of it, nobody is left who may run sales.
        manager.dismiss(database).await?;
        made
    }

    async fn make_concerts_by(&self, manager: &Manager<'_>) -> Result<(Concert, Option<Concert>)> {
        let now = Utc::now().format("%Y-%m-%d %H:%M:%S UTC");
        let concert = manager.make_concert(&format!("Load test: surge of {}, {now}", self.users), self.seats).await?;
        manager.set_up_room(concert.id, self.room.fields()).await?;
        if !self.overload.overload {
            return Ok((concert, None));
        }
        let line = manager.make_concert(&format!("Load test: overload, {now}"), 1).await?;
        let paused = [("paused".to_owned(), true.into())].into_iter().collect();
        manager.set_up_room(line.id, paused).await?;
        Ok((concert, Some(line)))
    }

    /// How long it took.
    async fn make_accounts(&self, accounts: &Accounts, database: &mut PgConnection) -> Result<Duration> {
        let since = Instant::now();
        let bar = progress::preparing(self.users, "accounts made");
        let made =
            accounts.make(database, self.users, hall::highest_price(), |made| bar.set_position(made.into())).await;
        bar.finish_and_clear();
        made.context("the accounts can't be made")?;
        Ok(since.elapsed())
    }
}

async fn connect(url: &str) -> Result<PgConnection> {
    // The URL is not shown: it may hold a password.
    PgConnection::connect(url).await.context("PostgreSQL (--database-url) can't be used")
}
