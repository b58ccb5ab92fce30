//! What a call did to a room: turns, admissions, absences, and whether the room may look so at all.

use std::collections::BTreeMap;

use common::ids::UserId;

use super::person::GRACE_MS;
use super::room::RoomState;
use super::{Observer, Promise};
use crate::record::RecordModel;
use crate::site::visitor;
use crate::world::Step;

/// How long somebody who came back must have been answered before they count as present: a gateway may answer them from a
/// snapshot in which they are not set aside yet.
const SETTLED_MS: i64 = 3_000;
/// Positions that a loss may skip, beside those that people joined in some seconds.
const GAP_MAX: u64 = 1_000;
const GAP_JOINS_MAX: u64 = 400;
/// Epochs that a split brain begins beside the new master's: the old one's, by a token of the new one, and one that brings
/// the gateways of both together.
const SPLIT_EPOCHS: u64 = 2;

impl Observer {
    /// Takes in what a call did.
    pub(crate) fn see(&mut self, step: &Step, state: &RoomState, now_ms: i64, record: Option<&RecordModel>) {
        let before = std::mem::replace(&mut self.servers[step.server], state.clone());
        self.note_epoch(step, &before, state);
        self.note_leavers(step, &before, state, now_ms);
        if !is_rebuilding(step.name) {
            self.note_turns(step, &before, state, now_ms, record);
        }
        self.note_leases(step, &before, state, now_ms);
        if step.is_master && !self.is_split {
            self.note_absences(&before, state, now_ms);
            self.check_positions(state);
            self.check_size(state);
            self.check_turns_go_on(&before, state, now_ms);
        }
    }

    fn note_epoch(&mut self, step: &Step, before: &RoomState, state: &RoomState) {
        if state.epoch != before.epoch && before.epoch != 0 || state.rebuilding != before.rebuilding {
            let doing = if state.rebuilding { "is being rebuilt" } else { "is whole" };
            self.log.world(format_args!("g{} {}: the room {doing}, seq {}", step.gateway, step.name, state.seq));
        }
        if step.is_master {
            for loss in self.losses.iter_mut().filter(|loss| state.epoch != loss.epoch) {
                loss.is_noticed = true;
            }
        }
    }

    fn note_leavers(&mut self, step: &Step, before: &RoomState, state: &RoomState, now_ms: i64) {
        if step.name != "queue/leave" {
            return;
        }
        let left = state.left.iter().filter(|(user, at_ms)| before.left.get(user) != Some(at_ms));
        for user in left.map(|(user, _)| *user).collect::<Vec<_>>() {
            self.person(user).left_at_ms = Some(now_ms);
        }
    }

    /// Turns that were given: offers, and admissions of those who walk in.
    fn note_turns(
        &mut self,
        step: &Step,
        before: &RoomState,
        state: &RoomState,
        now_ms: i64,
        record: Option<&RecordModel>,
    ) {
        let had_turn = |user: &UserId| before.offers.contains_key(user) || before.leases.contains_key(user);
        let mut turns: Vec<(u32, UserId)> = state
            .offers
            .keys()
            .chain(state.leases.keys())
            .filter(|user| !had_turn(user))
            .map(|user| (state.passes.get(user).map_or(0, |(position, _)| *position), *user))
            .collect();
        turns.sort_unstable();
        for (position, user) in &turns {
            self.log.visitor(visitor(*user), format_args!("has the turn of {position} by {}", step.name));
            self.stalled_since_ms = None;
            if !self.is_split && !self.offers.take(now_ms) {
                self.broken(Promise::OfferRate, Some(*user), format_args!("the turn of {position} comes too soon"));
            }
        }
        if turns.is_empty() || self.is_split || !step.is_master {
            return;
        }
        let max_active = usize::try_from(self.room.max_active).unwrap_or(usize::MAX);
        if state.inside() > max_active && !before.rebuilding {
            let inside = state.inside();
            self.broken(Promise::Capacity, None, format_args!("{inside} have a place inside, of {max_active}"));
        }
        if self.is_unnoticed(now_ms) {
            return;
        }
        for (position, user) in &turns {
            let has_ended = self.person(*user).ended.contains(position) && !self.person(*user).contested;
            if has_ended && !self.is_end_known(*user, *position, now_ms, record) {
                self.forget_end(*user, *position);
            } else if has_ended {
                let what = format!("position {position} has ended and gets a turn");
                self.broken(Promise::EndedPlacesStayEnded, Some(*user), what);
            }
        }
        if let Some((last, _)) = turns.last() {
            self.check_overtaken(*last, state, now_ms);
        }
    }

