//! Dealing the positions of a draw that is made.

use super::{Tools, UpkeepError, holds_lease};
use crate::domain::{DrawState, RoomView};
use crate::worker::room::Room;

/// People dealt to in one call: a few milliseconds of Redis.
const BATCH: u32 = 2_000;

/// Gives everyone in the draw their position. What stops half-way goes on where it was: entries do not change, and the
/// positions follow from them.
pub(super) async fn deal(room: &Room, tools: &Tools, view: &RoomView) -> Result<(), UpkeepError> {
    debug_assert_eq!(view.draw, DrawState::Dealing);
    let mut entries = view.counts.entries;
    if !holds_lease(room, tools, "deal").await? {
        return Ok(());
    }
    if let Some(record) = &tools.record {
        // Before anyone learns of it: a room whose state is lost now must not draw again among others.
        entries = record.note_drawn(room.concert, entries).await?;
    }
    let positions = room.deal.positions(&room.settings(), room.concert, entries).await?;
    // Renewed with each step: dealing to millions takes longer than a lease.
    while holds_lease(room, tools, "deal").await? {
        let people = room.store.gathered(&room.keys, &room.context(), BATCH).await?;
        let dealt: Vec<_> = people
            .into_iter()
            .map(|(user, entry)| {
                let index = usize::try_from(entry).unwrap_or(usize::MAX).wrapping_sub(1);
                // An entry behind the end of the draw stays behind everyone in it.
                (user, entry, positions.get(index).copied().unwrap_or(entry))
            })
            .collect();
        let undealt = room.store.deal(&room.keys, &room.context(), &dealt).await?;
        if undealt == 0 {
            tracing::info!(concert = %room.concert, entries, "the draw is dealt");
            room.wanted.notify_one();
            break;
        }
    }
    Ok(())
}
