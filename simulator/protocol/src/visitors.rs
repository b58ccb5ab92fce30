//! What visitors do: join, poll with any token that they ever got, leave.

use crate::gateways::{enter, has_seen, note_word};
use crate::observer::end_of;
use crate::rules::{Rules, Switch};
use crate::scripts::{deliver, is_lost};
use crate::state::{GAP, Message, Moment, Place, Row, Sent, Standing, State};

/// A signed token: a position, and the epoch that gave or confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    position: u8,
    epoch: u8,
}

/// A visitor without a live position joins.
pub(crate) fn join(rules: Rules, state: &mut State, visitor: usize, gateway: usize) -> Option<()> {
    let lag = state.bounds.lag;
    let person = &state.visitors[visitor];
    if state.bounds.joins == 0 || person.live().is_some() || person.joins.iter().all(Option::is_some) {
        return None;
    }
    enter(rules, state, gateway, true)?;
    let room = state.room.as_mut()?;
    if let Some(held) = room.live(visitor) {
        let epoch = room.at.epoch;
        // A lease that ran out is ended first.
        if held.place == Place::Inside && state.visitors[visitor].has_run_out(held.position) {
            return None;
        }
        return room.is_rebuilt(held.position).then(|| state.hears_live(visitor, held, renewed(rules, epoch)));
    }
    if room.rebuilding.is_some() || !room.events.fits(1, lag) {
        return None;
    }
    state.bounds.joins -= 1;
    room.seq += 1;
    let standing = Standing::new(Place::Waiting, room.seq);
    room.change(rules, visitor, standing, false);
    let epoch = room.at.epoch;
    state.hears_position(visitor, standing.position, epoch);
    note_word(state, gateway, visitor, standing);
    has_seen(rules, state, gateway);
    Some(())
}

/// A visitor leaves, and shows the token of their live position.
pub(crate) fn leave(rules: Rules, state: &mut State, visitor: usize, gateway: usize) -> Option<()> {
    let lag = state.bounds.lag;
    let position = state.visitors[visitor].live()?.position;
    enter(rules, state, gateway, rules.has(Switch::EveryCallChecksProcess))?;
    let room = state.room.as_mut()?;
    if !room.events.fits(1, lag) {
        return None;
    }
    let position = room.live(visitor).map_or(position, |held| held.position.max(position));
    let standing = Standing::new(Place::Left, position);
    room.change(rules, visitor, standing, true);
    state.leaves(visitor);
    note_word(state, gateway, visitor, standing);
    has_seen(rules, state, gateway);
    Some(())
}

/// A visitor polls with a token of one of their joins, the `oldest` or the latest one of it.
pub(crate) fn poll(
    rules: Rules,
    state: &mut State,
    (visitor, join, oldest): (usize, usize, bool),
    gateway: usize,
    is_late: bool,
) -> Option<()> {
    let join = state.visitors[visitor].joins[join]?;
    if oldest && join.oldest == join.newest {
        return None;
    }
    let token = Token { position: join.position, epoch: if oldest { join.oldest } else { join.newest } };
    if state.gateways[gateway].is_paused {
        return None;
    }
    if rules.has(Switch::EpochClaimed) && proves_loss(state, gateway, token) {
        return Some(());
    }
    enter(rules, state, gateway, rules.has(Switch::EveryCallChecksProcess))?;
    let (room, lag) = (state.room?, state.bounds.lag);
    let asks_record = rules.has(Switch::TokensAskRecord);
    if asks_record && !room.is_rebuilt(token.position) || !room.events.fits(1, lag) {
        return None;
    }
    let epoch = room.at.epoch;
    if let Some(held) = room.live(visitor) {
        let has_run_out = held.place == Place::Inside && state.visitors[visitor].has_run_out(held.position);
        if is_late {
            return None;
        } else if has_run_out {
            let standing = Standing { place: Place::Expired, ..held };
            state.room.as_mut()?.change(rules, visitor, standing, false);
            note_word(state, gateway, visitor, standing);
            has_seen(rules, state, gateway);
        } else {
            state.hears_live(visitor, held, renewed(rules, epoch));
        }
        return Some(());
    }
    // What a Redis process denies that took over from another one is not known.
    if is_lost(rules, state, state.gateways[gateway].seen, true) {
        return None;
    }
    if room.is_marked(rules, visitor, token.position) {
        if is_late {
            return None;
        }
        state.hears_end(visitor, token.position);
        if let Some(mark) = room.people[visitor] {
            note_word(state, gateway, visitor, mark);
        }
        return Some(());
    }
    if asks_record {
        return ask_record(rules, state, visitor, token, gateway, is_late);
    }
    if is_late {
        None
    } else if token.epoch < epoch {
        take_at_its_word(rules, state, visitor, token, gateway)
    } else {
        room.rebuilding.is_none().then(|| state.hears_end(visitor, token.position))
    }
}

