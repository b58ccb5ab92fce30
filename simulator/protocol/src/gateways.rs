//! What gateways do by themselves: meet a room, admit, end leases, open the next epoch, retell, record.

use crate::observer::Property;
use crate::rules::{Rules, Switch};
use crate::scripts::{begin, deliver, is_lost, write};
use crate::state::{Event, GAP, GATEWAYS, Message, Moment, Place, Sent, Standing, State, VISITORS, Word};

/// Begins a call of a gateway. `None` where it is paused, or finds the room lost.
pub(crate) fn enter(rules: Rules, state: &mut State, gateway: usize, compares_process: bool) -> Option<()> {
    if state.gateways[gateway].is_paused {
        return None;
    }
    meet(rules, state, gateway);
    if finds_lost(rules, state, gateway, compares_process) {
        return None;
    }
    let caller = state.gateways[gateway];
    let room = state.room.as_mut()?;
    // Another gateway began an epoch with less than this one knows.
    if !rules.has(Switch::EpochClaimed) && room.at.epoch > caller.seen.epoch && room.seq < caller.position {
        room.seq = caller.position + GAP;
    }
    Some(())
}

/// A gateway that never saw the room learns from the record how far it came.
fn meet(rules: Rules, state: &mut State, gateway: usize) {
    let asks = rules.has(Switch::FirstMeetingAsksRecord) || state.room.is_none();
    let caller = &mut state.gateways[gateway];
    if caller.seen.epoch == 0 && asks {
        caller.seen = evidence(rules, state.record.at);
        if !rules.has(Switch::ClaimStatesPosition) {
            caller.position = state.record.position;
        }
    }
}

fn finds_lost(rules: Rules, state: &State, gateway: usize, compares_process: bool) -> bool {
    let caller = &state.gateways[gateway];
    let misses_calls = state.room.is_some_and(|room| {
        rules.has(Switch::GatewayCounters) && room.at.epoch == caller.seen.epoch && room.calls[gateway] < caller.calls
    });
    misses_calls || is_lost(rules, state, caller.seen, compares_process)
}

/// A gateway was answered: it has seen the room as it is.
pub(crate) fn has_seen(rules: Rules, state: &mut State, gateway: usize) {
    let Some(room) = &mut state.room else { return };
    let caller = &mut state.gateways[gateway];
    if rules.has(Switch::GatewayCounters) {
        room.calls[gateway] += 1;
        caller.calls = room.calls[gateway];
    }
    caller.seen = caller.seen.max(evidence(rules, room.at));
    if !rules.has(Switch::ClaimStatesPosition) {
        caller.position = caller.position.max(room.seq);
    }
}

/// Gateways that are not paused look at the room four times a second. Where words have versions, the model lets them see a new
/// epoch and retell their words before anything else happens: a gateway that does so later is a paused one.
pub(crate) fn look(rules: Rules, state: &mut State) {
    if !rules.has(Switch::VersionedWords) {
        return;
    }
    for gateway in 0..GATEWAYS {
        let Some(room) = state.room.filter(|room| room.process == state.process) else { return };
        let caller = &mut state.gateways[gateway];
        if caller.is_paused || room.at.epoch < caller.seen.epoch {
            continue;
        }
        if rules.has(Switch::RedisProcess) {
            caller.seen = caller.seen.max(evidence(rules, room.at));
        }
        let epoch = room.at.epoch;
        if room.rebuilding.is_some() && caller.retold != epoch && caller.words.iter().any(Option::is_some) {
            caller.retold = epoch;
            let sent = Sent { message: Message::Retell { epoch, words: caller.words }, seen: caller.seen };
            deliver(rules, state, sent);
            has_seen(rules, state, gateway);
        }
    }
}

/// What a caller brings of what it has seen. Where the room stores its process, the model does not count on versions: a design
/// that holds without them holds with them.
pub(crate) fn evidence(rules: Rules, at: Moment) -> Moment {
    if rules.has(Switch::RedisProcess) { Moment { version: 0, ..at } } else { at }
}

/// A gateway remembers what it answered.
pub(crate) fn note_word(state: &mut State, gateway: usize, visitor: usize, standing: Standing) {
    let at = state.room.map_or(Moment::default(), |room| room.at);
    state.gateways[gateway].words[visitor] = Some(Word { at, standing });
}

/// A message is on its way from now on.
pub(crate) fn delay(state: &mut State, sent: Sent) -> Option<()> {
    if state.bounds.late == 0 || state.late.is_some() {
        return None;
    }
    state.bounds.late -= 1;
    state.late = Some(sent);
    Some(())
}

/// The lowest person in line is admitted.
pub(crate) fn admit(rules: Rules, state: &mut State, gateway: usize) -> Option<()> {
    enter(rules, state, gateway, true)?;
    let lag = state.bounds.lag;
    let room = state.room.as_mut()?;
    let in_line = (0..VISITORS).filter_map(|visitor| {
        let standing = room.people[visitor]?;
        (standing.place == Place::Waiting).then_some((standing.position, visitor))
    });
    let (position, visitor) = in_line.min()?;
    let is_open = rules.has(Switch::EpochClaimed) && room.rebuilding.is_some_and(|rebuilding| rebuilding.up_to > 0);
    if !room.events.fits(1, lag) || !room.is_rebuilt(position) || room.rebuilding.is_some() && !is_open {
        return None;
    }
    let room = state.room?;
    // Where an epoch was opened, people in front who are there had the time to come back first, once their part was back.
    let has_waited = room.process == state.process;
    if has_waited && state.missing_before(position).any(|at| room.is_rebuilt(at)) {
        return None;
    }
    let is_overtaking = state.missing_before(position).next().is_some();
    if is_overtaking {
        state.breaks(Property::Overtaken);
    }
    let standing = Standing::new(Place::Inside, position);
    state.room.as_mut()?.change(rules, visitor, standing, false);
    state.is_admitted(visitor, position);
    note_word(state, gateway, visitor, standing);
    has_seen(rules, state, gateway);
    Some(())
}

