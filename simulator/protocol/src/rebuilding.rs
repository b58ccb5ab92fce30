//! The steps in which a gateway rebuilds a room. Each reads, sends one message and waits for the answer.

use crate::gateways::{delay, enter, evidence, has_seen};
use crate::rules::{Rules, Switch};
use crate::scripts::deliver;
use crate::state::{GATEWAYS, Message, Moment, PerVisitor, Place, Rebuild, Sent, Source, State, Step, VISITORS, Word};

/// The next step of a gateway's rebuild; the first one where it has none.
pub(crate) fn step(rules: Rules, state: &mut State, gateway: usize, is_late: bool) -> Option<()> {
    if state.gateways[gateway].is_paused {
        return None;
    }
    let is_current = |rebuild: &Rebuild| {
        let room = state.room.filter(|room| room.rebuilding.is_some());
        room.is_some_and(|room| room.at.epoch == rebuild.epoch) || !rules.has(Switch::EpochInMessages)
    };
    let Some(rebuild) = state.gateways[gateway].rebuild.filter(is_current) else {
        return start(rules, state, gateway, is_late);
    };
    advance(rules, state, gateway, rebuild, is_late)
}

/// One gateway at a time rebuilds an epoch, as long as it is not paused. The others had their time to retell.
fn start(rules: Rules, state: &mut State, gateway: usize, is_late: bool) -> Option<()> {
    enter(rules, state, gateway, rules.has(Switch::EveryCallChecksProcess))?;
    let room = state.room?;
    room.rebuilding?;
    let epoch = room.at.epoch;
    let is_versioned = rules.has(Switch::VersionedWords);
    let others = (0..GATEWAYS).filter(|other| *other != gateway).map(|other| state.gateways[other]);
    let is_taken = others
        .clone()
        .any(|other| !other.is_paused && is_versioned && other.rebuild.is_some_and(|rebuild| rebuild.epoch == epoch));
    if is_taken {
        return None;
    }
    if rules.has(Switch::RebuildConfirmsEpoch) {
        let caller = &mut state.gateways[gateway];
        caller.seen = caller.seen.max(evidence(rules, state.record.at));
        if state.record.at.epoch > epoch {
            return (!is_late).then_some(());
        }
    }
    let step = if is_versioned { Step::Settle } else { Step::Line(0) };
    advance(rules, state, gateway, Rebuild { epoch, step }, is_late)
}

fn advance(rules: Rules, state: &mut State, gateway: usize, rebuild: Rebuild, is_late: bool) -> Option<()> {
    let (message, next) = next_message(rules, state, rebuild);
    let sent = Sent { message, seen: state.gateways[gateway].seen };
    // A call that is late is not answered in time: the gateway begins again.
    if is_late {
        state.gateways[gateway].rebuild = None;
        return delay(state, sent);
    }
    let (needed, lag) = (message.events(), state.bounds.lag);
    if !state.room.is_none_or(|room| room.events.fits(needed, lag)) {
        return None;
    }
    let goes_on = deliver(rules, state, sent);
    if goes_on {
        has_seen(rules, state, gateway);
    }
    let next = next.filter(|_| goes_on).map(|step| Rebuild { step, ..rebuild });
    state.gateways[gateway].rebuild = next;
    Some(())
}

/// The message of a step, and the step after it. Steps that have nothing to put back are skipped.
fn next_message(rules: Rules, state: &State, rebuild: Rebuild) -> (Message, Option<Step>) {
    let Rebuild { epoch, mut step } = rebuild;
    let base = state.room.and_then(|room| room.rebuilding).map_or(Moment::default(), |rebuilding| rebuilding.base);
    let restore = |source, words, up_to| Message::Restore { epoch, source, words, up_to };
    loop {
        let (words, source, up_to, next) = match step {
            Step::Settle => {
                let next = if base == Moment::default() { Step::Inside } else { Step::Changed };
                (unsettled(state), Source::Words, 0, next)
            }
            Step::Inside => (inside(state), Source::Page, 0, Step::Line(0)),
            Step::Line(behind) => {
                let (words, up_to) = line(state, behind, rules.has(Switch::VersionedWords));
                let next = if up_to > 0 { Step::Line(up_to) } else { Step::SettleAgain };
                (words, Source::Page, up_to, next)
            }
            Step::Changed => (changed(state, base), Source::Changed, 0, Step::SettleAgain),
            Step::SettleAgain => (unsettled(state), Source::Words, 0, Step::Complete),
            Step::Complete => return (Message::Complete { epoch }, None),
        };
        if words.iter().any(Option::is_some) {
            return (restore(source, words, up_to), Some(next));
        }
        step = next;
    }
}

/// The words that the room keeps, each compared with the record.
fn unsettled(state: &State) -> PerVisitor<Option<Word>> {
    let kept = state.room.map_or([None; VISITORS], |room| room.words);
    let mut words = [None; VISITORS];
    for (visitor, word) in words.iter_mut().enumerate() {
        let Some(kept) = kept[visitor].filter(|kept| !kept.settled) else { continue };
        let recorded = state.record.people[visitor].map(|row| row.word).filter(|row| row.at >= kept.word.at);
        *word = Some(recorded.unwrap_or(kept.word));
    }
    words
}

fn recorded(state: &State, is_wanted: impl Fn(Word) -> bool) -> PerVisitor<Option<Word>> {
    state.record.people.map(|row| row.map(|row| row.word).filter(|word| is_wanted(*word)))
}

fn inside(state: &State) -> PerVisitor<Option<Word>> {
    recorded(state, |word| word.standing.place == Place::Inside)
}

/// The first person behind a position: a page holds one.
fn line(state: &State, behind: u8, is_live_only: bool) -> (PerVisitor<Option<Word>>, u8) {
    let is_wanted = |word: Word| {
        let place = word.standing.place;
        word.standing.position > behind && if is_live_only { !place.has_ended() } else { place != Place::Expired }
    };
    let people = recorded(state, is_wanted);
    let next = people.iter().flatten().map(|word| word.standing.position).min().unwrap_or(0);
    (people.map(|word| word.filter(|word| word.standing.position == next)), next)
}

fn changed(state: &State, base: Moment) -> PerVisitor<Option<Word>> {
    recorded(state, |word| word.at > base)
}
