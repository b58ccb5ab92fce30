//! What is not recorded yet.

use crate::state::Word;

/// By how many events the record can be behind.
pub const EVENTS: usize = 3;

/// A change that is not recorded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// Whom it is about.
    pub visitor: u8,
    /// What became of them.
    pub word: Word,
}

/// The changes that are not recorded yet, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events([Option<Event>; EVENTS]);

impl Events {
    /// Adds an event, where there is room for it.
    pub fn push(&mut self, event: Event) -> bool {
        let slot = self.0.iter_mut().find(|slot| slot.is_none());
        slot.map(|slot| *slot = Some(event)).is_some()
    }

    /// The earliest event.
    pub fn first(&self) -> Option<Event> {
        self.0[0]
    }

    /// Drops the earliest event.
    pub fn drop_first(&mut self) {
        self.0[0] = None;
        self.0.rotate_left(1);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.0.iter().copied().flatten()
    }

    /// Whether so many more fit.
    pub fn fits(&self, more: usize, lag: u8) -> bool {
        self.iter().count() + more <= EVENTS.min(usize::from(lag))
    }
}
