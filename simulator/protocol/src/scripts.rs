//! What the scripts in Redis do: changes of the room, and the messages that make them.

use crate::events::Event;
use crate::message::{Message, Sent};
use crate::observer::Property;
use crate::restoring::{put, restore, retell};
use crate::rules::{Rules, Switch};
use crate::state::{GAP, GATEWAYS, KeptWord, Moment, Rebuilding, Room, Row, Standing, State, VISITORS, Word};

impl Room {
    /// Whether all people up to a position are back.
    pub(crate) fn is_rebuilt(&self, position: u8) -> bool {
        self.rebuilding.is_none_or(|rebuilding| position <= rebuilding.up_to)
    }

    /// Where a person is in line or inside.
    pub(crate) fn live(&self, visitor: usize) -> Option<Standing> {
        self.people[visitor].filter(Standing::is_live)
    }

    /// Whether the mark of an end covers a position of this person.
    pub(crate) fn is_marked(&self, rules: Rules, visitor: usize, position: u8) -> bool {
        let mark = self.people[visitor].filter(|standing| !standing.is_live());
        mark.is_some_and(|mark| !rules.has(Switch::MarksNamePositions) || position <= mark.position)
    }

    /// Notes a change: a new version, an event for the record, and while the room is rebuilt a word.
    pub(crate) fn change(&mut self, rules: Rules, visitor: usize, standing: Standing, is_leave: bool) {
        self.at.version += 1;
        self.people[visitor] = Some(standing);
        self.note(visitor, standing);
        let is_word = is_leave || rules.has(Switch::ChangesAreWords);
        if self.rebuilding.is_some() && is_word && rules.has(Switch::VersionedWords) {
            self.words[visitor] = Some(KeptWord { word: Word { at: self.at, standing }, settled: true });
        }
    }

    pub(crate) fn note(&mut self, visitor: usize, standing: Standing) {
        let visitor = u8::try_from(visitor).unwrap_or(u8::MAX);
        self.events.push(Event { visitor, word: Word { at: self.at, standing } });
    }

    pub(crate) fn newest_word(&self, visitor: usize) -> Moment {
        self.words[visitor].map_or(Moment::default(), |kept| kept.word.at)
    }
}

/// Whether a caller that has seen this much finds the room lost.
pub(crate) fn is_lost(rules: Rules, state: &State, seen: Moment, compares_process: bool) -> bool {
    let Some(room) = &state.room else { return true };
    let is_behind = if rules.has(Switch::EpochClaimed) {
        room.at < seen
    } else {
        room.at.epoch == seen.epoch && room.at.version < seen.version
    };
    is_behind || compares_process && rules.has(Switch::RedisProcess) && room.process != state.process
}

/// Delivers a message. Whether it was accepted.
pub(crate) fn deliver(rules: Rules, state: &mut State, sent: Sent) -> bool {
    let Sent { message, seen } = sent;
    match message {
        Message::Write(event) => {
            write(rules, state, event, true);
            return true;
        }
        Message::Open { losses, .. } if rules.has(Switch::OpenNamesLoss) && losses != state.losses => return false,
        Message::Open { lost, epoch, position, .. } => return open(rules, state, seen, lost, epoch, position),
        _ => {}
    }
    if is_lost(rules, state, seen, rules.has(Switch::EveryCallChecksProcess)) {
        return false;
    }
    let Some(room) = &mut state.room else { return false };
    let (Message::Retell { epoch, .. }
    | Message::Restore { epoch, .. }
    | Message::Complete { epoch }
    | Message::Reinstate { epoch, .. }
    | Message::Open { epoch, .. }) = message
    else {
        return false;
    };
    let is_rebuild = !matches!(message, Message::Reinstate { .. });
    let is_for_now = epoch == room.at.epoch && (room.rebuilding.is_some() || !is_rebuild);
    if rules.has(Switch::EpochInMessages) && !is_for_now {
        return false;
    }
    match message {
        Message::Retell { words, .. } => retell(rules, state, words),
        Message::Restore { source, words, up_to, .. } => restore(rules, state, source, words, up_to),
        Message::Complete { .. } => complete(state),
        Message::Reinstate { visitor, standing, .. } => reinstate(rules, state, usize::from(visitor), standing),
        Message::Open { .. } | Message::Write(_) => return false,
    }
    true
}

/// Opens an epoch, unless the room is no longer the one that was found lost.
fn open(rules: Rules, state: &mut State, seen: Moment, lost: u8, epoch: u8, position: u8) -> bool {
    let current = state.room.map_or(0, |room| room.at.epoch);
    if current != lost || epoch <= current || epoch < seen.epoch {
        return false;
    }
    begin(rules, state, epoch, position, true);
    true
}

/// Begins an epoch with what the room still holds.
pub(crate) fn begin(rules: Rules, state: &mut State, epoch: u8, position: u8, is_rebuilt: bool) {
    if state.opened & (1 << epoch) != 0 {
        state.breaks(Property::TwoEpochs);
    }
    state.opened |= 1 << epoch;
    let old = state.room;
    let at = Moment { epoch, version: 0 };
    let seq = old.map_or(0, |room| room.seq).max(position) + GAP;
    let mut base = old.map_or(Moment::default(), |room| room.at);
    let mut people = old.map_or([None; VISITORS], |room| room.people);
    let mut words = [None; VISITORS];
    let keeps_base = rules.has(Switch::InterruptionKeepsBase) && rules.has(Switch::VersionedWords);
    if let Some((room, interrupted)) = old.and_then(|room| Some((room, room.rebuilding?)))
        && keeps_base
    {
        base = interrupted.base;
        words = room.words.map(|kept| kept.map(|kept| KeptWord { settled: false, ..kept }));
        // Of a wiped room the record has everything but the words. After a rollback the state is right up to the base.
        if base == Moment::default() {
            people = [None; VISITORS];
        }
    }
    state.room = Some(Room {
        at,
        seq,
        process: state.process,
        calls: [0; GATEWAYS],
        people,
        rebuilding: is_rebuilt.then_some(Rebuilding { base, up_to: 0 }),
        words,
        events: old.map(|room| room.events).unwrap_or_default(),
    });
}

fn complete(state: &mut State) {
    let Some(room) = &mut state.room else { return };
    if room.rebuilding.take().is_some() {
        room.words = [None; VISITORS];
        room.at.version += 1;
        state.checks_rebuilt();
    }
}

/// Puts back one person that the room did not know, or marks how their position ended.
fn reinstate(rules: Rules, state: &mut State, visitor: usize, standing: Standing) {
    let visitors = state.visitors;
    let Some(room) = &mut state.room else { return };
    let is_over = rules.has(Switch::ReinstateRespectsMarks) && room.is_marked(rules, visitor, standing.position);
    if room.live(visitor).is_some() || is_over {
        return;
    }
    let standing = put(room, visitor, standing, visitors[visitor].has_run_out(standing.position));
    room.change(rules, visitor, standing, false);
}

/// Writes an event to the record.
pub(crate) fn write(rules: Rules, state: &mut State, event: Event, arrives_late: bool) {
    let Event { visitor, word } = event;
    let is_late = arrives_late && state.room.is_none_or(|room| room.at.epoch > word.at.epoch);
    let row = &mut state.record.people[usize::from(visitor)];
    if !rules.has(Switch::RecordInOrder) || row.is_none_or(|row| row.word.at < word.at) {
        *row = Some(Row { word, is_late });
    }
    state.record.at = state.record.at.max(word.at);
    state.record.position = state.record.position.max(word.standing.position);
}
