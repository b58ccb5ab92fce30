//! The calls that gateways send to Redis, where they matter to recovery. Each can be late.

use crate::events::Event;
use crate::state::{Moment, PerVisitor, Standing, Word};

/// Where the words of a restore come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A page of the record.
    Page,
    /// Rows of the record that are newer than the base.
    Changed,
    /// Words that the room kept, compared with the record.
    Words,
}

/// A call of a gateway. It carries what its caller has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// Opens an epoch after another one was found lost.
    Open {
        /// After how many losses of Redis it was found lost.
        losses: u8,
        /// The epoch that was found lost, 0 where the room was missing.
        lost: u8,
        /// The new epoch.
        epoch: u8,
        /// The highest position known.
        position: u8,
    },
    /// Gives a room that is rebuilt a gateway's words.
    Retell {
        /// The epoch that is rebuilt.
        epoch: u8,
        /// The words.
        words: PerVisitor<Option<Word>>,
    },
    /// Puts people back.
    Restore {
        /// The epoch that is rebuilt.
        epoch: u8,
        /// Where the words come from.
        source: Source,
        /// Whom, and where.
        words: PerVisitor<Option<Word>>,
        /// All people up to this position are back after it; 0 for no change.
        up_to: u8,
    },
    /// Declares the room rebuilt.
    Complete {
        /// The epoch that was rebuilt.
        epoch: u8,
    },
    /// Puts back one person that the room did not know, or marks their end.
    Reinstate {
        /// The epoch in which the room did not know them.
        epoch: u8,
        /// Whom.
        visitor: u8,
        /// Where.
        standing: Standing,
    },
    /// Writes an event to the record.
    Write(Event),
}

impl Message {
    /// How many events it causes at most.
    pub fn events(&self) -> usize {
        match self {
            Self::Restore { source: Source::Words, words, .. } => words.iter().flatten().count(),
            Self::Reinstate { .. } => 1,
            _ => 0,
        }
    }
}

/// A message on its way, and what its sender had seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// What the sender had seen of the room.
    pub seen: Moment,
}