/// Whether a token proves that the room knew more once. The gateway notes it then.
fn proves_loss(state: &mut State, gateway: usize, token: Token) -> bool {
    let Some(room) = &state.room else { return false };
    let is_above = token.epoch == room.at.epoch && token.position > room.seq;
    let gateway = &mut state.gateways[gateway];
    if token.epoch > room.at.epoch {
        gateway.seen = gateway.seen.max(Moment { epoch: token.epoch, version: 0 });
    } else if is_above {
        gateway.seen = gateway.seen.max(end_of(token.epoch));
    } else {
        return false;
    }
    gateway.position = gateway.position.max(token.position);
    true
}

/// Decides by the record about a person whom the room does not know.
fn ask_record(
    rules: Rules,
    state: &mut State,
    visitor: usize,
    token: Token,
    gateway: usize,
    is_late: bool,
) -> Option<()> {
    let standing = verdict(state.record.people[visitor], state.visitors[visitor].has_run_out(token.position), token);
    let epoch = state.room?.at.epoch;
    let who = u8::try_from(visitor).ok()?;
    let message = Message::Reinstate { epoch, visitor: who, standing };
    let sent = Sent { message, seen: state.gateways[gateway].seen };
    if is_late {
        return crate::gateways::delay(state, sent);
    }
    deliver(rules, state, sent);
    has_seen(rules, state, gateway);
    if standing.is_live() {
        let held = state.room?.live(visitor)?;
        state.hears_live(visitor, held, renewed(rules, epoch));
        note_word(state, gateway, visitor, held);
    } else {
        state.hears_end(visitor, token.position);
        note_word(state, gateway, visitor, standing);
    }
    Some(())
}

/// A token is never taken at its word where the record knows of a later join, or of the end of this one.
fn verdict(row: Option<Row>, has_run_out: bool, token: Token) -> Standing {
    match row.map(|row| row.word.standing).filter(|recorded| recorded.position >= token.position) {
        // Never recorded, or an earlier join only: the token alone knows of this one.
        None => Standing::new(Place::Waiting, token.position),
        Some(Standing { place: Place::Inside, position }) if has_run_out && position == token.position => {
            Standing::new(Place::Expired, position)
        }
        Some(recorded) => recorded,
    }
}

/// Puts the bearer of a token from an earlier epoch back at its position.
fn take_at_its_word(rules: Rules, state: &mut State, visitor: usize, token: Token, gateway: usize) -> Option<()> {
    let room = state.room.as_mut()?;
    room.seq = room.seq.max(token.position + GAP);
    let standing = Standing::new(Place::Waiting, token.position);
    room.change(rules, visitor, standing, false);
    let epoch = room.at.epoch;
    state.hears_live(visitor, standing, renewed(rules, epoch));
    note_word(state, gateway, visitor, standing);
    has_seen(rules, state, gateway);
    Some(())
}

/// The time of a visitor inside is over, while the room does not hold them.
pub(crate) fn run_out(state: &mut State, visitor: usize) -> Option<()> {
    let join = state.visitors[visitor].live().filter(|join| join.place == Place::Inside)?;
    let is_known = state.room.and_then(|room| room.live(visitor)).is_some_and(|held| held.position == join.position);
    let is_lost = state.room.is_none_or(|room| room.process != state.process);
    if is_known && !is_lost {
        return None;
    }
    state.runs_out(visitor);
    Some(())
}

/// The epoch of the token that comes with an answer. Where the record is asked, the epoch of a token decides nothing, and the
/// model keeps the first one.
fn renewed(rules: Rules, epoch: u8) -> Option<u8> {
    (!rules.has(Switch::TokensAskRecord)).then_some(epoch)
}
