//! Dealing the positions of a draw that is made.

use super::UpkeepError;
use crate::domain::{DrawState, RoomView};
use crate::store::record::Record;
use crate::worker::room::Room;

/// People dealt to in one call: a few milliseconds of Redis.
const BATCH: u32 = 2_000;

/// Gives everyone in the draw their position. What stops half-way goes on where it was: entries do not change, and the
/// positions follow from them.
pub(super) async fn deal(room: &Room, record: Option<&Record>, view: &RoomView) -> Result<(), UpkeepError> {
    debug_assert_eq!(view.draw, DrawState::Dealing);
    let mut entries = view.counts.entries;
    if let Some(record) = record {
        // Before anyone learns of it: a room that loses its memory now must not draw again among others.
        entries = record.note_drawn(room.concert, entries).await?;
    }
    let positions = room.deal.positions(&room.settings(), room.concert, entries).await?;
    loop {
        let people = room.store.gathered(&room.keys, &room.context(), BATCH).await?;
        let dealt: Vec<_> = people
            .into_iter()
            .map(|(user, entry)| {
                let index = usize::try_from(entry).unwrap_or(usize::MAX).wrapping_sub(1);
                // Whoever entered behind the end of the draw keeps their place behind everyone in it.
                (user, entry, positions.get(index).copied().unwrap_or(entry))
            })
            .collect();
        let undealt = room.store.deal(&room.keys, &room.context(), &dealt).await?;
        if undealt == 0 {
            tracing::info!(concert = %room.concert, entries, "the draw is dealt");
            room.wanted.notify_one();
            return Ok(());
        }
    }
}
