//! The room in Redis: key names and one typed function for each script.

mod keys;
mod queue;

pub use keys::RoomKeys;
pub use queue::{Arrival, QueueStore, RoomContext, Snapshot};
