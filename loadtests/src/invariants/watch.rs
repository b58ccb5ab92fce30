//! Asking the stores again and again while a run lasts: what must always hold has to hold in the middle too.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::locks::{LOCK_OUTLIVES, Locks, Orphans, SeatLock};
use super::{Broken, Database, Finding, Stores};

/// How often the stores are asked, unless told otherwise.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How many reasons why they could not be asked are kept.
const REASONS_MAX: usize = 3;

/// What the questions to the stores showed. Cloning it shares that.
#[derive(Debug, Clone)]
pub(crate) struct StoreWatch {
    seen: Arc<Mutex<Seen>>,
    ask_every: Duration,
}

impl Default for StoreWatch {
    fn default() -> Self {
        Self::every(ASK_EVERY)
    }
}

#[derive(Debug, Default)]
struct Seen {
    /// How often everything was asked.
    asked: u64,
    /// What was found broken, by the check's name.
    broken: BTreeMap<&'static str, Broken>,
    orphans: Orphans,
    not_asked: Vec<String>,
}

/// The watching itself.
#[derive(Debug)]
pub(crate) struct Watching {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// The connections of one watcher.
struct Connections {
    database: Database,
    locks: Locks,
}

impl StoreWatch {
    /// Asks so often.
    pub(crate) fn every(ask_every: Duration) -> Self {
        Self { seen: Arc::default(), ask_every }
    }

    /// Asks about everything, and the locks of one concert's seats, from now on; nothing without `stores`.
    pub(crate) fn start(&self, stores: Option<&Stores>, concert: Uuid) -> Watching {
        let stop = CancellationToken::new();
        let run = stores.map(|stores| self.clone().run(stores.clone(), concert, stop.clone()));
        Watching { stop, task: run.map(tokio::spawn) }
    }

    async fn run(self, stores: Stores, concert: Uuid, stop: CancellationToken) {
        let mut connections = None;
        let mut ticks = tokio::time::interval(self.ask_every);
        // A slow answer under load makes the next question late, never two at once.
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            // A server that is away for a moment is the system's affair; the next question tries again.
            if let Err(error) = self.ask(&stores, concert, &mut connections).await {
                self.seen().note_not_asked(&error);
                connections = None;
            }
        }
    }

    async fn ask(&self, stores: &Stores, concert: Uuid, kept: &mut Option<Connections>) -> Result<()> {
        let mut connections = match kept.take() {
            Some(connections) => connections,
            None => Connections::open(stores, concert).await?,
        };
        let findings = connections.database.check().await?;
        let locked = connections.locks.look(&mut connections.database).await?;
        *kept = Some(connections);
        self.seen().note(&findings, &locked, Instant::now());
        Ok(())
    }

    /// The verdicts: one for all the questions to `PostgreSQL`, and one for the locks.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let seen = self.seen();
        let asked = seen.asked;
        let always = Broken::sum(&seen.broken).finding(
            1,
            "held_throughout",
            &format!("all of these held each of the {asked} times that they were asked during the run"),
        );
        let orphans = seen.orphans.broken().finding(
            1,
            "lock_has_reservation",
            &format!("no seat was locked for over {} s without a reservation", LOCK_OUTLIVES.as_secs()),
        );
        let unknown = (asked == 0).then(|| format!("the stores were never asked: {}", seen.not_asked.join("; ")));
        let known = |finding: Finding| match &unknown {
            Some(reason) => finding.not_checked(reason),
            None => finding,
        };
        vec![known(always), known(orphans)]
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connections {
    async fn open(stores: &Stores, concert: Uuid) -> Result<Self> {
        Ok(Self { database: Database::connect(&stores.database_url).await?, locks: Locks::connect(stores, concert)? })
    }
}

impl Seen {
    fn note(&mut self, findings: &[Finding], locked: &HashMap<SeatLock, bool>, now: Instant) {
        self.asked += 1;
        for finding in findings.iter().filter(|finding| finding.is_broken()) {
            let example = finding.examples.first().map_or("", String::as_str);
            self.broken.entry(finding.name).or_default().note(format!("{}: {example}", finding.name));
        }
        self.orphans.see(locked, now);
    }

    fn note_not_asked(&mut self, error: &anyhow::Error) {
        if self.not_asked.len() < REASONS_MAX {
            eprintln!("seats and money could not be checked: {error:#}");
            self.not_asked.push(format!("{error:#}"));
        }
    }
}

impl Watching {
    /// Ends it, after the question that is under way.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            // It does not fail; a panic in it has been printed already.
            let _ = task.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(name: &'static str) -> Finding {
        Finding::new(1, name, "title", 2, vec!["seat 1".to_owned(), "seat 2".to_owned()])
    }

    #[test]
    fn what_was_broken_once_stays_broken() {
        let watch = StoreWatch::default();
        let whole = Finding::new(1, "seat_sold_once", "title", 0, Vec::new());
        watch.seen().note(&[broken("seat_sold_once")], &HashMap::new(), Instant::now());
        watch.seen().note(&[whole], &HashMap::new(), Instant::now());
        let findings = watch.findings();
        assert_eq!((findings[0].broken, findings[0].is_broken()), (1, true));
        assert_eq!(findings[0].examples, ["seat_sold_once: seat 1"]);
        assert!(findings[0].title.contains("each of the 2 times"), "{}", findings[0].title);
        assert!(findings[1].is_checked() && !findings[1].is_broken());
    }

    #[test]
    fn what_was_never_asked_is_not_called_kept() {
        let watch = StoreWatch::default();
        watch.seen().note_not_asked(&anyhow::anyhow!("PostgreSQL is away"));
        let findings = watch.findings();
        assert!(findings.iter().all(|finding| !finding.is_checked()));
        assert!(findings[0].not_checked.as_deref().is_some_and(|reason| reason.contains("PostgreSQL is away")));
    }
}
