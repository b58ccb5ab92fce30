//! What the scripts in Redis do: changes of the room, and the messages that make them.

use crate::observer::Property;
use crate::rules::{Rules, Switch};
use crate::state::{
    Event, GAP, GATEWAYS, KeptWord, Message, Moment, PerVisitor, Place, Rebuilding, Room, Row, Sent, Source, Standing,
    State, VISITORS, Word,
};

impl Room {
    /// Whether everybody up to a position is back.
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

    fn note(&mut self, visitor: usize, standing: Standing) {
        let visitor = u8::try_from(visitor).unwrap_or(u8::MAX);
        self.events.push(Event { visitor, word: Word { at: self.at, standing } });
    }

    fn newest_word(&self, visitor: usize) -> Moment {
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
        Message::Open { lost, epoch, position } => return open(rules, state, seen, lost, epoch, position),
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

/// Keeps the newest word of each person. Words from before the base, and of people who are back already, count for nothing.
fn retell(rules: Rules, state: &mut State, words: PerVisitor<Option<Word>>) {
    if !rules.has(Switch::VersionedWords) {
        return restore_by_place(rules, state, words);
    }
    let Some(room) = &mut state.room else { return };
    let Some(Rebuilding { base, up_to }) = room.rebuilding else { return };
    for (visitor, word) in (0..).zip(words).filter_map(|(visitor, word)| Some((visitor, word?))) {
        let is_behind = up_to == 0 || word.standing.position > up_to;
        let is_news = word.at > base.max(room.newest_word(visitor)) && word.at.epoch < room.at.epoch;
        if is_behind && is_news {
            room.words[visitor] = Some(KeptWord { word, settled: false });
        }
    }
    room.at.version += 1;
}

/// Puts people where words say they are.
fn restore(rules: Rules, state: &mut State, source: Source, words: PerVisitor<Option<Word>>, up_to: u8) {
    if !rules.has(Switch::VersionedWords) {
        return restore_by_place(rules, state, words);
    }
    let visitors = state.visitors;
    let Some(room) = &mut state.room else { return };
    room.at.version += 1;
    for (visitor, word) in (0..).zip(words).filter_map(|(visitor, word)| Some((visitor, word?))) {
        let is_undone = match source {
            // A person of whom a word is kept is settled with both at hand; a known one may have changed since.
            Source::Page => room.words[visitor].is_some() || room.people[visitor].is_some(),
            Source::Changed | Source::Words => {
                rules.has(Switch::RestoreCompares) && room.newest_word(visitor) > word.at
            }
        };
        if is_undone {
            continue;
        }
        let standing = put(room, visitor, word.standing, visitors[visitor].has_run_out(word.standing.position));
        if source != Source::Page {
            room.words[visitor] = Some(KeptWord { word: Word { standing, ..word }, settled: true });
        }
        if source == Source::Words {
            room.note(visitor, standing);
        }
    }
    if let Some(rebuilding) = &mut room.rebuilding {
        rebuilding.up_to = rebuilding.up_to.max(up_to);
    }
}

/// Puts a person somewhere. An admission that ran out has ended.
fn put(room: &mut Room, visitor: usize, standing: Standing, has_run_out: bool) -> Standing {
    let place = if standing.place == Place::Inside && has_run_out { Place::Expired } else { standing.place };
    let standing = Standing { place, ..standing };
    room.people[visitor] = Some(standing);
    room.seq = room.seq.max(standing.position);
    standing
}

/// Without versions: "left" goes before everything else, and the position nearer the front before the other one.
fn restore_by_place(rules: Rules, state: &mut State, words: PerVisitor<Option<Word>>) {
    let visitors = state.visitors;
    let Some(room) = &mut state.room else { return };
    room.at.version += 1;
    for (visitor, Word { standing, .. }) in (0..).zip(words).filter_map(|(visitor, word)| Some((visitor, word?))) {
        room.seq = room.seq.max(standing.position + GAP);
        if standing.place.has_ended() {
            room.people[visitor] = Some(Standing { place: Place::Left, ..standing });
            continue;
        }
        let is_blocked = match room.people[visitor] {
            Some(Standing { place: Place::Left, .. }) => room.is_marked(rules, visitor, standing.position),
            Some(held @ Standing { place: Place::Waiting, .. }) => {
                standing.place == Place::Waiting && held.position <= standing.position
            }
            Some(Standing { place: Place::Inside, .. }) => true,
            Some(Standing { place: Place::Expired, .. }) | None => false,
        };
        let is_over = standing.place == Place::Inside && visitors[visitor].has_run_out(standing.position);
        if !is_blocked && !is_over {
            room.people[visitor] = Some(standing);
        }
    }
}

fn complete(state: &mut State) {
    let Some(room) = &mut state.room else { return };
    if room.rebuilding.take().is_some() {
        room.words = [None; VISITORS];
        room.at.version += 1;
        state.checks_rebuilt();
    }
}

/// Puts one person back whom the room did not know, or marks how their position ended.
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
