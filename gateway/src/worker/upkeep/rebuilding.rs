//! Putting a room together that lost its memory.

use common::ids::UserId;
use uuid::Uuid;

use super::UpkeepError;
use crate::domain::DrawState;
use crate::store::record::{Record, RecordedPerson};
use crate::store::{Forgotten, Was};
use crate::worker::room::Room;

/// People read and put back at once.
const BATCH: i64 = 5_000;
/// People put back in one call: some milliseconds of Redis.
const CALL: usize = 1_000;

/// Puts everyone back whom the record knows, and ends the rebuilding. What other gateways know of the last moments,
/// they put back themselves.
pub(super) async fn rebuild(room: &Room, record: &Record) -> Result<(), UpkeepError> {
    let stored = record.settings(room.concert).await?;
    let draw = match stored.as_ref().and_then(|stored| stored.drawn_entries) {
        Some(entries) => (DrawState::Dealing, entries),
        None => (DrawState::None, 0),
    };
    if let Some(stored) = stored {
        room.take_settings(&stored.settings.into());
    }
    let (mut behind, mut put) = ((0, UserId::from(Uuid::nil())), 0);
    loop {
        let people = record.people(room.concert, behind, BATCH).await?;
        let Some(last) = people.last() else { break };
        behind = (last.position, last.user);
        let forgotten: Vec<Forgotten> = people.iter().filter_map(forgotten).collect();
        for part in forgotten.chunks(CALL) {
            put += room.store.restore(&room.keys, &room.context(), draw, part, false).await?;
        }
    }
    room.store.restore(&room.keys, &room.context(), draw, &room.recent.people_at_most(CALL), true).await?;
    room.figures.note_rebuilt();
    tracing::info!(concert = %room.concert, put, "the room is put together again from the record");
    room.wanted.notify_one();
    Ok(())
}

fn forgotten(person: &RecordedPerson) -> Option<Forgotten> {
    let was = match person.status.as_str() {
        "waiting" | "offered" | "away" => Was::Waiting,
        "entered" => Was::Entered,
        "admitted" => {
            let (nonce, lease_end_ms, cap_ms) = person.admission?;
            Was::Admitted { nonce, lease_end_ms, cap_ms }
        }
        "left" | "removed" | "paid" => Was::Left,
        _ => return None,
    };
    Some(Forgotten { user: person.user, position: person.position, was })
}
