//! A crowd: visitors who arrive when the schedule says so, however slow the answers are.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;
use crate::schedule::Schedule;
use crate::stats::{Outcome, Recorder};

/// What shells say of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Who comes when, and for how long at most.
pub(super) struct Crowd {
    pub(super) recorder: Arc<Recorder>,
    pub(super) users: u32,
    pub(super) schedule: Schedule,
    /// The run ends after this time, whatever is still under way.
    pub(super) length_max: Duration,
    /// What is said where that ended it.
    pub(super) too_long: &'static str,
}

impl Crowd {
    /// Lets everybody in when their time comes, and waits until all are done. `visitor` makes a visit from the
    /// visitor's number and intended arrival. The answer says what ended the run before all were done.
    pub(super) async fn send<V>(self, visitor: impl Fn(u32, Instant) -> V) -> Option<&'static str>
    where
        V: Future<Output = Outcome> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let progress = tokio::spawn(Progress::new(self.recorder.clone(), self.users).run(stop.clone()));
        let mut visitors = JoinSet::new();
        let deadline = self.recorder.started() + self.length_max;
        let recorder = self.recorder.clone();
        let too_long = self.too_long;
        let reason = tokio::select! {
            () = self.everybody(visitor, &mut visitors) => None,
            () = tokio::time::sleep_until(deadline) => Some(too_long),
            _ = tokio::signal::ctrl_c() => Some("Ctrl-C"),
        };
        visitors.shutdown().await;
        stop.cancel();
        // It does not fail; a panic in it has been printed already.
        let _ = progress.await;
        count_interrupted(&recorder);
        reason
    }

    async fn everybody<V>(self, visitor: impl Fn(u32, Instant) -> V, visitors: &mut JoinSet<()>)
    where
        V: Future<Output = Outcome> + Send + 'static,
    {
        let started = self.recorder.started();
        for (number, offset) in (0..).zip(self.schedule) {
            let arrival = started + offset;
            tokio::time::sleep_until(arrival).await;
            self.recorder.arrival(arrival);
            let (visit, recorder) = (visitor(number, arrival), self.recorder.clone());
            visitors.spawn(async move { recorder.ended(visit.await) });
            while visitors.try_join_next().is_some() {}
        }
        while visitors.join_next().await.is_some() {}
    }
}

/// Whoever arrived and has no outcome was stopped on their way.
fn count_interrupted(recorder: &Recorder) {
    let open = recorder.read(|figures| figures.arrived - figures.outcomes.values().sum::<u64>());
    for _ in 0..open {
        recorder.ended(Outcome::Interrupted);
    }
}

/// To be called when the load is over: a Ctrl-C before ended the load and left the checks, another one means it.
pub(super) fn leave_at_once_when_asked_again() {
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(INTERRUPTED);
        }
    });
}
