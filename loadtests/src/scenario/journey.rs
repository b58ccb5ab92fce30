//! The journey: everybody wants a ticket for the same concert.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::Instant;

use super::crowd::{self, Crowd};
use super::options::{ComingArgs, RunArgs, share};
use super::requests::Sender;
use super::verdict;
use super::visitor::{Entry, Plan, Visitor};
use crate::catalog;
use crate::cli::Verdict;
use crate::client::Client;
use crate::invariants::{Database, Finding, StoreWatch, Stores};
use crate::report::{self, Excused, Facts, Report, terminal};
use crate::room::{Limits, RoomSample, RoomWatch, Rooms};
use crate::schedule::Schedule;
use crate::stats::{Outcome, Recorder};

/// Options of `loadtests journey`.
#[derive(Debug, clap::Args)]
pub(crate) struct JourneyArgs {
    /// The run ends after this many seconds, whatever is still under way
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    max_duration_seconds: u64,
    /// A visitor goes home after this many seconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    visitor_seconds: u64,
    /// Visitors keep their slot to the end of their session instead of leaving
    #[arg(long)]
    stay: bool,
    /// This share of visitors lets their first hold run out and buys the seat once it is free again: how long that takes
    /// is in the report. Give the stack a small `HOLD_SECONDS`
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    lapse: f64,
    /// 503 is no failure (for runs in which something is killed on purpose)
    #[arg(long)]
    allow_503: bool,
    #[command(flatten)]
    coming: ComingArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Runs the scenario and reports.
pub(crate) async fn run(args: &JourneyArgs) -> Result<Verdict> {
    let run = prepare(args).await?;
    terminal::print_start(&run.facts)?;
    let interrupted = run.send_visitors(args).await;
    let (findings, samples) = run.judge(args).await;
    let figures = run.recorder.snapshot();
    let facts = run.facts.clone();
    let excused = if args.allow_503 { Excused::Faults } else { Excused::Nothing };
    let report = Report { facts, interrupted, figures, findings, samples, excused, waits: None, surge: None };
    report::publish(&report, args.run.report.as_deref())
}

/// A run, ready to begin.
struct Run {
    facts: Facts,
    plan: Arc<Plan>,
    client: Arc<Client>,
    recorder: Arc<Recorder>,
    stores: Option<Stores>,
    started_at: DateTime<Utc>,
    watch: RoomWatch,
    store_watch: StoreWatch,
    seed: u64,
}

/// Finds the target, the concert and the stores, so that nothing is missing at the end.
async fn prepare(args: &JourneyArgs) -> Result<Run> {
    let client = args.run.client()?;
    let concert = catalog::choose(&client, args.coming.concert, args.coming.users).await?;
    let charge = catalog::highest_price(&client, concert.id).await?;
    let stores = if args.run.no_check { None } else { Some(args.run.target.stores()?) };
    if let Some(stores) = &stores {
        Database::connect(&stores.database_url).await?;
        Rooms::connect(stores).await?;
    }
    let limits = if args.run.no_check { Limits::default() } else { args.run.target.limits()? };
    let seed = args.run.seed();
    let plan = Plan {
        concert: concert.id,
        // The run's name is not from the seed: a repeated run needs new accounts.
        entry: Entry::SignUp { run: format!("{:08x}", rand::rng().random::<u32>()), charge },
        poll_slack: Duration::from_millis(args.run.order_slack_ms),
        lapse: args.lapse,
        leave: !args.stay,
        best_when_taken: false,
    };
    let length_max = Duration::from_secs(args.max_duration_seconds);
    Ok(Run {
        facts: args.run.facts("journey", client.origin(), concert, args.coming.crowd(), seed),
        plan: Arc::new(plan),
        client: Arc::new(client),
        recorder: Arc::new(Recorder::new(Instant::now(), length_max)),
        stores,
        started_at: Utc::now(),
        watch: RoomWatch::new(limits),
        store_watch: StoreWatch::default(),
        seed,
    })
}

impl Run {
    /// Lets everybody in when their time comes, and waits until all are done. The answer says what ended it
    /// before that.
    async fn send_visitors(&self, args: &JourneyArgs) -> Option<&'static str> {
        let watching = self.watch.start(self.stores.as_ref(), self.plan.concert, self.recorder.started());
        let asking = self.store_watch.start(self.stores.as_ref(), self.plan.concert);
        let crowd = Crowd {
            recorder: self.recorder.clone(),
            users: args.coming.users,
            schedule: Schedule::new(args.run.arrivals, args.coming.users, args.coming.arrivals_per_second, self.seed),
            length_max: Duration::from_secs(args.max_duration_seconds),
            too_long: "the time limit (--max-duration-seconds)",
        };
        let visit_max = Duration::from_secs(args.visitor_seconds);
        let reason = crowd.send(|number, arrival| self.visitor(number, arrival, visit_max)).await;
        crowd::leave_at_once_when_asked_again();
        watching.end().await;
        asking.end().await;
        reason
    }

    fn visitor(&self, number: u32, arrival: Instant, visit_max: Duration) -> impl Future<Output = Outcome> + use<> {
        let (plan, client, recorder) = (self.plan.clone(), self.client.clone(), self.recorder.clone());
        let rng = StdRng::seed_from_u64(self.seed ^ (u64::from(number) + 1).rotate_left(32));
        async move {
            let sender = Sender { client: &client, recorder: &recorder, rng };
            let visitor = Visitor { plan: &plan, sender, number };
            let visit = Box::pin(visitor.visit(arrival));
            tokio::time::timeout(visit_max, visit).await.unwrap_or(Outcome::OutOfTime)
        }
    }

    /// All verdicts: of the stores, of the room while it was watched, and of what the visitors saw.
    async fn judge(&self, args: &JourneyArgs) -> (Vec<Finding>, Vec<(Duration, RoomSample)>) {
        let mut findings = Vec::new();
        if let Some(stores) = &self.stores {
            findings = self.ask_database(stores).await.unwrap_or_else(|error| verdict::not_asked(&error));
            findings.extend(self.store_watch.findings());
            findings.extend(self.watch.findings());
        }
        findings.extend(self.recorder.read(|figures| report::seen_by_visitors(figures, args.run.order_slack_ms)));
        findings.sort_by_key(|finding| finding.point);
        (findings, self.watch.samples())
    }

    async fn ask_database(&self, stores: &Stores) -> Result<Vec<Finding>> {
        let mut database = Database::connect(&stores.database_url).await?;
        let findings = verdict::of_database(&mut database, &self.recorder).await?;
        for after in database.resales(self.plan.concert, self.started_at).await? {
            self.recorder.resale(after);
        }
        Ok(findings)
    }
}
