//! The journey: everybody wants a ticket for the same concert.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::requests::Sender;
use super::visitor::{Plan, Visitor};
use crate::catalog::{self, Concert};
use crate::cli::Verdict;
use crate::client::Client;
use crate::invariants::{Database, Finding, Stores};
use crate::progress::Progress;
use crate::report::{self, Facts, Report, terminal};
use crate::room::{Limits, RoomJudge, RoomSample, Rooms};
use crate::schedule::{Arrivals, Schedule};
use crate::stats::{Outcome, Recorder};
use crate::target::TargetArgs;

/// How often the room in Redis is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks that are kept for the graphs; when there are more, every other one is dropped.
const LOOKS_KEPT_MAX: usize = 2_000;

/// What shells say of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Options of `loadtests journey`.
#[derive(Debug, clap::Args)]
pub(crate) struct JourneyArgs {
    /// How many visitors arrive
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    users: u32,
    /// How many of them arrive in a second, on average
    #[arg(long, value_parser = rate)]
    arrivals_per_second: f64,
    /// How the gaps between arrivals are drawn
    #[arg(long, value_enum, default_value = "poisson")]
    arrivals: Arrivals,
    /// The concert [default: of those on sale, the largest that the visitors can sell out]
    #[arg(long)]
    concert: Option<Uuid>,
    /// Repeats the arrivals and choices of an earlier run [default: a new one, which is shown]
    #[arg(long)]
    seed: Option<u64>,
    /// Folder for report.html and report.json [default: target/load/journey-<time>]
    #[arg(long)]
    report: Option<PathBuf>,
    /// The run ends after this many seconds, whatever is still under way
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    max_duration_seconds: u64,
    /// A visitor goes home after this many seconds
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    visitor_seconds: u64,
    /// A request is given up after this many seconds
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    request_timeout_seconds: u64,
    /// Requests in flight at most; more of them wait, which counts as latency
    #[arg(long, default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    max_requests_in_flight: u32,
    /// What the gateways' refresh and this program's own delays may add before "overtaken" is said
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    order_slack_ms: u64,
    /// Visitors keep their slot to the end of their session instead of leaving
    #[arg(long)]
    stay: bool,
    /// 503 is no failure (for runs in which something is killed on purpose)
    #[arg(long)]
    allow_503: bool,
    /// Don't check seats, money and rooms at the end
    #[arg(long)]
    no_check: bool,
    #[command(flatten)]
    target: TargetArgs,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.001..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.001 to 100000 is expected".to_owned()),
    }
}

/// Runs the scenario and reports.
pub(crate) async fn run(args: &JourneyArgs) -> Result<Verdict> {
    let run = prepare(args).await?;
    terminal::print_start(&run.facts)?;
    let interrupted = run.send_visitors(args).await;
    tokio::spawn(leave_at_once_when_asked_again());
    let (findings, samples) = run.judge(args).await;
    let figures = run.recorder.snapshot();
    let report =
        Report { facts: run.facts.clone(), interrupted, figures, findings, samples, allow_503: args.allow_503 };
    terminal::print_report(&report)?;
    let folder = args.report.clone().unwrap_or_else(|| report::default_folder("journey", Utc::now()));
    report::write(&report, &folder)?;
    terminal::print_end(&report, &folder)?;
    Ok(if report.failures().is_empty() { Verdict::Passed } else { Verdict::Failed })
}

/// The first Ctrl-C ends the load and leaves the checks; a second one means it.
async fn leave_at_once_when_asked_again() {
    if tokio::signal::ctrl_c().await.is_ok() {
        std::process::exit(INTERRUPTED);
    }
}

/// A run, ready to begin.
struct Run {
    facts: Facts,
    plan: Arc<Plan>,
    client: Arc<Client>,
    recorder: Arc<Recorder>,
    stores: Option<Stores>,
    watch: Arc<Mutex<Watch>>,
    seed: u64,
}

