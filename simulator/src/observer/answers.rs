//! Whether what a visitor is answered is true, and keeps what they were answered before.

use common::ids::UserId;

use super::knowledge::Place;
use super::{Observer, Promise};
use crate::record::RecordModel;
use crate::site::user;

/// What a visitor asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A place.
    Join,
    /// Where they stand.
    Poll,
    /// To leave.
    Leave,
    /// What needs admission.
    Enter,
}

/// What they were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// In line.
    Waiting {
        /// At which position.
        position: u32,
        /// When to ask again, in ms.
        poll_after_ms: i64,
    },
    /// Inside.
    Admitted {
        /// From which position.
        position: u32,
        /// Until when, in ms of Unix time by the server's clock.
        until_ms: i64,
    },
    /// Gone by their own wish.
    Left,
    /// Gone because the admission ended.
    Expired,
    /// The pass is not good, or not good any more.
    NotAdmitted,
    /// The token is not accepted.
    Refused,
    /// Something else that no visitor of a simulated room should see.
    Other(u16),
    /// The service cannot answer now.
    Unavailable,
    /// Nothing came back.
    Nothing,
}

/// An answer and where it is from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    /// Who asked.
    pub(crate) visitor: u32,
    /// Which process answered; 0 where none did.
    pub(crate) process: u32,
    /// What was asked.
    pub(crate) asked: Asked,
    /// When, in ms.
    pub(crate) sent_ms: i64,
    /// The position of the token shown; 0 without one.
    pub(crate) shown: u32,
    /// By how much the master's clock differs from the world's, in ms.
    pub(crate) clock_ms: i64,
    /// Whether the process takes the old master for the master.
    pub(crate) from_old_master: bool,
    /// The answer.
    pub(crate) answer: Answer,
}

/// A second of an end that is cut to whole ones.
const WHOLE_SECOND_MS: i64 = 1_000;

impl Observer {
    /// A visitor asks for a place.
    pub(crate) fn joins(&mut self) {
        self.joins += 1;
    }

    /// A visitor asks to leave.
    pub(crate) fn asks_to_leave(&mut self, visitor: u32) {
        self.person(user(visitor)).may_have_left = true;
    }

    /// A visitor closes everything.
    pub(crate) fn goes_away(&mut self, visitor: u32) {
        self.person(user(visitor)).presence = None;
    }

    /// Whether a visitor was answered a place and has not left.
    pub(crate) fn holds_place(&mut self, visitor: u32) -> bool {
        let person = self.person(user(visitor));
        person.held.is_some() && !person.has_left()
    }

    /// A pass was checked: the last two of the room's arguments are whose it is and which; the reply is its end in ms, or
    /// not above 0.
    pub(crate) fn pass_checked(&mut self, arguments: &[String], end: Option<&redis::Value>, now_ms: i64) {
        let [.., owner, pass] = arguments else { return };
        let (Ok(owner), Some(position)) = (UserId::from_compact(owner), position_of(pass)) else { return };
        let is_good = matches!(end, Some(redis::Value::Int(1..)));
        let (is_unnoticed, slack_ms) = (self.is_unnoticed(now_ms), self.slack_ms());
        let person = self.person(owner);
        if !is_good || person.contested || person.times_doubted || is_unnoticed {
            return;
        }
        let is_over = person.leases.get(&position).is_some_and(|end_ms| end_ms + slack_ms < now_ms);
        let is_ended = person.ended.contains(&position);
        if is_over || (is_ended && self.losses.is_empty()) {
            let what = format!("the pass of {position} is good after the end of its lease");
            self.broken(Promise::PassesEndWithTheLease, Some(owner), what);
        }
    }

    /// Takes in an answer.
    pub(crate) fn answered(&mut self, answered: &Answered, now_ms: i64, record: Option<&RecordModel>) {
        let user = user(answered.visitor);
        if answered.from_old_master {
            self.person(user).contested = true;
        }
        match answered.answer {
            Answer::Waiting { position, poll_after_ms } => {
                self.answered_place(answered, position, None, now_ms, record);
                self.person(user).note_present(answered.sent_ms, poll_after_ms, answered.process);
            }
            Answer::Admitted { position, until_ms } => {
                let until_ms = until_ms - answered.clock_ms;
                self.answered_place(answered, position, Some(until_ms), now_ms, record);
                self.person(user).presence = None;
            }
            Answer::Left if answered.asked == Asked::Leave => self.answered_leave(answered, now_ms),
            Answer::Left => self.answered_left(answered, now_ms, record),
            Answer::Expired => self.answered_expired(answered, now_ms, record),
            Answer::NotAdmitted => self.answered_not_admitted(answered, now_ms, record),
            Answer::Refused | Answer::Other(_) => {
                let what = format!("{:?} is answered {:?}", answered.asked, answered.answer);
                self.broken(Promise::NothingIsMadeUp, Some(user), what);
            }
            Answer::Unavailable | Answer::Nothing => {
                if self.is_healed(now_ms) && self.is_healed(answered.sent_ms) && answered.asked != Asked::Enter {
                    let what = format!("{:?} is answered {:?}", answered.asked, answered.answer);
                    self.broken(Promise::AnswersComeBack, Some(user), what);
                }
            }
        }
    }

