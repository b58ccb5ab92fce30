//! The surge: everybody arrives within seconds, for a concert that has a seat for few of them.

mod hall;
mod overload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use chrono::Utc;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use self::hall::{Manager, RoomArgs};
use self::overload::{Overload, OverloadArgs};
use super::accounts::{Accounts, SessionMaker};
use super::crowd::{self, Crowd};
use super::options::RunArgs;
use super::selling::Selling;
use super::visitor::{Entry, Plan};
use crate::catalog::Concert;
use crate::cli::Verdict;
use crate::client::Client;
use crate::invariants::{Finding, StoreWatch};
use crate::progress;
use crate::report::{self, Excused, Facts, Report, terminal};
use crate::schedule::Schedule;
use crate::stats::Outcome;
use crate::stats::overload::OverloadFigures;
use crate::stats::surge::SurgeFigures;
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
    let sale_ended_by = run.send_visitors(args).await;
    let overload = match &run.overload {
        Some(overload) if sale_ended_by.is_none() => Some(overload.run().await),
        _ => None,
    };
    let mut findings = run.selling.judge(args.run.order_slack_ms).await;
    findings.push(run.sold_out(args, sale_ended_by));
    findings.extend(overload.as_ref().map(overload::finding));
    findings.sort_by_key(|finding| finding.point);
    let report = Report {
        facts: run.facts.clone(),
        interrupted: sale_ended_by.or(overload.as_ref().and_then(OverloadFigures::ended_by)),
        findings,
        figures: run.selling.recorder.snapshot(),
        samples: run.selling.samples(),
        // The rest is to be told "later" at once; visitors come back then, and it is counted.
        excused: Excused::Busy,
        waits: None,
        surge: Some(SurgeFigures {
            usage: run.usage.snapshot(),
            waited: run.selling.client.waited_in_flight(),
            overload,
        }),
    };
    report::publish(&report, args.run.report.as_deref())
}

/// A run, ready to begin.
struct Run {
    facts: Facts,
    selling: Selling,
    usage: UsageWatch,
    overload: Option<Overload>,
}

impl Run {
    /// Finds everything, makes the concert, its room and everybody's account.
    async fn prepare(args: &SurgeArgs) -> Result<Self> {
        let client = args.run.client()?;
        let sessions = SessionMaker::new(TargetArgs::session_keys(args.session_secret_file.as_deref())?);
        let judged_by = args.run.judged_by().await?;
        let processes = args.run.target.processes(&args.processes)?;
        let mut database = connect(&args.run.target.database_url()?).await?;
        let mut stop = Stop::listen()?;
        let (concert, line) = args.make_concerts(&client, &mut database, &sessions, &mut stop).await?;
        let accounts = Arc::new(Accounts::new(sessions));
        let took = stop.or(args.make_accounts(&accounts, &mut database)).await?;
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
        let store_watch = StoreWatch::every(Duration::from_secs(args.check_every_seconds));
        Ok(Self {
            facts,
            selling: Selling::new((plan, client, seed), judged_by, store_watch, length_max),
            usage: UsageWatch::new(processes, length_max),
            overload: overload.transpose()?,
        })
    }

    /// Lets everybody in when their time comes, and waits until all are done. The answer says what ended it before that.
    async fn send_visitors(&self, args: &SurgeArgs) -> Option<&'static str> {
        let selling = &self.selling;
        let watching = selling.watch();
        let measuring = self.usage.start(selling.recorder.started());
        let (users, per_second) = args.crowd();
        let crowd = Crowd {
            recorder: selling.recorder.clone(),
            users,
            schedule: Schedule::new(args.run.arrivals, users, per_second, selling.seed),
            length_max: Duration::from_secs(args.max_duration_seconds),
            too_long: "the time limit (--max-duration-seconds)",
        };
        let reason = crowd.send(|number, arrival| selling.visitor(number, arrival)).await;
        // Before anything is waited for, unless another load follows: a Ctrl-C is to end that, and not this program.
        if reason.is_some() || self.overload.is_none() {
            crowd::leave_at_once_when_asked_again();
        }
        measuring.end().await;
        watching.end().await;
        reason
    }

    /// Nobody is to go home without a seat while there are any.
    fn sold_out(&self, args: &SurgeArgs, interrupted: Option<&'static str>) -> Finding {
        let (sold, went_without) =
            self.selling.recorder.read(|figures| (figures.seats_sold(), figures.outcome(Outcome::NoSeatLeft)));
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
        stop: &mut Stop,
    ) -> Result<(Concert, Option<Concert>)> {
        // One whose run was killed may still be there.
        Manager::dismiss_all(database).await?;
        let made = stop.or(async {
            let manager = Manager::appoint(client, database, sessions).await?;
            self.make_concerts_by(&manager).await
        });
        let made = made.await;
        // Whatever became of it, nobody is left who may run sales.
        Manager::dismiss_all(database).await?;
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

/// Ctrl-C while something is made that has to be cleared away: from here on it no longer ends this program by itself.
struct Stop(Signal);

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?))
    }

    /// What comes of `work`, or an error once Ctrl-C was pressed.
    async fn or<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            _ = self.0.recv() => bail!("ended by Ctrl-C before it began"),
        }
    }
}

async fn connect(url: &str) -> Result<PgConnection> {
    // The URL is not shown: it may hold a password.
    PgConnection::connect(url).await.context("PostgreSQL (--database-url) can't be used")
}