/// A lease runs out, and a gateway ends it.
pub(crate) fn end_lease(rules: Rules, state: &mut State, visitor: usize, gateway: usize) -> Option<()> {
    enter(rules, state, gateway, true)?;
    let lag = state.bounds.lag;
    let room = state.room.as_mut()?;
    let held = room.live(visitor).filter(|held| held.place == Place::Inside)?;
    let is_back = room.is_rebuilt(held.position) || !rules.has(Switch::EndsWhatIsBack);
    if !is_back || !room.events.fits(1, lag) {
        return None;
    }
    if state.visitors[visitor].live().is_some_and(|join| join.position == held.position) {
        state.runs_out(visitor);
    }
    if !state.visitors[visitor].has_run_out(held.position) {
        return None;
    }
    let room = state.room.as_mut()?;
    room.change(rules, visitor, Standing { place: Place::Expired, ..held }, false);
    has_seen(rules, state, gateway);
    Some(())
}

/// A gateway that finds the room lost opens the next epoch.
pub(crate) fn open(rules: Rules, state: &mut State, gateway: usize, is_late: bool) -> Option<()> {
    if state.gateways[gateway].is_paused {
        return None;
    }
    meet(rules, state, gateway);
    if !finds_lost(rules, state, gateway, true) {
        return None;
    }
    let caller = state.gateways[gateway];
    let lost = state.room.map_or(0, |room| room.at.epoch);
    if !rules.has(Switch::EpochClaimed) {
        if is_late {
            return None;
        }
        let epoch = caller.seen.epoch.max(lost) + 1;
        begin(rules, state, epoch, caller.position, caller.seen.epoch > 0);
        has_seen(rules, state, gateway);
        return Some(());
    }
    let row = &mut state.record;
    let epoch = caller.seen.epoch.max(lost).max(row.at.epoch) + 1;
    let position = caller.position.max(row.position);
    row.at = Moment { epoch, version: 0 };
    if rules.has(Switch::ClaimStatesPosition) {
        row.position = position.max(state.room.map_or(0, |room| room.seq)) + GAP;
    }
    let sent = Sent { message: Message::Open { lost, epoch, position }, seen: caller.seen };
    if is_late {
        return delay(state, sent);
    }
    if deliver(rules, state, sent) {
        has_seen(rules, state, gateway);
    }
    Some(())
}

/// A gateway retells its words at any time, where they have no versions.
pub(crate) fn retell(rules: Rules, state: &mut State, gateway: usize) -> Option<()> {
    if rules.has(Switch::VersionedWords) {
        return None;
    }
    enter(rules, state, gateway, rules.has(Switch::EveryCallChecksProcess))?;
    let epoch = state.room.filter(|room| room.rebuilding.is_some())?.at.epoch;
    let caller = &mut state.gateways[gateway];
    if caller.retold == epoch || caller.words.iter().all(Option::is_none) {
        return None;
    }
    caller.retold = epoch;
    let sent = Sent { message: Message::Retell { epoch, words: caller.words }, seen: caller.seen };
    deliver(rules, state, sent);
    has_seen(rules, state, gateway);
    Some(())
}

/// The earliest event that is not recorded yet is written to the record.
pub(crate) fn record(rules: Rules, state: &mut State, is_late: bool) -> Option<()> {
    let event: Event = state.room?.events.first()?;
    if is_late {
        return delay(state, Sent { message: Message::Write(event), seen: Moment::default() });
    }
    write(rules, state, event, false);
    // The record has it now: no gateway needs to remember it. In truth it does for a minute and a half.
    if rules.has(Switch::VersionedWords) {
        for word in state.gateways.iter_mut().map(|gateway| &mut gateway.words[usize::from(event.visitor)]) {
            *word = word.filter(|word| word.at > event.word.at);
        }
    }
    state.room.as_mut()?.events.drop_first();
    Some(())
}

/// An hour later, the mark of an end is dropped, and gateways have forgotten what they said. The record has it by then.
pub(crate) fn drop_mark(state: &mut State, visitor: usize) -> Option<()> {
    if state.bounds.dropped_marks == 0 || state.late.is_some() {
        return None;
    }
    state.bounds.dropped_marks -= 1;
    let room = state.room.as_mut()?;
    let mark = room.people[visitor].filter(|standing| !standing.is_live())?;
    let row = state.record.people[visitor]?.word.standing;
    let is_recorded = row.position >= mark.position && room.events.iter().next().is_none();
    if !is_recorded || room.rebuilding.is_some() {
        return None;
    }
    room.people[visitor] = None;
    for gateway in &mut state.gateways {
        gateway.words[visitor] = None;
    }
    Some(())
}
