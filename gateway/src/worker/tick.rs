//! A room's heartbeat: who is there, whose turn it is, what the room looks like now.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::chart;
use super::room::{Look, Room};
use crate::domain::{DrawState, QueueError, RateMeter, RoomCounts, RoomView};
use crate::store::record::Record;
use crate::store::{Seen, Snapshot};
use crate::upstream::Concerts;

const TICK: Duration = Duration::from_millis(250);
/// The time between two looks when somebody waits for the first one.
const TICK_WANTED: Duration = Duration::from_millis(20);
const FACTS_EVERY: Duration = Duration::from_millis(500);
/// The same for a room in which nobody waits who would have to be told.
const FACTS_EVERY_EMPTY: Duration = Duration::from_secs(3);
/// The grain of both.
const FACTS_LOOK: Duration = Duration::from_millis(250);
/// People noted as present in one call.
const PRESENT_BATCH: usize = 2_000;

/// People put back in one call.
const RESTORE_BATCH: usize = 1_000;

/// What a room's heartbeat remembers from one tick to the next.
#[derive(Debug, Default)]
struct Heartbeat {
    meter: RateMeter,
    left_since_ms: i64,
    /// The counts of the last tick.
    last: Option<RoomCounts>,
}

/// Ticks until `stopping`; rests while nobody uses the room.
pub(super) async fn run(room: Arc<Room>, record: Option<Record>, stopping: CancellationToken) {
    let mut heartbeat = Heartbeat::default();
    loop {
        let looked = heartbeat.tick(&room, record.as_ref()).await;
        let was_away = room.away.swap(looked.is_err(), Ordering::Relaxed);
        match looked {
            Ok(()) if was_away => tracing::info!(concert = %room.concert, "the room is back"),
            // Told once for each time that it goes away, not four times a second.
            Err(error) if !was_away => tracing::warn!(concert = %room.concert, %error, "the room can't be reached"),
            Ok(()) | Err(_) => {}
        }
        tokio::select! {
            () = rest(&room) => {}
            () = stopping.cancelled() => return,
        }
    }
}

async fn rest(room: &Room) {
    // Where nobody is, nothing changes by itself: the next one who asks is waited for.
    if room.is_idle() || room.is_empty() {
        if room.is_idle() {
            room.figures.note_rest();
        }
        room.wanted.notified().await;
        return tokio::time::sleep(TICK_WANTED).await;
    }
    tokio::select! {
        () = tokio::time::sleep(TICK) => {}
        () = async { room.wanted.notified().await; tokio::time::sleep(TICK_WANTED).await } => {}
    }
}

impl Heartbeat {
    async fn tick(&mut self, room: &Room, record: Option<&Record>) -> Result<(), QueueError> {
        if room.is_unseen()
            && let Some(record) = record
        {
            ask_the_record(room, record).await?;
        }
        let context = room.context();
        for seen in room.take_present().chunks(PRESENT_BATCH) {
            room.store.note_present(&room.keys, &context, seen).await?;
        }
        let begun = Instant::now();
        room.store.admit(&room.keys, &context, 0).await?;
        let Some(snapshot) = room.store.snapshot(&room.keys, &context, self.left_since_ms).await? else {
            // It was there a moment ago: Redis has just lost its memory, and the next tick begins the room anew.
            return Ok(());
        };
        if self.last.is_some_and(|last| last.epoch != snapshot.counts.epoch) {
            self.tell_again(room, &snapshot).await?;
        }
        let view = self.take_in(room, snapshot, begun);
        chart::tell(room, &view).await;
        Ok(())
    }

    /// A new life of the room: whatever this gateway told people of late, the room is told again.
    async fn tell_again(&self, room: &Room, snapshot: &Snapshot) -> Result<(), QueueError> {
        let last = room.latest_view();
        let draw = last.map_or((DrawState::None, 0), |view| (view.draw, view.counts.entries));
        let people = room.recent.people();
        tracing::warn!(
            concert = %room.concert, epoch = snapshot.counts.epoch, people = people.len(),
            "the room lost its memory; it is told again what this gateway knows"
        );
        for part in people.chunks(RESTORE_BATCH) {
            room.store.restore(&room.keys, &room.context(), draw, part, false).await?;
        }
        Ok(())
    }

    fn take_in(&mut self, room: &Room, snapshot: Snapshot, begun: Instant) -> Arc<RoomView> {
        let Snapshot { counts, draw, settings, ranks, left, left_until_ms } = snapshot;
        // Half a second of overlap: two gateways' scripts may share a millisecond, and noting someone twice is harmless.
        self.left_since_ms = left_until_ms - 500;
        room.note_left(left);
        room.note_seen(Seen { position: counts.seq, epoch: counts.epoch, changes: counts.changes });
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
        let joined = i64::from(counts.seq.saturating_sub(last.seq));
        let per_second = joined * 1_000 / (counts.now_ms - last.now_ms);
        room.note_join_rate(u32::try_from(per_second).unwrap_or(u32::MAX));
    }
}

/// Before this gateway says a word about a room that it has never seen: how it is run, and where Redis does not know the
/// room, how far it had come. A room that Redis knows is not kept waiting for the record.
async fn ask_the_record(room: &Room, record: &Record) -> Result<(), QueueError> {
    let is_known = room.store.snapshot(&room.keys, &room.context(), i64::MAX).await?.is_some();
    if is_known {
        return Ok(());
    }
    let away = |error: crate::store::record::RecordError| QueueError::StoreAway(error.to_string());
    room.read_settings(record).await.map_err(away)?;
    if let Some(known) = record.last_known(room.concert).await.map_err(away)? {
        room.note_seen(Seen { position: known.position, epoch: known.epoch, changes: 0 });
    }
    Ok(())
}

/// Keeps up with what core-api says of the concert until `stopping`. Where it can't be asked, what was last said holds.
pub(super) async fn follow_facts(room: Arc<Room>, concerts: Concerts, stopping: CancellationToken) {
    let mut asked_at = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(FACTS_LOOK) => {}
            () = stopping.cancelled() => return,
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
