//! Where a person stands with a room.

use chrono::{DateTime, Utc};
use common::tokens::PassId;

/// An admission that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Which admission it is.
    pub pass: PassId,
    /// When it ends.
    pub ends_at: DateTime<Utc>,
    /// How long that is from now, by the clock that decides it.
    pub remaining_seconds: u64,
}

/// Where a person stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// In line at this position.
    Waiting {
        /// The position given at joining.
        position: u32,
        /// The life of the room that it belongs to.
        epoch: u32,
        /// How many are in line before it, where that was just counted; else the room's view tells.
        ahead: Option<u32>,
        /// When that was so, in seconds of Unix time, by the room's clock.
        at_seconds: u32,
    },
    /// Takes part in the draw at the opening; has no position yet.
    Gathering {
        /// The number given at joining.
        entry: u32,
        /// The life of the room that it belongs to.
        epoch: u32,
        /// When that was so, in seconds of Unix time, by the room's clock.
        at_seconds: u32,
    },
    /// Inside.
    Admitted(Lease),
    /// Gone by their own wish, or never here.
    Left,
    /// Was inside; the time is over.
    Expired,
    /// Was waiting or came, and there is nothing left.
    SoldOut,
    /// Was waiting or came, and nobody is let in any more.
    Closed,
}

impl Standing {
    /// The number that they hold, if any.
    pub fn number(&self) -> Option<u32> {
        match self {
            Self::Waiting { position, .. } => Some(*position),
            Self::Gathering { entry, .. } => Some(*entry),
            Self::Admitted(lease) => Some(lease.pass.position),
            Self::Left | Self::Expired | Self::SoldOut | Self::Closed => None,
        }
    }

    /// The name that clients know it by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } | Self::Gathering { .. } => "waiting",
            Self::Admitted(_) => "admitted",
            Self::Left => "left",
            Self::Expired => "expired",
            Self::SoldOut => "sold_out",
            Self::Closed => "closed",
        }
    }
}