/// What the looks at the room showed.
struct Watch {
    judge: RoomJudge,
    samples: Vec<(Duration, RoomSample)>,
    /// Every how many looks one is kept.
    keep_every: usize,
    looks: usize,
}

/// Finds the target, the concert and the stores, so that nothing is missing at the end.
async fn prepare(args: &JourneyArgs) -> Result<Run> {
    let origin = args.target.origin()?;
    let in_flight = usize::try_from(args.max_requests_in_flight)?;
    let client = Client::new(origin, Duration::from_secs(args.request_timeout_seconds), in_flight)?;
    let concert = catalog::choose(&client, args.concert, args.users).await?;
    let charge = catalog::highest_price(&client, concert.id).await?;
    let stores = if args.no_check { None } else { Some(args.target.stores()?) };
    if let Some(stores) = &stores {
        Database::connect(&stores.database_url).await?;
        Rooms::connect(stores).await?;
    }
    let limits = if args.no_check { Limits::default() } else { args.target.limits()? };
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    let plan = Plan {
        concert: concert.id,
        charge,
        // Not from the seed: a repeated run needs new accounts.
        run: format!("{:08x}", rand::rng().random::<u32>()),
        poll_slack: Duration::from_millis(args.order_slack_ms),
        leave: !args.stay,
    };
    let length_max = Duration::from_secs(args.max_duration_seconds);
    Ok(Run {
        facts: facts(args, client.origin(), concert, seed),
        plan: Arc::new(plan),
        client: Arc::new(client),
        recorder: Arc::new(Recorder::new(Instant::now(), length_max)),
        stores,
        watch: Arc::new(Mutex::new(Watch::new(limits))),
        seed,
    })
}

fn facts(args: &JourneyArgs, origin: &str, concert: Concert, seed: u64) -> Facts {
    Facts {
        scenario: "journey",
        origin: origin.to_owned(),
        started_at: Utc::now(),
        users: args.users,
        arrivals_per_second: args.arrivals_per_second,
        arrivals: format!("{:?}", args.arrivals).to_lowercase(),
        seed,
        order_slack_ms: args.order_slack_ms,
        concert,
    }
}

