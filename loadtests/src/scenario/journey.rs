//! The journey: everybody wants a ticket for the same concert.

use std::time::Duration;

use anyhow::Result;
use rand::RngExt;

use super::crowd::{self, Crowd};
use super::options::{ComingArgs, RunArgs, share};
use super::selling::Selling;
use super::visitor::{Entry, Plan};
use crate::catalog;
use crate::cli::Verdict;
use crate::invariants::{Database, StoreWatch};
use crate::report::{self, Excused, Facts, Report, terminal};
use crate::schedule::Schedule;
use crate::stats::Outcome;

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
    let findings = run.selling.judge(args.run.order_slack_ms).await;
    let (figures, samples) = (run.selling.recorder.snapshot(), run.selling.samples());
    let facts = run.facts.clone();
    let excused = if args.allow_503 { Excused::Faults } else { Excused::Nothing };
    let report = Report { facts, interrupted, figures, findings, samples, excused, waits: None, surge: None };
    report::publish(&report, args.run.report.as_deref())
}

/// A run, ready to begin.
struct Run {
    facts: Facts,
    selling: Selling,
}

/// Finds the target, the concert and the stores, so that nothing is missing at the end.
async fn prepare(args: &JourneyArgs) -> Result<Run> {
    let client = args.run.client()?;
    let concert = catalog::choose(&client, args.coming.concert, args.coming.users).await?;
    let charge = catalog::highest_price(&client, concert.id).await?;
    let judged_by = args.run.judged_by().await?;
    if let (Some(stores), _) = &judged_by {
        Database::connect(&stores.database_url).await?;
    }
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
    let facts = args.run.facts("journey", client.origin(), concert, args.coming.crowd(), seed);
    let length_max = Duration::from_secs(args.max_duration_seconds);
    Ok(Run { facts, selling: Selling::new((plan, client, seed), judged_by, StoreWatch::default(), length_max) })
}

impl Run {
    /// Lets everybody in when their time comes, and waits until all are done. The answer says what ended it
    /// before that.
    async fn send_visitors(&self, args: &JourneyArgs) -> Option<&'static str> {
        let (selling, seed) = (&self.selling, self.selling.seed);
        let watching = selling.watch();
        let crowd = Crowd {
            recorder: selling.recorder.clone(),
            users: args.coming.users,
            schedule: Schedule::new(args.run.arrivals, args.coming.users, args.coming.arrivals_per_second, seed),
            length_max: Duration::from_secs(args.max_duration_seconds),
            too_long: "the time limit (--max-duration-seconds)",
        };
        let visit_max = Duration::from_secs(args.visitor_seconds);
        let reason = crowd.send(|number, arrival| {
            let visit = tokio::time::timeout(visit_max, selling.visitor(number, arrival));
            async move { visit.await.unwrap_or(Outcome::OutOfTime) }
        });
        let reason = reason.await;
        crowd::leave_at_once_when_asked_again();
        watching.end().await;
        reason
    }
}
