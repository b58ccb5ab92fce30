//! A room's heartbeat: who is there, whose turn it is, what the room looks like now.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lua::StoreError;
use tokio_util::sync::CancellationToken;

use super::room::{Room, Seen};
use crate::domain::{RateMeter, RoomView};
use crate::upstream::Concerts;

const TICK: Duration = Duration::from_millis(250);
/// The time between two looks when somebody waits for the first one.
const TICK_WANTED: Duration = Duration::from_millis(20);
const FACTS_EVERY: Duration = Duration::from_secs(1);
/// The same for a room in which nobody waits who would have to be told.
const FACTS_EVERY_EMPTY: Duration = Duration::from_secs(3);
/// The grain of both.
const FACTS_LOOK: Duration = Duration::from_millis(250);
/// People noted as present in one call.
const PRESENT_BATCH: usize = 2_000;

/// Ticks until `stopping`; rests while nobody uses the room.
pub(super) async fn run(room: Arc<Room>, stopping: CancellationToken) {
    let mut meter = RateMeter::default();
    let mut left_since_ms = 0;
    loop {
        let looked = tick(&room, &mut meter, &mut left_since_ms).await;
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
        room.wanted.notified().await;
        return tokio::time::sleep(TICK_WANTED).await;
    }
    tokio::select! {
        () = tokio::time::sleep(TICK) => {}
        () = async { room.wanted.notified().await; tokio::time::sleep(TICK_WANTED).await } => {}
    }
}

async fn tick(room: &Room, meter: &mut RateMeter, left_since_ms: &mut i64) -> Result<(), StoreError> {
    let context = room.context();
    for seen in room.take_present().chunks(PRESENT_BATCH) {
        room.store.note_present(&room.keys, context, seen).await?;
    }
    let rate = room.seen.borrow().as_ref().map_or(0.0, |seen| seen.view.counts.admit_per_second);
    let begun = Instant::now();
    room.store.admit(&room.keys, context, rate).await?;
    let Some(snapshot) = room.store.snapshot(&room.keys, context, *left_since_ms).await? else {
        // It was there a moment ago: Redis has just lost its memory, and the next tick begins the room anew.
        return Ok(());
    };
    // Half a second of overlap: two gateways' scripts may share a millisecond, and noting someone twice is harmless.
    *left_since_ms = snapshot.left_until_ms - 500;
    room.note_left(snapshot.left);
    let view = RoomView {
        measured_per_second: meter.observe(&snapshot.counts),
        counts: snapshot.counts,
        ranks: snapshot.ranks,
    };
    room.seen.send_replace(Some(Seen { view: Arc::new(view), at: begun }));
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
