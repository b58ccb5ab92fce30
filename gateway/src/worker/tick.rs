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
/// People noted as present in one call.
const PRESENT_BATCH: usize = 2_000;

/// Ticks until `stopping`; rests while nobody uses the room.
pub(super) async fn run(room: Arc<Room>, stopping: CancellationToken) {
    let mut meter = RateMeter::default();
    let mut ended_since_ms = 0;
    loop {
        let looked = tick(&room, &mut meter, &mut ended_since_ms).await;
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
    if room.is_idle() {
        return room.wanted.notified().await;
    }
    tokio::select! {
        () = tokio::time::sleep(TICK) => {}
        () = async { room.wanted.notified().await; tokio::time::sleep(TICK_WANTED).await } => {}
    }
}

async fn tick(room: &Room, meter: &mut RateMeter, ended_since_ms: &mut i64) -> Result<(), StoreError> {
    let context = room.context();
    for seen in room.take_present().chunks(PRESENT_BATCH) {
        room.store.note_present(&room.keys, context, seen).await?;
    }
    let rate = room.seen.borrow().as_ref().map_or(0.0, |seen| seen.view.counts.admit_per_second);
    let begun = Instant::now();
    room.store.admit(&room.keys, context, rate).await?;
    let Some(snapshot) = room.store.snapshot(&room.keys, context, *ended_since_ms).await? else {
        // It was there a moment ago: Redis has just lost its memory, and the next tick begins the room anew.
        return Ok(());
    };
    // Half a second of overlap: two gateways' scripts may share a millisecond, and noting someone twice is harmless.
    *ended_since_ms = snapshot.counts.now_ms - 500;
    room.note_ended(snapshot.ended);
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
    loop {
        tokio::select! {
            () = tokio::time::sleep(FACTS_EVERY) => {}
            () = stopping.cancelled() => return,
        }
        if room.is_idle() {
            continue;
        }
        match concerts.ask(room.concert).await {
            Ok(Some(facts)) => room.set_facts(facts),
            Ok(None) => tracing::warn!(concert = %room.concert, "core-api no longer knows this concert"),
            Err(error) => tracing::debug!(concert = %room.concert, %error, "core-api can't be asked"),
        }
    }
}
