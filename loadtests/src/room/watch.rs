//! Looking at a room again and again while a run lasts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Limits, RoomJudge, RoomSample, Rooms};
use crate::invariants::{Finding, Stores};

/// How often the room in Redis is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks that are kept for the graphs; when there are more, every other one is dropped.
const LOOKS_KEPT_MAX: usize = 2_000;

/// What the looks at one room showed. Cloning it shares that.
#[derive(Debug, Clone)]
pub(crate) struct RoomWatch(Arc<Mutex<Looks>>);

#[derive(Debug)]
struct Looks {
    judge: RoomJudge,
    kept: Vec<(Duration, RoomSample)>,
    /// Every how many looks one is kept.
    keep_every: usize,
    count: usize,
}

impl RoomWatch {
    /// `defaults` hold for what the room itself does not set.
    pub(crate) fn new(defaults: Limits) -> Self {
        let judge = RoomJudge::new(defaults);
        Self(Arc::new(Mutex::new(Looks { judge, kept: Vec::new(), keep_every: 1, count: 0 })))
    }

    /// Looks at a concert's room from now on; at none without `stores`.
    pub(crate) fn start(&self, stores: Option<&Stores>, concert: Uuid, started: Instant) -> Watching {
        let stop = CancellationToken::new();
        let run = stores.map(|stores| self.clone().run(stores.clone(), concert, started, stop.clone()));
        Watching { stop, task: run.map(tokio::spawn) }
    }

    async fn run(self, stores: Stores, concert: Uuid, started: Instant, stop: CancellationToken) {
        let mut rooms = None;
        loop {
            // A Redis that is away for a moment is the system's affair; the next look tries again.
            if let Err(error) = self.look(&stores, concert, started, &mut rooms).await {
                eprintln!("the room could not be looked at: {error:#}");
                rooms = None;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&self, stores: &Stores, concert: Uuid, started: Instant, rooms: &mut Option<Rooms>) -> Result<()> {
        let mut connected = match rooms.take() {
            Some(rooms) => rooms,
            None => Rooms::connect(stores).await?,
        };
        let watched = self.lock().judge.watched().to_owned();
        let sample = connected.look(concert, &watched).await.context("Redis")?;
        *rooms = Some(connected);
        if sample.epoch > 0 {
            self.lock().see(started.elapsed(), sample);
        }
        Ok(())
    }

    /// The verdicts on order and limits.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.lock().judge.findings()
    }

    /// Looks over the whole run, by time since its start.
    pub(crate) fn samples(&self) -> Vec<(Duration, RoomSample)> {
        self.lock().kept.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The looking itself.
#[derive(Debug)]
pub(crate) struct Watching {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Watching {
    /// Ends it, after the look that is under way.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            // It does not fail; a panic in it has been printed already.
            let _ = task.await;
        }
    }
}

impl Looks {
    fn see(&mut self, at: Duration, sample: RoomSample) {
        self.judge.see(&sample);
        self.count += 1;
        if self.count.is_multiple_of(self.keep_every) {
            self.kept.push((at, sample));
        }
        if self.kept.len() > LOOKS_KEPT_MAX {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.keep_every *= 2;
        }
    }
}