    /// They asked to leave, and have left.
    fn answered_leave(&mut self, answered: &Answered, now_ms: i64) {
        let user = user(answered.visitor);
        let held = self.person(user).held.map(|held| held.position);
        self.person(user).end();
        for position in held.into_iter().chain((answered.shown > 0).then_some(answered.shown)) {
            self.person(user).ended.insert(position);
            self.knowledge.note(user, answered.process, position, Place::Ended, now_ms);
        }
    }

    /// They were answered a place, inside where there is an end.
    fn answered_place(
        &mut self,
        answered: &Answered,
        position: u32,
        until_ms: Option<i64>,
        now_ms: i64,
        record: Option<&RecordModel>,
    ) {
        let user = user(answered.visitor);
        let person = self.person(user);
        let (held, is_contested) = (person.held, person.contested);
        let has_left = person.has_left();
        let place = if until_ms.is_some() { "inside" } else { "in line" };
        let has_ended = person.ended.contains(&position) && !is_contested;
        if has_ended && self.is_end_known(user, position, now_ms, record) {
            let what = format!("answered {place} at {position}, which has ended");
            self.broken(Promise::EndedPlacesStayEnded, Some(user), what);
        } else if has_ended {
            self.forget_end(user, position);
        }
        let has_left = has_left || has_ended;
        match held {
            Some(held) if is_contested || has_left || held.position == position => {
                let was_inside = held.position == position
                    && held.inside_until_ms.is_some_and(|end_ms| now_ms + self.slack_ms() < end_ms);
                if was_inside && until_ms.is_none() && !is_contested && !has_left {
                    self.lost_admission(user, position, "in line", now_ms, record);
                }
            }
            Some(held) if held.inside_until_ms.is_none_or(|end_ms| now_ms + self.slack_ms() < end_ms) => {
                let what = format!("answered {place} at {position}, was answered {}", held.position);
                self.broken(Promise::PositionsAreKept, Some(user), what);
            }
            _ => {}
        }
        self.check_owner(user, position, now_ms, record);
        self.person(user).hold(position, until_ms, now_ms);
        let place = if until_ms.is_some() { Place::Inside } else { Place::Held };
        self.knowledge.note(user, answered.process, position, place, now_ms);
    }

    /// Whether anybody but the visitor knows that their position has ended.
    pub(super) fn is_end_known(
        &mut self,
        user: UserId,
        position: u32,
        now_ms: i64,
        record: Option<&RecordModel>,
    ) -> bool {
        let row = record.and_then(|record| record.row(user));
        let in_record = row.is_some_and(|row| {
            let has_ended = ["left", "removed", "paid", "expired"].contains(&row.status);
            row.position > position || (row.position == position && has_ended)
        });
        self.losses.is_empty() || in_record || self.knowledge.knows(user, position, Place::Ended, now_ms)
    }

    /// All who knew that a position had ended are gone: it is its owner's again.
    pub(super) fn forget_end(&mut self, user: UserId, position: u32) {
        self.log.world(format_args!("exempt: nobody who is left knows that {position} has ended"));
        self.person(user).ended.remove(&position);
    }

    /// Nobody else holds the position, or did.
    fn check_owner(&mut self, user: UserId, position: u32, now_ms: i64, record: Option<&RecordModel>) {
        let had = |person: &super::Person| {
            person.held.is_some_and(|held| held.position == position) || person.ended.contains(&position)
        };
        let other = self.people.iter().find(|(other, person)| **other != user && had(person));
        let Some((other, person)) = other.map(|(other, person)| (*other, person)) else { return };
        if person.contested || self.person(user).contested {
            return;
        }
        if self.losses.is_empty() || self.is_known(other, position, Place::Held, now_ms, record) {
            let what = format!("answered {position}, which is v{:02}'s", crate::site::visitor(other));
            self.broken(Promise::PositionsAreUnique, Some(user), what);
        } else {
            self.log.world(format_args!("exempt: nobody who is left knows that {position} was given"));
        }
    }

