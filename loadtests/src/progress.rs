//! What a person sees while a run is under way.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::stats::{Figures, Outcome, Recorder};

/// A bar is redrawn this often; a log gets a line less often.
const BAR_STEP: Duration = Duration::from_millis(200);
const LINE_STEP: Duration = Duration::from_secs(5);

/// A bar on a terminal, plain lines elsewhere; on stderr, as stdout is for results.
pub(crate) struct Progress {
    recorder: Arc<Recorder>,
    users: u32,
}

impl Progress {
    pub(crate) fn new(recorder: Arc<Recorder>, users: u32) -> Self {
        Self { recorder, users }
    }

    /// Shows the progress until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(self.users.into());
            // The template is a constant; should it ever be wrong, the default bar does.
            if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:40} {pos}/{len} done · {msg}") {
                bar.set_style(style);
            }
            self.every(BAR_STEP, &stop, |figures| {
                bar.set_position(figures.outcomes.values().sum());
                bar.set_message(line(figures));
            })
            .await;
            bar.finish_and_clear();
        } else {
            self.every(LINE_STEP, &stop, |figures| {
                let done: u64 = figures.outcomes.values().sum();
                eprintln!("{done}/{} done · {}", self.users, line(figures));
            })
            .await;
        }
    }

    async fn every(&self, interval: Duration, stop: &CancellationToken, show: impl Fn(&Figures)) {
        let mut ticks = tokio::time::interval(interval);
        ticks.tick().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.recorder.read(&show),
            }
        }
    }
}

/// A bar for what is done before a run, of which `what` says what it counts; only a terminal shows it.
pub(crate) fn preparing(count: u32, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(count.into()).with_message(what);
    // The template is a constant; should it ever be wrong, the default bar does.
    if let Ok(style) = ProgressStyle::with_template("{elapsed_precise} {bar:40} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn line(figures: &Figures) -> String {
    let inside = figures.arrived - figures.outcomes.values().sum::<u64>();
    let mut line = format!("{} arrived, {inside} on their way, {} admitted", figures.arrived, figures.admitted);
    if !figures.sales.is_empty() {
        line.extend([", ", &figures.sales.len().to_string(), " sold"]);
    }
    match figures.outcome(Outcome::Failed) {
        0 => line,
        failed => format!("{line}, {failed} failed"),
    }
}
