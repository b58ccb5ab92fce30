//! Writing what happened behind: from the room's stream of events to the record.

use std::collections::BTreeMap;

use common::ids::{ConcertId, UserId};
use common::language::Language;
use common::tokens::{Pass, PassId, Ticket};
use sha2::{Digest as _, Sha256};

use super::{Tools, UpkeepError, takes_turn};
use crate::domain::{Event, Happened, Pace};
use crate::store::Batch;
use crate::store::record::{Record, WrittenRow};
use crate::worker::room::Room;

/// Batches read at once, and events written in one transaction at most (but for one batch that has more).
const BATCHES: usize = 200;
const EVENTS: usize = 5_000;

/// Records what there is, as long as this gateway has the turn at it.
pub(super) async fn record(room: &Room, tools: &Tools, record: &Record) -> Result<(), UpkeepError> {
    while takes_turn(room, tools, "record").await? {
        let mut batches = room.store.unrecorded(&room.keys, BATCHES).await?;
        if batches.is_empty() {
            break;
        }
        batches.truncate(whole_batches(&batches));
        let rows = rows(room, tools, &batches);
        record.write(room.concert, &batches, &rows).await?;
        room.store.forget_recorded(&room.keys, &batches).await?;
        let pace = room.latest_view().map(|view| Pace::of(&view));
        room.figures.note_recorded(&batches, pace.as_ref());
    }
    Ok(())
}

/// How many of the first batches fit into one transaction; at least one.
fn whole_batches(batches: &[Batch]) -> usize {
    let mut events = 0;
    let fit = batches.iter().take_while(|batch| {
        events += batch.events.len();
        events <= EVENTS
    });
    fit.count().max(1)
}

/// What the batches make of each person's row, by user, so that two gateways lock rows in one order.
fn rows(room: &Room, tools: &Tools, batches: &[Batch]) -> Vec<WrittenRow> {
    let pace = room.latest_view().map(|view| Pace::of(&view));
    let wait_time = |ahead| pace.map(|pace| Language::Korean.duration(pace.wait(ahead).expected_seconds));
    let mut rows: BTreeMap<UserId, WrittenRow> = BTreeMap::new();
    for batch in batches {
        for event in &batch.events {
            let Some(user) = event.user else { continue };
            let row = rows.entry(user).or_insert_with(|| WrittenRow {
                user,
                position: None,
                status: "waiting",
                epoch: batch.epoch,
                wait_time: None,
                token: None,
                admission: None,
                recorded: batch.id,
            });
            row.epoch = batch.epoch;
            row.recorded = batch.id;
            if event.position > 0 {
                row.position = Some(event.position);
            }
            row.status = status(event.happened);
            apply(row, event, batch, (room.concert, tools), wait_time);
        }
    }
    rows.into_values().collect()
}

fn apply(
    row: &mut WrittenRow,
    event: &Event,
    batch: &Batch,
    (concert, tools): (ConcertId, &Tools),
    wait_time: impl Fn(u32) -> Option<String>,
) {
    let (user, position) = (row.user, event.position);
    let ticket = |ahead| {
        let issued_at = u32::try_from(batch.at_ms / 1_000).unwrap_or(0);
        let ticket = Ticket { user, concert, position, epoch: batch.epoch, issued_at, ahead };
        hash(&tools.tickets.sign(&ticket))
    };
    match event.happened {
        Happened::Joined { ahead } => {
            row.wait_time = wait_time(ahead);
            row.token = Some(ticket(Some(ahead)));
        }
        Happened::Entered => row.token = Some(ticket(None)),
        Happened::Admitted { nonce, lease_end_ms, cap_ms } => {
            let expires_at = chrono::DateTime::from_timestamp_millis(lease_end_ms).unwrap_or_default();
            let pass = Pass { user, concert, id: PassId { position, nonce }, expires_at };
            row.token = Some(hash(&tools.passes.sign(&pass)));
            row.admission = Some((nonce, batch.at_ms, lease_end_ms, cap_ms));
        }
        _ => {}
    }
}

/// Where an event leaves a person, as the column `status` says it.
fn status(happened: Happened) -> &'static str {
    match happened {
        Happened::Joined { .. }
        | Happened::Dealt
        | Happened::Restored
        | Happened::Moved
        | Happened::Returned
        // These happen to a room and to nobody in it.
        | Happened::Lost
        | Happened::Drawn => {
            "waiting"
        }
        Happened::Entered => "entered",
        Happened::Offered => "offered",
        Happened::Absent | Happened::Unclaimed => "away",
        Happened::Admitted { .. } => "admitted",
        Happened::Expired => "expired",
        Happened::Left => "left",
        Happened::Removed => "removed",
        Happened::Paid => "paid",
    }
}

fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}
