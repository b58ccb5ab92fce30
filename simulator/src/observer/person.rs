//! What is true of a visitor.

use std::collections::{BTreeMap, BTreeSet};

/// A visitor.
#[derive(Debug, Default)]
pub(super) struct Person {
    /// Their place, as they were last answered.
    pub(super) held: Option<Held>,
    /// Positions that ended, and that they were answered so or that it was theirs to end them.
    pub(super) ended: BTreeSet<u32>,
    /// When they truly left last, in ms.
    pub(super) left_at_ms: Option<i64>,
    /// Whether they asked to leave and do not know what came of it.
    pub(super) may_have_left: bool,
    /// Their leases as Redis knew them: end in ms by position.
    pub(super) leases: BTreeMap<u32, i64>,
    /// Whether the ends of leases are not to be trusted, because a clock was set.
    pub(super) times_doubted: bool,
    /// Whether two masters may have contradicted each other about them.
    pub(super) contested: bool,
    /// Since when and until when they are present.
    pub(super) presence: Option<Presence>,
}

/// A place that a visitor was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) position: u32,
    /// The end of their admission in ms, if they are inside.
    pub(super) inside_until_ms: Option<i64>,
    /// When they were answered so first, in ms.
    pub(super) since_ms: i64,
}

/// A visitor's presence: they ask as often as they are answered to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Presence {
    pub(super) since_ms: i64,
    /// Until when their next poll is due.
    pub(super) due_ms: i64,
    /// When they sent the poll that was answered last.
    pub(super) sent_ms: i64,
    /// Which process answered it.
    pub(super) process: u32,
}

/// How long after a promised poll somebody still counts as present.
pub(super) const GRACE_MS: i64 = 10_000;

impl Person {
    /// They hold this place.
    pub(super) fn hold(&mut self, position: u32, inside_until_ms: Option<i64>, now_ms: i64) {
        let since_ms = self.held.filter(|held| held.position == position).map_or(now_ms, |held| held.since_ms);
        self.held = Some(Held { position, inside_until_ms, since_ms });
        self.may_have_left = false;
    }

    /// Their place has ended.
    pub(super) fn end(&mut self) {
        if let Some(held) = self.held.take() {
            self.ended.insert(held.position);
        }
        self.presence = None;
        self.may_have_left = false;
    }

    /// Whether they truly left, or may have, since they were answered the place that they hold.
    pub(super) fn has_left(&self) -> bool {
        let since_ms = self.held.map_or(0, |held| held.since_ms);
        self.may_have_left || self.left_at_ms.is_some_and(|at_ms| at_ms >= since_ms)
    }

    /// Whether the lease of their position had ended by then.
    pub(super) fn lease_has_ended(&self, position: u32, now_ms: i64) -> bool {
        self.leases.get(&position).is_some_and(|end_ms| *end_ms <= now_ms)
    }

    /// A clock was set: what was said of ends may not hold.
    pub(super) fn doubt_times(&mut self) {
        self.times_doubted = true;
        self.presence = None;
    }

    /// Notes an answered poll.
    pub(super) fn note_present(&mut self, sent_ms: i64, poll_after_ms: i64, process: u32) {
        let due_ms = sent_ms + poll_after_ms;
        let since_ms =
            self.presence.filter(|known| known.due_ms + GRACE_MS >= sent_ms).map_or(sent_ms, |known| known.since_ms);
        self.presence = Some(Presence { since_ms, due_ms, sent_ms, process });
    }
}
