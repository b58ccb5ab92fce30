//! What goes wrong.

use crate::rules::Rules;
use crate::scripts::deliver;
use crate::state::{GATEWAYS, Gateway, State};

/// A copy of the room lags from now on.
pub(crate) fn copy(state: &mut State) -> Option<()> {
    if state.bounds.losses == 0 || state.copy.is_some() {
        return None;
    }
    state.copy = Some(state.room?);
    Some(())
}

/// Redis is empty.
pub(crate) fn wipe(state: &mut State) -> Option<()> {
    if state.bounds.losses == 0 {
        return None;
    }
    state.bounds.losses -= 1;
    state.room.take()?;
    if state.bounds.losses == 0 {
        state.copy = None;
    }
    state.forgets();
    Some(())
}

/// Another Redis process takes over, with the copy.
pub(crate) fn roll_back(state: &mut State) -> Option<()> {
    if state.bounds.losses == 0 {
        return None;
    }
    state.bounds.losses -= 1;
    state.room = Some(state.copy.take()?);
    state.process += 1;
    state.forgets();
    Some(())
}

/// All gateways crash, and new processes take their place.
pub(crate) fn crash(state: &mut State) -> Option<()> {
    if state.bounds.crashes == 0 {
        return None;
    }
    state.bounds.crashes -= 1;
    state.gateways = [Gateway::default(); GATEWAYS];
    for room in [&mut state.room, &mut state.copy].into_iter().flatten() {
        room.calls = [0; GATEWAYS];
    }
    state.forgets();
    Some(())
}

/// A gateway stops for a while.
pub(crate) fn pause(state: &mut State, gateway: usize) -> Option<()> {
    if state.bounds.pauses == 0 || state.gateways[gateway].is_paused {
        return None;
    }
    state.bounds.pauses -= 1;
    state.gateways[gateway].is_paused = true;
    state.forgets();
    Some(())
}

/// It goes on with what it was doing.
pub(crate) fn wake(state: &mut State, gateway: usize) -> Option<()> {
    let gateway = &mut state.gateways[gateway];
    std::mem::take(&mut gateway.is_paused).then_some(())
}

/// The late message arrives.
pub(crate) fn arrive(rules: Rules, state: &mut State) -> Option<()> {
    let sent = state.late.take()?;
    let (needed, lag) = (sent.message.events(), state.bounds.lag);
    if !state.room.is_none_or(|room| room.events.fits(needed, lag)) {
        return None;
    }
    deliver(rules, state, sent);
    Some(())
}
