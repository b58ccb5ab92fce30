//! What this gateway answered people of late, as words that a room which lost its state is retold. The record is written
//! behind: what it lacks then is here, in the gateways that answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::ids::UserId;
use tokio::time::Instant;

use crate::domain::Standing;
use crate::domain::recovery::{Moment, Place, Word};
use crate::store::Arrival;

/// Longer than the record is ever behind while `PostgreSQL` restarts.
const KEPT_FOR: Duration = Duration::from_secs(90);
/// About 16 MB; the oldest are dropped.
const KEPT_AT_MOST: usize = 200_000;
/// Admissions are kept apart, for as long as they last, so that no surge of joins evicts them. About 20 MB; more are dropped.
const INSIDE_AT_MOST: usize = 200_000;

/// The latest words of one room.
#[derive(Debug, Default)]
pub(super) struct RecentWords(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// In the order in which they were said.
    recent: VecDeque<(Instant, Word)>,
    /// The people inside, with the end of their lease.
    inside: BTreeMap<UserId, (Instant, Word)>,
}

impl RecentWords {
    /// Notes where people stand, as the room said at `moment`.
    pub(super) fn note(&self, users: &[UserId], arrivals: &[Arrival], moment: Moment) {
        let now = Instant::now();
        let mut kept = self.lock();
        for (user, arrival) in users.iter().zip(arrivals) {
            let Arrival::Standing(standing) = arrival else { continue };
            let Some((position, place)) = place(*standing) else { continue };
            let lease_end = match standing {
                Standing::Admitted(lease) => Some(now + Duration::from_secs(lease.remaining_seconds)),
                _ => None,
            };
            kept.add(now, Word { user: *user, position, place, at: moment }, lease_end);
        }
    }

    /// Notes that a person left.
    pub(super) fn note_left(&self, user: UserId, position: u32, moment: Moment) {
        self.lock().add(Instant::now(), Word { user, position, place: Place::Left, at: moment }, None);
    }

    /// The newest word of each person, by user.
    pub(super) fn newest(&self) -> Vec<Word> {
        let kept = self.lock();
        let mut newest: BTreeMap<UserId, Word> = kept.inside.iter().map(|(user, (_, word))| (*user, *word)).collect();
        for (_, word) in &kept.recent {
            let known = newest.entry(word.user).or_insert(*word);
            if known.at <= word.at {
                *known = *word;
            }
        }
        newest.into_values().collect()
    }

    /// How a position of a person has ended, as far as this gateway answered it; `None` where it did not.
    pub(super) fn ended(&self, user: UserId, position: u32) -> Option<Place> {
        let kept = self.lock();
        let words = kept.recent.iter().map(|(_, word)| word).filter(|word| word.user == user);
        let newest = words.max_by_key(|word| word.at)?;
        let counts = newest.place.has_ended() && (newest.position == 0 || position <= newest.position);
        counts.then_some(newest.place)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn add(&mut self, now: Instant, word: Word, lease_end: Option<Instant>) {
        if let Some(lease_end) = lease_end {
            if self.inside.len() >= INSIDE_AT_MOST {
                self.inside.retain(|_, (end, _)| *end > now);
            }
            if self.inside.len() < INSIDE_AT_MOST {
                self.inside.insert(word.user, (lease_end, word));
            }
        } else if self.inside.get(&word.user).is_some_and(|(_, known)| known.at <= word.at) {
            self.inside.remove(&word.user);
        }
        self.recent.push_back((now, word));
        while self.recent.len() > KEPT_AT_MOST || self.recent.front().is_some_and(|(at, _)| now - *at > KEPT_FOR) {
            self.recent.pop_front();
        }
    }
}

fn place(standing: Standing) -> Option<(u32, Place)> {
    Some(match standing {
        Standing::Waiting { position, .. } => (position, Place::Waiting),
        Standing::Gathering { entry, .. } => (entry, Place::Entered),
        Standing::Admitted(lease) => {
            let lease_end_ms = lease.ends_at.timestamp_millis();
            let nonce = lease.pass.nonce;
            (lease.pass.position, Place::Admitted { nonce, lease_end_ms, cap_ms: lease_end_ms })
        }
        Standing::Left => (0, Place::Left),
        Standing::Expired => (0, Place::Expired),
        Standing::SoldOut | Standing::Closed => return None,
    })
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};
    use common::tokens::PassId;

    use super::*;
    use crate::domain::Lease;

    fn at(version: u64) -> Moment {
        Moment { epoch: 1, version }
    }

    fn waiting(position: u32) -> Arrival {
        Arrival::Standing(Standing::Waiting { position, epoch: 1, ahead: None, claim_in_ms: None, at_seconds: 0 })
    }

    fn inside(position: u32) -> Arrival {
        let ends_at = Utc::now() + TimeDelta::seconds(600);
        Arrival::Standing(Standing::Admitted(Lease {
            pass: PassId { position, nonce: 1 },
            ends_at,
            remaining_seconds: 600,
        }))
    }

    #[test]
    fn the_newest_word_of_each_person_counts() {
        let words = RecentWords::default();
        let [a, b] = [UserId::generate(), UserId::generate()];
        words.note(&[a, b], &[waiting(1), waiting(2)], at(1));
        words.note_left(a, 1, at(5));
        // An answer that was overtaken on its way.
        words.note(&[a], &[waiting(1)], at(3));
        let mut newest = words.newest();
        newest.sort_by_key(|word| word.position);
        assert_eq!(newest[0], Word { user: a, position: 1, place: Place::Left, at: at(5) });
        assert_eq!(newest[1], Word { user: b, position: 2, place: Place::Waiting, at: at(1) });
    }

    #[test]
    fn no_surge_evicts_the_people_inside() {
        let words = RecentWords::default();
        let user = UserId::generate();
        words.note(&[user], &[inside(1)], at(1));
        for version in 0..KEPT_AT_MOST as u64 + 10 {
            words.note(&[UserId::generate()], &[waiting(2)], at(2 + version));
        }
        let newest = words.newest();
        assert_eq!(newest.len(), KEPT_AT_MOST + 1);
        assert!(newest.iter().any(|word| word.user == user && matches!(word.place, Place::Admitted { .. })));
        words.note_left(user, 1, at(1_000_000));
        assert!(words.newest().iter().any(|word| word.user == user && word.place == Place::Left));
    }
}