    /// Nobody present with a lower position is left where they are while `last` gets a turn.
    fn check_overtaken(&mut self, last: u32, state: &RoomState, now_ms: i64) {
        let overtaken = self.people.iter().find(|(user, person)| {
            let waits = person.held.is_some_and(|held| held.inside_until_ms.is_none() && held.position < last);
            let has_turn = state.offers.contains_key(user) || state.leases.contains_key(user);
            waits && !has_turn && !person.contested && !person.has_left() && self.is_present(user, now_ms)
        });
        if let Some((user, person)) = overtaken {
            let (user, position) = (*user, person.held.map_or(0, |held| held.position));
            let place = match (state.waiting.get(&user), state.away.get(&user)) {
                (Some(_), _) => "in line",
                (_, Some(_)) => "set aside",
                _ => "unknown to the room",
            };
            let what = format!("present at {position} and {place}, while {last} gets a turn");
            self.broken(Promise::NobodyPresentIsOvertaken, Some(user), what);
        }
    }

    /// Whether somebody polls as they were answered to, and whoever answered them could note it.
    fn is_present(&self, user: &UserId, now_ms: i64) -> bool {
        let Some(presence) = self.people.get(user).and_then(|person| person.presence) else { return false };
        let is_settled = presence.since_ms + SETTLED_MS <= now_ms;
        let until_ms = if self.knowledge.could_note(presence.process, presence.sent_ms) {
            presence.due_ms + GRACE_MS
        } else {
            presence.sent_ms + GRACE_MS / 2
        };
        is_settled && now_ms < until_ms
    }

    fn note_leases(&mut self, step: &Step, before: &RoomState, state: &RoomState, now_ms: i64) {
        let begun: Vec<(UserId, i64)> = state
            .leases
            .iter()
            .filter(|(user, _)| !before.leases.contains_key(user) || before.passes.get(user) != state.passes.get(user))
            .map(|(user, end_ms)| (*user, *end_ms - step.clock_ms))
            .collect();
        for (user, end_ms) in begun {
            let position = state.passes.get(&user).map_or(0, |(position, _)| *position);
            self.person(user).leases.insert(position, end_ms);
            if is_rebuilding(step.name) || self.is_split {
                continue;
            }
            self.log.visitor(visitor(user), format_args!("is inside by {position} ({})", step.name));
            if !self.admissions.take(now_ms) {
                self.broken(Promise::AdmissionRate, Some(user), format_args!("{position} is admitted too soon"));
            }
        }
    }

    fn note_absences(&mut self, before: &RoomState, state: &RoomState, now_ms: i64) {
        let aside: Vec<(UserId, u32)> = state
            .away
            .iter()
            .filter(|(user, _)| before.waiting.contains_key(user))
            .map(|(user, position)| (*user, *position))
            .collect();
        for (user, position) in aside {
            self.log.visitor(visitor(user), format_args!("is set aside at {position}"));
            let holds = self.person(user).held.is_some_and(|held| held.position == position);
            if holds && self.is_present(&user, now_ms) && !self.is_unnoticed(now_ms) {
                let what = format!("set aside at {position} while present");
                self.broken(Promise::PresentIsNotAbsent, Some(user), what);
            }
        }
    }

    fn check_positions(&mut self, state: &RoomState) {
        let mut owners: BTreeMap<u32, UserId> = BTreeMap::new();
        for (user, position) in state.positions() {
            if let Some(other) = owners.insert(position, user).filter(|other| *other != user) {
                let what = format!("position {position} is also v{:02}'s", visitor(other));
                self.broken(Promise::PositionsAreUnique, Some(user), what);
            }
        }
    }

    fn check_size(&mut self, state: &RoomState) {
        let losses = u64::try_from(self.losses.len()).unwrap_or(u64::MAX) + SPLIT_EPOCHS * self.splits;
        let most = self.joins + losses.saturating_mul(GAP_MAX + GAP_JOINS_MAX);
        if state.seq > most {
            let what = format!("seq is {} after {} joins and {losses} losses", state.seq, self.joins);
            self.broken(Promise::PositionsStaySmall, None, what);
        }
    }
}

/// Whether a script puts back what was lost: what it grants was granted before.
fn is_rebuilding(name: &str) -> bool {
    ["queue/restore", "queue/retell", "queue/open", "queue/complete", "queue/reinstate"].contains(&name)
}
