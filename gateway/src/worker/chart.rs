//! What this process tells of a room for operators, once a second, and what it reads of it while somebody watches.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use common::ids::ConcertId;

use super::room::Room;
use crate::domain::{Chart, Counted, QueueError, RoomSight, RoomView, Second};
use crate::store::QueueStore;

/// How old what was read may be: one reading a second serves all who watch a room.
const READ_EVERY: Duration = Duration::from_millis(900);

/// Answers of this process, whatever was asked for, that say that the service failed. Cloning it shares the count.
#[derive(Debug, Clone, Default)]
pub struct Failures(Arc<AtomicU64>);

impl Failures {
    /// Counts one.
    pub fn note(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What this process has counted of a room and not told yet. Counting is an addition.
#[derive(Debug)]
pub(super) struct Counting {
    joins: AtomicU64,
    polls: AtomicU64,
    failures: Failures,
    failures_told: AtomicU64,
    /// The second of Redis' clock in which it was told last.
    told_in: AtomicU64,
}

impl Counting {
    pub(super) fn new(failures: Failures) -> Self {
        let failures_told = failures.count().into();
        Self { joins: 0.into(), polls: 0.into(), failures, failures_told, told_in: 0.into() }
    }

    pub(super) fn note_join(&self) {
        self.joins.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_poll(&self) {
        self.polls.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes what was counted. It is not put back where it can't be told: a call that seemed to fail may have arrived.
    fn take(&self) -> Counted {
        let failures = self.failures.count();
        let told = self.failures_told.swap(failures, Ordering::Relaxed);
        Counted {
            joins: self.joins.swap(0, Ordering::Relaxed),
            polls: self.polls.swap(0, Ordering::Relaxed),
            errors: failures.saturating_sub(told),
        }
    }

    /// Whether it is time: once in each second of the clock that points are told by, so that each gateway is in each point.
    fn is_due(&self, now_ms: i64) -> bool {
        let second = u64::try_from(now_ms / 1_000).unwrap_or(0);
        self.told_in.swap(second, Ordering::Relaxed) != second
    }
}

/// Tells what was counted and what the room looks like, if it is time to. A chart is for looking at: the room goes on
/// where it can't be told.
pub(super) async fn tell(room: &Room, view: &RoomView) {
    if !room.counting.is_due(view.counts.now_ms) {
        return;
    }
    let sight = RoomSight::of(view, &room.facts());
    if let Err(error) = room.store.add_to_chart(room.concert, room.counting.take(), &sight, 0).await {
        tracing::debug!(concert = %room.concert, %error, "the room's chart has a gap");
    }
}

/// The chart of a room as those who watch it here share it; gone with the last of them.
#[derive(Debug)]
pub struct WatchedChart {
    concert: ConcertId,
    store: QueueStore,
    read: tokio::sync::Mutex<(Option<Instant>, Chart)>,
}

impl WatchedChart {
    /// The seconds behind that one. Reads what is new, unless somebody else has just done so.
    pub async fn since(&self, second: i64) -> Result<Vec<Second>, QueueError> {
        let mut read = self.read.lock().await;
        let (read_at, chart) = &mut *read;
        if read_at.is_none_or(|at| at.elapsed() >= READ_EVERY) {
            let points = self.store.chart(self.concert, chart.latest()).await?;
            *read_at = Some(Instant::now());
            chart.extend(points);
        }
        Ok(chart.since(second))
    }
}

/// Who watches a room in this process, if anybody.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<Weak<WatchedChart>>);

impl Watched {
    /// The chart that is shared, made where nobody watches yet.
    pub(super) fn chart(&self, concert: ConcertId, store: &QueueStore) -> Arc<WatchedChart> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chart) = shared.upgrade() {
            return chart;
        }
        let chart = Arc::new(WatchedChart { concert, store: store.clone(), read: tokio::sync::Mutex::default() });
        *shared = Arc::downgrade(&chart);
        chart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_told_once() {
        let failures = Failures::default();
        failures.note();
        let counting = Counting::new(failures.clone());
        counting.note_join();
        counting.note_poll();
        counting.note_poll();
        failures.note();
        assert_eq!(counting.take(), Counted { joins: 1, polls: 2, errors: 1 }, "what failed before is not this room's");
        assert_eq!(counting.take(), Counted::default());
        assert_eq!([5_000, 5_999, 6_000].map(|now_ms| counting.is_due(now_ms)), [true, false, true]);
    }
}
