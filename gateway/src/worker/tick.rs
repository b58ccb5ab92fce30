//! A room's heartbeat: who is there, whose turn it is, what the room looks like now.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::chart;
use super::room::{Look, Room};
use crate::domain::recovery::{Epoch, Evidence};
use crate::domain::{DrawState, QueueError, RankTable, RateMeter, RoomCounts, RoomView};
use crate::store::record::{RoomRecord, RoomRow};
use crate::store::{RoomError, Snapshot};
use crate::upstream::Concerts;

const TICK: Duration = Duration::from_millis(250);
/// The time before a look that a request asked for.
const TICK_WANTED: Duration = Duration::from_millis(20);
const FACTS_EVERY: Duration = Duration::from_millis(500);
/// The same for a room in which nobody waits who would have to be told.
const FACTS_EVERY_EMPTY: Duration = Duration::from_secs(3);
/// The grain of both.
const FACTS_LOOK: Duration = Duration::from_millis(250);
/// People noted as present in one call.
const PRESENT_BATCH: usize = 2_000;

/// How long a room that was never seen waits for the record.
const MEET_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a tick looks again, after it opened an epoch.
const TRIES: usize = 3;
/// Words retold in one call.
const RETELL_BATCH: usize = 500;

/// What a room's heartbeat remembers from one tick to the next.
#[derive(Debug, Default)]
struct Heartbeat {
    meter: RateMeter,
    left_since_ms: i64,
    /// The counts of the last tick.
    last: Option<RoomCounts>,
    /// The epoch that was retold what this gateway knows.
    retold: Epoch,
}

/// Ticks until `stopping`; rests while nobody uses the room.
pub(super) async fn run(room: Arc<Room>, record: Option<Arc<dyn RoomRecord>>, stopping: CancellationToken) {
    let mut heartbeat = Heartbeat::default();
    loop {
        let looked = heartbeat.tick(&room, record.as_deref()).await;
        let was_away = room.away.swap(looked.is_err(), Ordering::Relaxed);
        match looked {
            Ok(()) if was_away => tracing::info!(concert = %room.concert, "the room is back"),
            // Told once for each time that it goes away, not four times a second.
            Err(error) if !was_away => tracing::warn!(concert = %room.concert, %error, "the room can't be reached"),
            Ok(()) | Err(_) => {}
        }
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = rest(&room) => {}
        }
    }
}

async fn rest(room: &Room) {
    // In an empty room nothing changes by itself: the next request wakes it.
    if room.is_idle() || room.is_empty() {
        if room.is_idle() {
            room.figures.note_rest();
        }
        room.wanted.notified().await;
        return tokio::time::sleep(TICK_WANTED).await;
    }
    // Only a loss is worth a tick of its own: people who join must not make a busy room tick faster.
    tokio::select! {
        biased;
        () = tokio::time::sleep(TICK) => {}
        () = async { room.urgent.notified().await; tokio::time::sleep(TICK_WANTED).await } => {}
    }
}

impl Heartbeat {
    /// Looks at the room. Where its state was lost, the next epoch is opened first.
    async fn tick(&mut self, room: &Room, record: Option<&dyn RoomRecord>) -> Result<(), QueueError> {
        if room.is_unseen()
            && let Some(record) = record
        {
            meet(room, record).await;
        }
        if let Some(lost) = room.take_lost() {
            room.open_next_epoch(lost).await?;
        }
        for _ in 0..TRIES {
            match self.look(room).await {
                Ok(view) => {
                    room.set_finished(false);
                    chart::tell(room, &view).await;
                    return Ok(());
                }
                Err(RoomError::Lost(lost)) if room.is_over_and_empty(lost).await? => {
                    room.set_finished(true);
                    room.set_view(Look { view: Arc::new(finished_view(room, lost.now_ms)), at: Instant::now() });
                    return Ok(());
                }
                Err(RoomError::Lost(lost)) => room.open_next_epoch(lost).await?,
                Err(RoomError::Store(error)) if is_wrong_type(&error) => {
                    let dropped = room.store.drop_unreadable(&room.keys).await?;
                    tracing::error!(concert = %room.concert, dropped, "keys of the room held something else");
                }
                Err(RoomError::Store(error)) => return Err(error.into()),
            }
        }
        Err(QueueError::Rebuilding)
    }

