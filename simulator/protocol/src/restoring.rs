//! What the scripts do that put people back: retell and restore.

use crate::message::Source;
use crate::rules::{Rules, Switch};
use crate::state::{GAP, KeptWord, PerVisitor, Place, Rebuilding, Room, Standing, State, Word};

/// Keeps the newest word of each person. Words from before the base, and of people that are back, are dropped.
pub(crate) fn retell(rules: Rules, state: &mut State, words: PerVisitor<Option<Word>>) {
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
pub(crate) fn restore(rules: Rules, state: &mut State, source: Source, words: PerVisitor<Option<Word>>, up_to: u8) {
    if !rules.has(Switch::VersionedWords) {
        return restore_by_place(rules, state, words);
    }
    let visitors = state.visitors;
    let Some(room) = &mut state.room else { return };
    room.at.version += 1;
    for (visitor, word) in (0..).zip(words).filter_map(|(visitor, word)| Some((visitor, word?))) {
        let is_undone = match source {
            // A person with a kept word is settled later, with both at hand. A known person can have changed since.
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
pub(crate) fn put(room: &mut Room, visitor: usize, standing: Standing, has_run_out: bool) -> Standing {
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
