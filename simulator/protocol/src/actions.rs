//! Everything that can happen next.

use crate::rules::Rules;
use crate::state::{GATEWAYS, JOINS, State, VISITORS};
use crate::{faults, gateways, rebuilding, visitors};

/// One thing that happens. Visitors and gateways are numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A visitor joins.
    Join { visitor: u8, gateway: u8 },
    /// A visitor polls with a token of one of their joins, the oldest or the latest. A late one is answered by nobody.
    Poll { visitor: u8, gateway: u8, join: u8, oldest: bool, late: bool },
    /// A visitor leaves.
    Leave { visitor: u8, gateway: u8 },
    /// The time of a visitor inside is over.
    RunOut { visitor: u8 },
    /// A gateway ends a lease that ran out.
    EndLease { visitor: u8, gateway: u8 },
    /// A gateway admits the first person in line.
    Admit { gateway: u8 },
    /// A gateway opens the next epoch, because it found the room lost.
    Open { gateway: u8, late: bool },
    /// A gateway retells its words.
    Retell { gateway: u8 },
    /// A gateway does its next step of a rebuild.
    Rebuild { gateway: u8, late: bool },
    /// The earliest event is recorded.
    Record { late: bool },
    /// An hour later, the mark of an end is dropped.
    DropMark { visitor: u8 },
    /// A copy of Redis stays behind.
    Copy,
    /// Redis loses everything.
    Wipe,
    /// The copy takes over.
    RollBack,
    /// All gateways crash.
    Crash,
    /// A gateway is paused.
    Pause { gateway: u8 },
    /// It wakes.
    Wake { gateway: u8 },
    /// The late message arrives.
    Arrive,
}

impl Action {
    /// Whether the message of it is late.
    const fn is_late(self) -> bool {
        matches!(
            self,
            Self::Poll { late: true, .. }
                | Self::Open { late: true, .. }
                | Self::Rebuild { late: true, .. }
                | Self::Record { late: true }
        )
    }
}

/// The state after an action, where it can happen and changes anything.
pub fn apply(rules: Rules, state: &State, action: Action) -> Option<State> {
    if action.is_late() && (state.bounds.late == 0 || state.late.is_some()) {
        return None;
    }
    let mut next = *state;
    let to = &mut next;
    let at = usize::from;
    match action {
        Action::Join { visitor, gateway } => visitors::join(rules, to, at(visitor), at(gateway)),
        Action::Poll { visitor, gateway, join, oldest, late } => {
            visitors::poll(rules, to, (at(visitor), at(join), oldest), at(gateway), late)
        }
        Action::Leave { visitor, gateway } => visitors::leave(rules, to, at(visitor), at(gateway)),
        Action::RunOut { visitor } => visitors::run_out(to, at(visitor)),
        Action::EndLease { visitor, gateway } => gateways::end_lease(rules, to, at(visitor), at(gateway)),
        Action::Admit { gateway } => gateways::admit(rules, to, at(gateway)),
        Action::Open { gateway, late } => gateways::open(rules, to, at(gateway), late),
        Action::Retell { gateway } => gateways::retell(rules, to, at(gateway)),
        Action::Rebuild { gateway, late } => rebuilding::step(rules, to, at(gateway), late),
        Action::Record { late } => gateways::record(rules, to, late),
        Action::DropMark { visitor } => gateways::drop_mark(to, at(visitor)),
        Action::Copy => faults::copy(to),
        Action::Wipe => faults::wipe(to),
        Action::RollBack => faults::roll_back(to),
        Action::Crash => faults::crash(to),
        Action::Pause { gateway } => faults::pause(to, at(gateway)),
        Action::Wake { gateway } => faults::wake(to, at(gateway)),
        Action::Arrive => faults::arrive(rules, to),
    }?;
    age_copy(state, &mut next);
    gateways::look(rules, &mut next);
    (next != *state).then_some(next)
}

/// Every action, possible now or not.
pub fn all() -> Vec<Action> {
    let people = 0..u8::try_from(VISITORS).unwrap_or(u8::MAX);
    let servers = 0..u8::try_from(GATEWAYS).unwrap_or(u8::MAX);
    let joins = 0..u8::try_from(JOINS).unwrap_or(u8::MAX);
    let mut all = vec![Action::Copy, Action::Wipe, Action::RollBack, Action::Crash, Action::Arrive];
    for late in [false, true] {
        all.push(Action::Record { late });
        for gateway in servers.clone() {
            all.extend([Action::Open { gateway, late }, Action::Rebuild { gateway, late }]);
        }
    }
    for gateway in servers.clone() {
        all.extend([
            Action::Retell { gateway },
            Action::Admit { gateway },
            Action::Pause { gateway },
            Action::Wake { gateway },
        ]);
    }
    for visitor in people {
        all.extend([Action::RunOut { visitor }, Action::DropMark { visitor }]);
        for gateway in servers.clone() {
            all.extend([
                Action::Join { visitor, gateway },
                Action::Leave { visitor, gateway },
                Action::EndLease { visitor, gateway },
            ]);
            for join in joins.clone() {
                for (oldest, late) in [(false, false), (true, false), (false, true), (true, true)] {
                    all.push(Action::Poll { visitor, gateway, join, oldest, late });
                }
            }
        }
    }
    all
}

/// Counts what the copy misses.
fn age_copy(before: &State, after: &mut State) {
    let at = |state: &State| state.room.map(|room| room.at);
    after.copy_misses = match after.copy {
        Some(_) => before.copy_misses + u8::from(before.copy.is_some() && at(before) != at(after)),
        None => 0,
    };
    if after.copy_misses > after.bounds.missed {
        (after.copy, after.copy_misses) = (None, 0);
    }
}
