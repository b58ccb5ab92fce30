//! Many times the load that can be served: a ramp finds out how much that is, then so many times of it is sent.
//!
//! What is asked is what nobody can be spared in a surge and no admission limits: joining and polling, through nginx and a
//! gateway, of a line that is at rest.

mod line;
mod pump;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;
use uuid::Uuid;

use self::line::Line;
use self::pump::{Pace, pump};
use super::super::accounts::Accounts;
use super::super::crowd;
use crate::invariants::Finding;
use crate::stats::overload::{OverloadFigures, Stage};
use crate::usage::{UsageWatch, Watched};

/// No more people than this stand in the line: enough for nobody to ask more often than they may.
const PEOPLE_MAX: u32 = 30_000;
/// They join at this rate first.
const JOINS_PER_SECOND: u32 = 2_000;
/// The ramp begins at this rate, and each step is so many times the one before.
const RAMP_FIRST_PER_SECOND: u32 = 1_000;
const RAMP_STEP: (u32, u32) = (4, 3);
const RAMP_STAGE: Duration = Duration::from_secs(4);
const RAMP_STAGES_MAX: usize = 20;
/// So often in a row a rate must not be kept up with: once may be another program's fault.
const RAMP_FAILURES: u32 = 2;
/// Between two stages, what is left of the one before gets done.
const PAUSE: Duration = Duration::from_secs(2);

/// Options of the overload.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct OverloadArgs {
    /// After the sale: finds out how many joins and polls a second can be served, and sends many times of that
    #[arg(long)]
    pub(super) overload: bool,
    /// How many times the load that can be served is sent then
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    overload_factor: u32,
    /// For how many seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    overload_seconds: u64,
    /// Over how many connections
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    overload_connections: u32,
    /// A request whose moment comes while no connection is free waits for so long, which counts as latency, and is not sent
    /// if there is none then
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    overload_patience_ms: u64,
}

/// Ready to begin.
pub(super) struct Overload {
    args: OverloadArgs,
    line: Arc<Line>,
    people: u32,
    usage: UsageWatch,
}

impl Overload {
    /// Of a line for `concert`, in which nobody is let in, by some of so many `accounts`.
    pub(super) fn new(
        args: OverloadArgs,
        (accounts, count): (Arc<Accounts>, u32),
        concert: Uuid,
        origin: &str,
        processes: Result<Vec<Watched>, String>,
    ) -> Result<Self> {
        let people = count.min(PEOPLE_MAX);
        let line = Arc::new(Line::new(accounts, people, concert, origin)?);
        Ok(Self { args, line, people, usage: UsageWatch::new(processes, Duration::ZERO) })
    }

    /// Runs it all, or as much as there was before Ctrl-C.
    pub(super) async fn run(&self) -> OverloadFigures {
        let mut figures = OverloadFigures {
            connections: self.args.overload_connections,
            patience: Duration::from_millis(self.args.overload_patience_ms),
            factor: self.args.overload_factor,
            people: self.people,
            joining: None,
            ramp: Vec::new(),
            overload: None,
            usage: self.usage.snapshot(),
        };
        let measuring = self.usage.start(Instant::now());
        tokio::select! {
            () = self.stages(&mut figures) => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        // Before anything is waited for: another Ctrl-C means it.
        crowd::leave_at_once_when_asked_again();
        measuring.end().await;
        figures.usage = self.usage.snapshot();
        figures
    }

    async fn stages(&self, figures: &mut OverloadFigures) {
        eprintln!("overload: {} people join a line", self.people);
        let length = Duration::from_secs(self.people.div_ceil(JOINS_PER_SECOND).into());
        // Nobody goes away: all are needed.
        let pace = Pace { per_second: JOINS_PER_SECOND, length, patience: Duration::from_mins(10) };
        figures.joining = Some(self.stage(pace).await);
        let patience = figures.patience;
        let mut per_second = RAMP_FIRST_PER_SECOND;
        let mut failed = 0;
        while figures.ramp.len() < RAMP_STAGES_MAX && failed < RAMP_FAILURES {
            let stage = self.stage(Pace { per_second, length: RAMP_STAGE, patience }).await;
            eprintln!("overload: of {per_second} a second, {:.0} are served in time", stage.goodput());
            if stage.keeps_up() {
                failed = 0;
                per_second = per_second * RAMP_STEP.0 / RAMP_STEP.1;
            } else {
                failed += 1;
            }
            figures.ramp.push(stage);
        }
        let per_second = times(figures.peak(), self.args.overload_factor);
        let length = Duration::from_secs(self.args.overload_seconds);
        eprintln!("overload: {per_second} a second for {} s", length.as_secs());
        figures.overload = Some(self.stage(Pace { per_second, length, patience }).await);
    }

    async fn stage(&self, pace: Pace) -> Stage {
        let stage = pump(&self.line, pace, self.args.overload_connections).await;
        tokio::time::sleep(PAUSE).await;
        stage
    }
}

/// What must hold of every answer, however many are asked for. Where it was ended before the overload, what was seen may be
/// wrong already; that it was right is not known.
pub(super) fn finding(figures: &OverloadFigures) -> Finding {
    let stages = || figures.joining.iter().chain(&figures.ramp).chain(&figures.overload);
    let sum = |count: fn(&Stage) -> u64| stages().map(count).sum::<u64>();
    let kinds = [
        (sum(|stage| stage.without_advice), "429 or 503 without Retry-After"),
        (sum(|stage| stage.other), "other answers"),
        (sum(|stage| stage.no_answer), "sent and not answered"),
    ];
    let broken = kinds.iter().map(|(count, _)| count).sum();
    let seen = kinds.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let title = "under overload each request that was sent was served, or told by 429 or 503 when to come back";
    let finding = Finding::new(4, "overload_answers", title, broken, seen.collect());
    match figures.ended_by() {
        Some(by) if broken == 0 => finding.not_checked(&format!("it was ended by {by} before the overload")),
        _ => finding,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "some hundred thousand, and never negative"
)]
fn times(rate: f64, factor: u32) -> u32 {
    (rate * f64::from(factor)).max(1.0).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::overload::tests::figures;

    #[test]
    fn each_answer_that_tells_nobody_anything_is_found() {
        assert_eq!(finding(&figures()).broken, 0);
        let broken = |change: fn(&mut Stage)| {
            let mut figures = figures();
            figures.overload.iter_mut().for_each(change);
            finding(&figures)
        };
        assert_eq!(broken(|stage| stage.answer(503, false, Duration::ZERO)).broken, 1);
        assert_eq!(broken(|stage| stage.answer(500, true, Duration::ZERO)).broken, 1);
        assert_eq!(broken(|stage| stage.no_answer += 3).examples, ["3 sent and not answered"]);
        assert_eq!(broken(|stage| stage.not_sent += 3).broken, 0, "that is the generator's affair");
        let mut joining = figures();
        joining.joining.iter_mut().for_each(|stage| stage.answer(500, true, Duration::ZERO));
        assert_eq!(finding(&joining).broken, 1, "who is not let into the line is not served");
    }

    #[test]
    fn what_was_ended_before_the_overload_has_not_passed() {
        let mut ended = OverloadFigures { overload: None, ..figures() };
        assert!(!finding(&ended).is_checked());
        ended.ramp.iter_mut().for_each(|stage| stage.no_answer += 1);
        assert!(finding(&ended).is_broken(), "what was seen was seen");
    }

    #[test]
    fn ten_times_nothing_is_still_a_rate() {
        assert_eq!((times(0.0, 10), times(812.4, 10)), (1, 8_124));
    }
}