    fn answered_left(&mut self, answered: &Answered, now_ms: i64, record: Option<&RecordModel>) {
        let user = user(answered.visitor);
        let person = self.person(user);
        let (held, is_contested, has_left) = (person.held, person.contested, person.has_left());
        let is_old = answered.shown > 0 && person.ended.contains(&answered.shown);
        let Some(held) = held.filter(|_| !is_contested && !has_left && !is_old) else {
            if !is_old {
                self.person(user).end();
            }
            return;
        };
        match held.inside_until_ms {
            Some(end_ms) if now_ms + self.slack_ms() < end_ms => {
                self.lost_admission(user, held.position, "gone", now_ms, record);
            }
            // A session that ended in the moment of the answer.
            Some(_) => {}
            None if self.may_lose_place(user, held.position, now_ms, record) => {
                self.log.world(format_args!("exempt: without a record {} cannot be known to wait", held.position));
            }
            None => {
                let what = format!("answered left, waits at {}", held.position);
                self.broken(Promise::PositionsAreKept, Some(user), what);
            }
        }
        self.person(user).end();
    }

    fn answered_expired(&mut self, answered: &Answered, now_ms: i64, record: Option<&RecordModel>) {
        let user = user(answered.visitor);
        let slack_ms = self.slack_ms();
        let person = self.person(user);
        let (held, is_doubted) = (person.held, person.contested || person.times_doubted || person.may_have_left);
        let is_old = answered.shown > 0 && held.is_some_and(|held| held.position != answered.shown);
        let Some(held) = held.filter(|_| !is_doubted && !is_old) else {
            if !is_old {
                self.person(user).end();
            }
            return;
        };
        let has_ended = person.lease_has_ended(held.position, now_ms + slack_ms)
            || held.inside_until_ms.is_some_and(|end_ms| end_ms <= now_ms + slack_ms);
        if !has_ended && held.inside_until_ms.is_some() {
            self.lost_admission(user, held.position, "expired", now_ms, record);
        } else if !has_ended {
            let what = format!("answered expired at {}, which has not ended", held.position);
            self.broken(Promise::NothingIsMadeUp, Some(user), what);
        }
        self.person(user).end();
    }

    fn answered_not_admitted(&mut self, answered: &Answered, now_ms: i64, record: Option<&RecordModel>) {
        let user = user(answered.visitor);
        let slack_ms = self.slack_ms();
        let person = self.person(user);
        if person.contested || person.has_left() || person.times_doubted {
            return;
        }
        let live = person.held.filter(|held| {
            held.position == answered.shown && held.inside_until_ms.is_some_and(|end_ms| now_ms + slack_ms < end_ms)
        });
        if let Some(held) = live {
            self.lost_admission(user, held.position, "not admitted", now_ms, record);
        }
    }

    /// An admission that should last is not there any more, unless nobody who is left can know of it.
    fn lost_admission(&mut self, user: UserId, position: u32, now: &str, now_ms: i64, record: Option<&RecordModel>) {
        if self.person(user).times_doubted {
            return;
        }
        if !self.losses.is_empty() && !self.is_known(user, position, Place::Inside, now_ms, record) {
            self.log.world(format_args!("exempt: nobody who is left knows of the admission of {position}"));
            return;
        }
        let what = format!("answered {now}, was admitted from {position} and the session runs");
        self.broken(Promise::AdmissionsAreKept, Some(user), what);
    }

    /// Whether anybody but the visitor knows this of their position.
    fn is_known(&self, user: UserId, position: u32, place: Place, now_ms: i64, record: Option<&RecordModel>) -> bool {
        let in_record = record
            .and_then(|record| record.row(user))
            .is_some_and(|row| row.position == position && (place == Place::Held || row.status == "admitted"));
        in_record || self.knowledge.knows(user, position, place, now_ms)
    }

    /// Without a record, whoever was at or before the frontier at a loss may have had their turn.
    fn may_lose_place(&self, user: UserId, position: u32, now_ms: i64, record: Option<&RecordModel>) -> bool {
        let before_frontier = |loss: &super::Loss| u64::from(position) <= loss.frontier;
        !self.recorded
            && self.losses.iter().any(before_frontier)
            && !self.is_known(user, position, Place::Held, now_ms, record)
    }

    /// How far ends of admissions may be off.
    fn slack_ms(&self) -> i64 {
        WHOLE_SECOND_MS + self.clock_slack_ms
    }
}

/// The position in a pass, written as `position:nonce`.
fn position_of(pass: &str) -> Option<u32> {
    pass.split_once(':')?.0.parse().ok()
}