    async fn look(&mut self, room: &Room) -> Result<Arc<RoomView>, RoomError> {
        let context = room.context();
        for seen in room.take_present().chunks(PRESENT_BATCH) {
            room.store.note_present(&room.keys, &context, seen).await?;
        }
        let begun = Instant::now();
        room.store.admit(&room.keys, &context, 0).await?;
        let snapshot = room.store.snapshot(&room.keys, &context, self.left_since_ms).await?;
        if snapshot.counts.rebuilding && self.retold != snapshot.counts.epoch {
            self.retell(room, snapshot.counts.epoch).await?;
        }
        Ok(self.take_in(room, snapshot, begun))
    }

    /// Gives a room that is rebuilt what this gateway answered people of late.
    async fn retell(&mut self, room: &Room, epoch: Epoch) -> Result<(), RoomError> {
        let words = room.words.newest();
        let mut kept = 0;
        for part in words.chunks(RETELL_BATCH) {
            kept += room.store.retell(&room.keys, &room.context(), epoch, part).await?;
        }
        self.retold = epoch;
        tracing::info!(concert = %room.concert, epoch, words = words.len(), kept, "retold what this gateway knows");
        Ok(())
    }

    fn take_in(&mut self, room: &Room, snapshot: Snapshot, begun: Instant) -> Arc<RoomView> {
        let Snapshot { counts, draw, settings, ranks, left, left_until_ms } = snapshot;
        // Half a second of overlap: two gateways' scripts may share a millisecond, and noting someone twice is harmless.
        self.left_since_ms = left_until_ms - 500;
        room.note_left(left);
        let RoomCounts { epoch, version, seq: position, frontier, .. } = counts;
        room.note_seen(Evidence { epoch, version, position, frontier });
        room.take_settings(&settings);
        self.note_join_rate(room, &counts);
        let measured = self.meter.observe(&counts, settings.version);
        let view = Arc::new(RoomView { counts, settings, draw, ranks, measured });
        room.figures.note_view(&view, room.context().sale_over);
        room.set_view(Look { view: Arc::clone(&view), at: begun });
        self.last = Some(counts);
        view
    }

    fn note_join_rate(&self, room: &Room, counts: &RoomCounts) {
        let Some(last) = self.last.filter(|last| last.epoch == counts.epoch && last.now_ms < counts.now_ms) else {
            return;
        };
        let joined = i64::try_from(counts.joins.saturating_sub(last.joins)).unwrap_or(i64::MAX);
        let per_second = joined.saturating_mul(1_000) / (counts.now_ms - last.now_ms);
        room.note_join_rate(u32::try_from(per_second).unwrap_or(u32::MAX));
    }
}

/// Before this gateway answers for a room that it has never seen: how it is run, and how far the record saw it come. Where the
/// record is away, a room that Redis knows is not kept waiting for it: the room itself says in which Redis process it began.
async fn meet(room: &Room, record: &dyn RoomRecord) {
    let read = async {
        room.read_settings(record).await?;
        record.room(room.concert).await
    };
    match tokio::time::timeout(MEET_TIMEOUT, read).await {
        Ok(Ok(Some(RoomRow { at, position }))) => {
            room.note_seen(Evidence { epoch: at.epoch, version: at.version, position, frontier: 0 });
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::warn!(concert = %room.concert, %error, "the record cannot be asked about the room"),
        Err(_) => tracing::warn!(concert = %room.concert, "the record did not answer about the room in time"),
    }
}

/// What is left of a room whose sale is over, once Redis let it go.
fn finished_view(room: &Room, now_ms: i64) -> RoomView {
    let counts = RoomCounts { now_ms, ..RoomCounts::default() };
    RoomView { counts, settings: room.settings(), draw: DrawState::None, ranks: RankTable::default(), measured: None }
}

fn is_wrong_type(error: &lua::StoreError) -> bool {
    // A script that meets it reports it as its own error, with the text of Redis in it.
    matches!(error, lua::StoreError::Redis(error) if error.to_string().contains("WRONGTYPE"))
}

/// Keeps up with what core-api says of the concert until `stopping`. Where it can't be asked, what was last said holds.
pub(super) async fn follow_facts(room: Arc<Room>, concerts: Concerts, stopping: CancellationToken) {
    let mut asked_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(FACTS_LOOK) => {}
        }
        let every = if room.is_empty() { FACTS_EVERY_EMPTY } else { FACTS_EVERY };
        if room.is_idle() || asked_at.elapsed() < every {
            continue;
        }
        asked_at = Instant::now();
        match concerts.ask(room.concert).await {
            Ok(Some(facts)) => room.set_facts(facts),
            Ok(None) => tracing::debug!(concert = %room.concert, "core-api no longer knows this concert"),
            Err(error) => tracing::debug!(concert = %room.concert, %error, "core-api can't be asked"),
        }
    }
}
