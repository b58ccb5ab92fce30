//! Rooms at work in this process.
//!
//! Each room has four tasks: one takes joins and polls to Redis, as many at once as have gathered while the last call
//! was under way; one ticks several times a second (who is there, whose turn it is, what the room looks like); one
//! keeps up with what core-api says of the concert; one records what happened and puts together what was lost. They
//! rest while nobody uses the room.
//!
//! One task beside them, for all rooms, follows which sessions have been ended.

mod batch;
mod chart;
mod draw;
mod measure;
mod recent;
mod room;
mod rooms;
mod sessions;
mod tick;
mod upkeep;
mod waits;

pub use chart::{Failures, WatchedChart};
pub use room::{Room, Turning};
pub use rooms::Rooms;
pub(crate) use sessions::follow_ended_sessions;
pub(crate) use upkeep::Tools;
