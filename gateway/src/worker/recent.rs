//! What the people of a room did of late, as this process told them. The record is written behind: what it lacks when a
//! room loses its memory is here, in the gateways that answered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::ids::UserId;

use crate::domain::Standing;
use crate::store::{Arrival, Forgotten, Was};

/// Longer than the record is ever behind while `PostgreSQL` restarts.
const KEPT_FOR: Duration = Duration::from_secs(90);
/// Some megabytes; the oldest give way.
const KEPT_AT_MOST: usize = 200_000;

/// The latest that was told to people, in the order in which it was.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<(Instant, Forgotten)>>);

impl Recent {
    /// Notes where people stand.
    pub(super) fn note(&self, users: &[UserId], arrivals: &[Arrival]) {
        let known = users.iter().zip(arrivals).filter_map(|(user, arrival)| forgotten(*user, arrival.standing?));
        self.add(known);
    }

    /// Notes that somebody left.
    pub(super) fn note_left(&self, user: UserId) {
        self.add([Forgotten { user, position: 0, was: Was::Left }]);
    }

    /// The last that is known of each.
    pub(super) fn people(&self) -> Vec<Forgotten> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest: HashMap<UserId, Forgotten> = kept.iter().map(|(_, person)| (person.user, *person)).collect();
        latest.into_values().collect()
    }

    /// The same, but only the latest `at_most` of them.
    pub(super) fn people_at_most(&self, at_most: usize) -> Vec<Forgotten> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let latest: HashMap<UserId, Forgotten> =
            kept.iter().rev().take(at_most).rev().map(|(_, person)| (person.user, *person)).collect();
        latest.into_values().collect()
    }

    fn add(&self, people: impl IntoIterator<Item = Forgotten>) {
        let now = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(people.into_iter().map(|person| (now, person)));
        while kept.len() > KEPT_AT_MOST || kept.front().is_some_and(|(at, _)| now - *at > KEPT_FOR) {
            kept.pop_front();
        }
    }
}

fn forgotten(user: UserId, standing: Standing) -> Option<Forgotten> {
    let (position, was) = match standing {
        Standing::Waiting { position, .. } => (position, Was::Waiting),
        Standing::Gathering { entry, .. } => (entry, Was::Entered),
        Standing::Admitted(lease) => {
            let lease_end_ms = lease.ends_at.timestamp_millis();
            (lease.pass.position, Was::Admitted { nonce: lease.pass.nonce, lease_end_ms, cap_ms: lease_end_ms })
        }
        Standing::Left | Standing::Expired => (0, Was::Left),
        Standing::SoldOut | Standing::Closed => return None,
    };
    Some(Forgotten { user, position, was })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_is_known_of_each_counts() {
        let recent = Recent::default();
        let [a, b] = [UserId::generate(), UserId::generate()];
        let at = |position| Arrival {
            standing: Some(Standing::Waiting { position, epoch: 1, ahead: None, at_seconds: 0 }),
            epoch: 1,
        };
        recent.note(&[a, b], &[at(1), at(2)]);
        recent.note_left(a);
        let mut people = recent.people();
        people.sort_by_key(|person| person.position);
        assert_eq!(people[0], Forgotten { user: a, position: 0, was: Was::Left });
        assert_eq!(people[1], Forgotten { user: b, position: 2, was: Was::Waiting });
    }

    #[test]
    fn no_more_are_kept_than_fit() {
        let recent = Recent::default();
        for _ in 0..KEPT_AT_MOST + 10 {
            recent.note_left(UserId::generate());
        }
        assert_eq!(recent.people().len(), KEPT_AT_MOST);
    }
}
