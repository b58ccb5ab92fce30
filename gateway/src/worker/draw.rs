//! The positions that a room's draw deals, worked out once when they are first needed.

use std::sync::Arc;

use common::draw::{MAX_ENTRIES, Seed};
use common::ids::ConcertId;
use tokio::sync::OnceCell;

use crate::domain::{QueueError, RoomSettings};

/// The outcome of a draw: a room has one draw, and so one of these.
#[derive(Debug, Default)]
pub(super) struct Deal(OnceCell<Arc<[u32]>>);

impl Deal {
    /// All positions, that of entry 1 first.
    pub(super) async fn positions(
        &self,
        settings: &RoomSettings,
        concert: ConcertId,
        entries: u32,
    ) -> Result<Arc<[u32]>, QueueError> {
        let seed = settings.seed.as_deref().and_then(|hex| Seed::from_hex(hex).ok());
        // Without the seed the draw can't be told; the settings that name it may be on their way.
        let seed = seed.filter(|_| entries <= MAX_ENTRIES).ok_or(QueueError::Rebuilding)?;
        let dealt = self.0.get_or_try_init(|| async move {
            // Seconds of work for millions of entries: not on a thread that answers requests.
            let dealt = tokio::task::spawn_blocking(move || seed.positions(concert, entries)).await;
            dealt.map(Arc::from).map_err(|_| QueueError::Overloaded)
        });
        dealt.await.map(Arc::clone)
    }

    /// The position of one entry.
    pub(super) async fn position(
        &self,
        settings: &RoomSettings,
        concert: ConcertId,
        entries: u32,
        entry: u32,
    ) -> Result<u32, QueueError> {
        let positions = self.positions(settings, concert, entries).await?;
        let index = usize::try_from(entry).ok().and_then(|entry| entry.checked_sub(1));
        Ok(index.and_then(|index| positions.get(index)).copied().unwrap_or(entry))
    }
}