impl Run {
    /// Lets everybody in when their time comes, and waits until all are done. The answer says what ended it
    /// before that.
    async fn send_visitors(&self, args: &JourneyArgs) -> Option<&'static str> {
        let stop = CancellationToken::new();
        let watching = self.stores.clone().map(|stores| tokio::spawn(watch(stores, self.watcher(), stop.clone())));
        let progress = tokio::spawn(Progress::new(self.recorder.clone(), args.users).run(stop.clone()));
        let mut visitors = JoinSet::new();
        let deadline = self.recorder.started() + Duration::from_secs(args.max_duration_seconds);
        let reason = tokio::select! {
            () = self.everybody(args, &mut visitors) => None,
            () = tokio::time::sleep_until(deadline) => Some("the time limit (--max-duration-seconds)"),
            _ = tokio::signal::ctrl_c() => Some("Ctrl-C"),
        };
        visitors.shutdown().await;
        stop.cancel();
        for task in [Some(progress), watching].into_iter().flatten() {
            // Neither fails; a panic in them has been printed already.
            let _ = task.await;
        }
        self.count_interrupted();
        reason
    }

    async fn everybody(&self, args: &JourneyArgs, visitors: &mut JoinSet<()>) {
        let started = self.recorder.started();
        let visit_max = Duration::from_secs(args.visitor_seconds);
        let schedule = Schedule::new(args.arrivals, args.users, args.arrivals_per_second, self.seed);
        for (number, offset) in (0..).zip(schedule) {
            let arrival = started + offset;
            tokio::time::sleep_until(arrival).await;
            self.recorder.arrival(arrival);
            visitors.spawn(self.visitor(number, arrival, visit_max));
            while visitors.try_join_next().is_some() {}
        }
        while visitors.join_next().await.is_some() {}
    }

    fn visitor(&self, number: u32, arrival: Instant, visit_max: Duration) -> impl Future<Output = ()> + use<> {
        let (plan, client, recorder) = (self.plan.clone(), self.client.clone(), self.recorder.clone());
        let rng = StdRng::seed_from_u64(self.seed ^ (u64::from(number) + 1).rotate_left(32));
        async move {
            let sender = Sender { client: &client, recorder: &recorder, rng };
            let visitor = Visitor { plan: &plan, sender, number };
            let visit = Box::pin(visitor.visit(arrival));
            let outcome = tokio::time::timeout(visit_max, visit).await.unwrap_or(Outcome::OutOfTime);
            recorder.ended(outcome);
        }
    }

    /// Whoever arrived and has no outcome was stopped on their way.
    fn count_interrupted(&self) {
        let open = self.recorder.read(|figures| figures.arrived - figures.outcomes.values().sum::<u64>());
        for _ in 0..open {
            self.recorder.ended(Outcome::Interrupted);
        }
    }

    fn watcher(&self) -> Watcher {
        Watcher { concert: self.plan.concert, recorder: self.recorder.clone(), watch: self.watch.clone() }
    }

    /// All verdicts: of the stores, of the room while it was watched, and of what the visitors saw.
    async fn judge(&self, args: &JourneyArgs) -> (Vec<Finding>, Vec<(Duration, RoomSample)>) {
        let mut findings = Vec::new();
        if let Some(stores) = &self.stores {
            findings = self.ask_database(stores).await.unwrap_or_else(|error| {
                // What can't be asked doesn't hold until it could be: a failure, not a gap.
                let reason = vec![format!("{error:#}")];
                vec![Finding::new(1, "database", "PostgreSQL can be asked", 1, reason)]
            });
            let watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
            findings.extend(watch.judge.findings());
        }
        findings.extend(self.recorder.read(|figures| report::seen_by_visitors(figures, args.order_slack_ms)));
        findings.sort_by_key(|finding| finding.point);
        let samples = self.watch.lock().unwrap_or_else(PoisonError::into_inner).samples.clone();
        (findings, samples)
    }

    async fn ask_database(&self, stores: &Stores) -> Result<Vec<Finding>> {
        let mut database = Database::connect(&stores.database_url).await?;
        let mut findings = database.check().await?;
        let bought: Vec<_> =
            self.recorder.read(|figures| figures.sales.iter().map(|sale| sale.reservation_id).collect());
        findings.push(database.check_bought(&bought).await?);
        Ok(findings)
    }
}

impl Watch {
    fn new(limits: Limits) -> Self {
        Self { judge: RoomJudge::new(limits), samples: Vec::new(), keep_every: 1, looks: 0 }
    }

    fn see(&mut self, at: Duration, sample: RoomSample) {
        self.judge.see(&sample);
        self.looks += 1;
        if self.looks.is_multiple_of(self.keep_every) {
            self.samples.push((at, sample));
        }
        if self.samples.len() > LOOKS_KEPT_MAX {
            let mut index = 0;
            self.samples.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.keep_every *= 2;
        }
    }
}

/// Looks at the room as long as the run lasts.
struct Watcher {
    concert: Uuid,
    recorder: Arc<Recorder>,
    watch: Arc<Mutex<Watch>>,
}

async fn watch(stores: Stores, watcher: Watcher, stop: CancellationToken) {
    let mut rooms = None;
    loop {
        // A Redis that is away for a moment is the system's affair; the next look tries again.
        if let Err(error) = watcher.look(&stores, &mut rooms).await {
            eprintln!("the room could not be looked at: {error:#}");
            rooms = None;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

impl Watcher {
    async fn look(&self, stores: &Stores, rooms: &mut Option<Rooms>) -> Result<()> {
        let mut connected = match rooms.take() {
            Some(rooms) => rooms,
            None => Rooms::connect(stores).await?,
        };
        let watched = self.lock().judge.watched().to_owned();
        let sample = connected.look(self.concert, &watched).await.context("Redis")?;
        *rooms = Some(connected);
        if sample.epoch > 0 {
            let at = self.recorder.started().elapsed();
            self.lock().see(at, sample);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
