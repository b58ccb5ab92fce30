//! The room in Redis (key names and one typed function for each script), its record in `PostgreSQL`, and the log of ended
//! sessions.

mod chart;
mod events;
mod keys;
mod queue;
pub mod record;
mod replies;
mod sessions;

use lua::StoreError;

use crate::domain::QueueError;

impl From<StoreError> for QueueError {
    fn from(error: StoreError) -> Self {
        Self::StoreAway(error.to_string())
    }
}

pub use events::{Batch, StreamId};
pub use keys::RoomKeys;
pub use queue::{
    Arrival, Arrivals, Forgotten, LeaseCheck, QueueStore, RoomContext, SAFETY_GAP, Seen, Snapshot, Turns, Was,
};
pub use sessions::EndedLog;
