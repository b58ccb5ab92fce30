//! The room in Redis (key names and one typed function for each script), its record in `PostgreSQL`, and the log of ended
//! sessions.

mod chart;
mod events;
mod keys;
mod queue;
pub mod record;
mod recovery;
mod replies;
mod sessions;

pub use events::{Batch, StreamId};
pub use keys::RoomKeys;
pub use queue::{
    Admitted, Arrival, Arrivals, LeaseCheck, Lost, Opening, PollToken, QueueStore, Restoring, RoomContext, RoomError,
    Snapshot, Source,
};
pub use sessions::EndedLog;

use crate::domain::QueueError;

impl From<lua::StoreError> for QueueError {
    fn from(error: lua::StoreError) -> Self {
        Self::StoreAway(error.to_string())
    }
}

impl From<RoomError> for QueueError {
    fn from(error: RoomError) -> Self {
        match error {
            RoomError::Store(error) => error.into(),
            RoomError::Lost(_) => Self::Rebuilding,
        }
    }
}
