//! What is still known of a person after a loss, and by whom: what nobody knows any more cannot be kept.

use std::collections::BTreeMap;

use common::ids::UserId;

/// For how long a gateway remembers what it answered.
const REMEMBERED_MS: i64 = 85_000;
/// For how long it takes a gateway to bring to Redis what it has answered.
const NOTING_MS: i64 = 1_500;

/// Which processes answered what, and which of them were disturbed.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    /// Who was answered what by which process: the position, whether they were inside, and when.
    answered: BTreeMap<UserId, Vec<Answered>>,
    disturbances: Vec<(u32, i64, i64)>,
}

#[derive(Debug, Clone, Copy)]
struct Answered {
    process: u32,
    position: u32,
    place: Place,
    at_ms: i64,
}

/// What somebody was answered about a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// That they have it.
    Held,
    /// That they are inside by it.
    Inside,
    /// That it has ended.
    Ended,
}

impl Knowledge {
    pub(super) fn note(&mut self, user: UserId, process: u32, position: u32, place: Place, at_ms: i64) {
        let answered = self.answered.entry(user).or_default();
        answered.retain(|known| {
            known.at_ms > at_ms - REMEMBERED_MS && (known.process, known.position) != (process, position)
        });
        answered.push(Answered { process, position, place, at_ms });
    }

    /// A process took what it knew with it.
    pub(super) fn forget(&mut self, process: u32) {
        for answered in self.answered.values_mut() {
            answered.retain(|known| known.process != process);
        }
    }

    pub(super) fn disturbed(&mut self, process: u32, from_ms: i64, until_ms: i64) {
        self.disturbances.push((process, from_ms, until_ms));
    }

    /// Whether a process had the time to bring what it answered then to Redis.
    pub(super) fn could_note(&self, process: u32, at_ms: i64) -> bool {
        let overlaps = |(who, from_ms, until_ms): &(u32, i64, i64)| {
            *who == process && *from_ms <= at_ms + NOTING_MS && at_ms <= *until_ms
        };
        !self.disturbances.iter().any(overlaps)
    }

    /// Whether a process that lives remembers this of a person's position; who knows more than that knows it too.
    pub(super) fn knows(&self, user: UserId, position: u32, place: Place, now_ms: i64) -> bool {
        self.answered.get(&user).is_some_and(|answered| {
            answered.iter().any(|known| {
                let is_enough = known.place == place || place == Place::Held;
                known.position == position && is_enough && known.at_ms > now_ms - REMEMBERED_MS
            })
        })
    }
}
