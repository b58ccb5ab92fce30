//! How it went for people: what they were told and what came of it, followed through a room's events.

use std::collections::HashMap;

use common::ids::UserId;

use crate::domain::{Event, Happened, Pace};
use crate::store::Batch;

/// Some megabytes. Beyond, newcomers are not followed; those before them are sample enough.
const FOLLOWED_AT_MOST: usize = 100_000;

/// What was learnt of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learnt {
    /// They are inside.
    Claimed,
    /// They are, so long after their turn was offered.
    ClaimedAfter { ms: i64 },
    /// They are, so much later than they were told at joining; sooner where it is negative.
    LaterThanTold { ms: i64 },
    /// They were not there when their turn came.
    Absent,
    /// They did not claim it.
    Unclaimed,
}

/// The people who are being followed.
#[derive(Debug, Default)]
pub(super) struct Waits(HashMap<UserId, Wait>);

#[derive(Debug, Default)]
struct Wait {
    /// When they were told that they would be in.
    expected_at_ms: Option<i64>,
    offered_at_ms: Option<i64>,
}

impl Waits {
    /// Takes in what happened, and tells what that says; `pace` is what newcomers are told by.
    pub(super) fn follow(&mut self, batch: &Batch, pace: Option<&Pace>, mut tell: impl FnMut(Learnt)) {
        for event in &batch.events {
            self.follow_event(event, batch.at_ms, pace, &mut tell);
        }
    }

    fn follow_event(&mut self, event: &Event, at_ms: i64, pace: Option<&Pace>, tell: &mut impl FnMut(Learnt)) {
        let Some(user) = event.user else {
            if event.happened == Happened::Lost {
                self.0.clear();
            }
            return;
        };
        match event.happened {
            Happened::Joined { ahead } => {
                self.forget(user);
                let told_ms = pace.map(|pace| pace.wait(ahead).expected_seconds.saturating_mul(1_000));
                let told_ms = told_ms.and_then(|ms| i64::try_from(ms).ok());
                if let (Some(told_ms), Some(wait)) = (told_ms, self.wait(user)) {
                    wait.expected_at_ms = Some(at_ms.saturating_add(told_ms));
                }
            }
            Happened::Offered => {
                if let Some(wait) = self.wait(user) {
                    wait.offered_at_ms = Some(at_ms);
                }
            }
            Happened::Admitted { .. } => {
                tell(Learnt::Claimed);
                let wait = self.forget(user).unwrap_or_default();
                if let Some(offered_at_ms) = wait.offered_at_ms {
                    tell(Learnt::ClaimedAfter { ms: at_ms - offered_at_ms });
                }
                if let Some(expected_at_ms) = wait.expected_at_ms {
                    tell(Learnt::LaterThanTold { ms: at_ms - expected_at_ms });
                }
            }
            // Who was not there does not show how long the wait was.
            Happened::Absent => {
                self.forget(user);
                tell(Learnt::Absent);
            }
            Happened::Unclaimed => {
                self.forget(user);
                tell(Learnt::Unclaimed);
            }
            Happened::Expired | Happened::Left | Happened::Removed | Happened::Paid => {
                self.forget(user);
            }
            // A draw tells everyone the same wait, which says little of the estimate.
            Happened::Entered
            | Happened::Dealt
            | Happened::Restored
            | Happened::Moved
            | Happened::Returned
            | Happened::Lost
            | Happened::Drawn => {}
        }
    }

    fn wait(&mut self, user: UserId) -> Option<&mut Wait> {
        let has_room = self.0.len() < FOLLOWED_AT_MOST || self.0.contains_key(&user);
        has_room.then(|| self.0.entry(user).or_default())
    }

    fn forget(&mut self, user: UserId) -> Option<Wait> {
        self.0.remove(&user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::view_for_tests;
    use crate::store::StreamId;

    fn happens(waits: &mut Waits, at_ms: i64, user: Option<UserId>, happened: Happened) -> Vec<Learnt> {
        // Ten a second.
        let pace = Pace::of(&view_for_tests());
        let event = Event { happened, user, position: 1, detail: None };
        let batch = Batch { id: StreamId { ms: at_ms, seq: 0 }, at_ms, epoch: 1, events: vec![event] };
        let mut learnt = Vec::new();
        waits.follow(&batch, Some(&pace), |what| learnt.push(what));
        learnt
    }

    const ADMITTED: Happened = Happened::Admitted { nonce: 1, lease_end_ms: 0, cap_ms: 0 };

    #[test]
    fn the_lag_is_from_the_offer_and_the_error_from_what_was_told_at_joining() {
        let (mut waits, user) = (Waits::default(), UserId::generate());
        // 99 in front at ten a second: ten seconds are told.
        assert_eq!(happens(&mut waits, 1_000, Some(user), Happened::Joined { ahead: 99 }), []);
        assert_eq!(happens(&mut waits, 12_000, Some(user), Happened::Offered), []);
        assert_eq!(
            happens(&mut waits, 12_500, Some(user), ADMITTED),
            [Learnt::Claimed, Learnt::ClaimedAfter { ms: 500 }, Learnt::LaterThanTold { ms: 1_500 }]
        );
        assert_eq!(happens(&mut waits, 13_000, Some(user), ADMITTED), [Learnt::Claimed], "followed no more");
    }

    #[test]
    fn who_was_absent_left_or_was_lost_with_the_room_says_nothing_of_waits() {
        for (happened, learnt) in [
            (Happened::Absent, vec![Learnt::Absent]),
            (Happened::Unclaimed, vec![Learnt::Unclaimed]),
            (Happened::Left, vec![]),
        ] {
            let (mut waits, user) = (Waits::default(), UserId::generate());
            happens(&mut waits, 0, Some(user), Happened::Joined { ahead: 0 });
            assert_eq!(happens(&mut waits, 1, Some(user), happened), learnt);
            assert_eq!(happens(&mut waits, 2, Some(user), ADMITTED), [Learnt::Claimed], "{happened:?}");
        }
        let (mut waits, user) = (Waits::default(), UserId::generate());
        happens(&mut waits, 0, Some(user), Happened::Joined { ahead: 0 });
        happens(&mut waits, 1, None, Happened::Lost);
        assert_eq!(happens(&mut waits, 2, Some(user), ADMITTED), [Learnt::Claimed]);
    }

    #[test]
    fn no_more_are_followed_than_fit() {
        let mut waits = Waits::default();
        for _ in 0..FOLLOWED_AT_MOST + 10 {
            waits.wait(UserId::generate());
        }
        assert_eq!(waits.0.len(), FOLLOWED_AT_MOST);
    }
}
