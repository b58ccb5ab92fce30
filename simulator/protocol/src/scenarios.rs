//! What is searched, and what it must find.

use crate::observer::Property;
use crate::rules::{Rules, Switch};
use crate::search::{Found, Limits, search};
use crate::state::{Bounds, State};

/// A set of rules, what can go wrong, and the promise that breaks.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is about.
    pub name: &'static str,
    /// The rules.
    pub rules: Rules,
    /// What can happen.
    pub bounds: Bounds,
    /// Whether the room was never opened before.
    pub is_new: bool,
    /// What is broken; `None` where nothing must be.
    pub breaks: Option<Property>,
}

impl Scenario {
    /// Searches it.
    pub fn search(&self) -> Found {
        let start = if self.is_new { State::new(self.bounds) } else { State::opened(self.bounds) };
        search(self.rules, &[start], self.breaks, Limits::default())
    }
}

/// Everything goes well: two joins, a record that lags by two events, copies that miss two changes at most.
const CALM: Bounds =
    Bounds { losses: 0, pauses: 0, late: 0, crashes: 0, dropped_marks: 0, joins: 2, lag: 2, gateways: 2, missed: 2 };
const LOSS: Bounds = Bounds { losses: 1, ..CALM };
const WIPE: Bounds = Bounds { missed: 0, ..LOSS };
const TWO_LOSSES: Bounds = Bounds { losses: 2, ..CALM };
const LATE: Bounds = Bounds { late: 1, ..LOSS };
const TIGHT: Bounds = Bounds { lag: 1, missed: 1, ..CALM };

/// What today's rules break.
pub fn today() -> Vec<Scenario> {
    let today =
        |name, bounds, breaks| Scenario { name, rules: Rules::today(), bounds, is_new: false, breaks: Some(breaks) };
    vec![
        today("a gateway that has not seen what was lost gives positions again", LOSS, Property::PositionGivenTwice),
        today(
            "a gateway that crashed with Redis finds the room known and asks no other party",
            Bounds { crashes: 1, gateways: 1, ..LOSS },
            Property::PositionGivenTwice,
        ),
        today("after a wipe an old token is taken at its word", WIPE, Property::EndedPlaceReturns),
        today("a retold \"left\" blocks a later join through the other gateway", WIPE, Property::PositionLost),
        today(
            "the rebuild of one epoch completes the next one",
            Bounds { losses: 2, ..WIPE },
            Property::CompleteTooEarly,
        ),
        today(
            "a rollback during a rebuild goes unnoticed, and the next one comes before a person in front",
            Bounds { losses: 2, ..TIGHT },
            Property::Overtaken,
        ),
        today("gateways begin the same epoch twice", Bounds { losses: 2, ..WIPE }, Property::TwoEpochs),
    ]
}

/// What the mended rules break without one of them. [`Switch::FirstMeetingAsksRecord`] is not among them: where the
/// process is compared, a gateway that meets a rolled-back room finds that out by itself.
pub fn without_one() -> Vec<Scenario> {
    let crash = Bounds { crashes: 1, ..LOSS };
    let all_but_crash = Bounds { losses: 2, pauses: 1, late: 1, joins: 1, ..TIGHT };
    [
        ("without the Redis process", Switch::RedisProcess, LOSS, Property::PositionGivenTwice),
        ("without the process in every call", Switch::EveryCallChecksProcess, LOSS, Property::EndedPlaceReturns),
        ("without the claim of an epoch", Switch::EpochClaimed, TWO_LOSSES, Property::PositionGivenTwice),
        ("without the position in the claim", Switch::ClaimStatesPosition, TWO_LOSSES, Property::PositionGivenTwice),
        ("without the loss in an opening", Switch::OpenNamesLoss, all_but_crash, Property::EndedPlaceReturns),
        ("without the epoch in messages", Switch::EpochInMessages, LATE, Property::EndedPlaceReturns),
        ("without versions of words", Switch::VersionedWords, LOSS, Property::OlderWordWins),
        ("without the comparison in a restore", Switch::RestoreCompares, LOSS, Property::OlderWordWins),
        ("without words of changes", Switch::ChangesAreWords, LATE, Property::OlderWordWins),
        ("with the end of leases that are not back", Switch::EndsWhatIsBack, LOSS, Property::CompleteTooEarly),
        (
            "without the base of an interrupted rebuild",
            Switch::InterruptionKeepsBase,
            TWO_LOSSES,
            Property::CompleteTooEarly,
        ),
        ("without the record for tokens", Switch::TokensAskRecord, LOSS, Property::EndedPlaceReturns),
        ("without positions in marks", Switch::MarksNamePositions, crash, Property::PositionLost),
        (
            "without marks for a late reinstatement",
            Switch::ReinstateRespectsMarks,
            Bounds { losses: 1, late: 1, ..TIGHT },
            Property::EndedPlaceReturns,
        ),
        ("without order in the record", Switch::RecordInOrder, LOSS, Property::OlderWordWins),
    ]
    .into_iter()
    .map(|(name, switch, bounds, breaks)| Scenario {
        name,
        rules: Rules::mended().without(switch),
        bounds,
        is_new: false,
        breaks: Some(breaks),
    })
    .chain([Scenario {
        name: "with a counter for each gateway in place of the Redis process",
        rules: Rules::mended().without(Switch::RedisProcess).with(Switch::GatewayCounters),
        bounds: LOSS,
        is_new: false,
        breaks: Some(Property::PositionGivenTwice),
    }])
    .collect()
}

/// Where the mended rules hold, each looked at to the last state.
pub fn mended() -> Vec<Scenario> {
    [
        ("two losses", false, Bounds { losses: 2, ..TIGHT }),
        ("a loss, three joins, a record that lags", false, Bounds { joins: 3, ..LOSS }),
        ("a loss, a pause, a crash", false, Bounds { losses: 1, pauses: 1, crashes: 1, ..TIGHT }),
        ("a loss, a late message", false, Bounds { losses: 1, late: 1, ..TIGHT }),
        (
            "a loss, a late message, and a mark that is dropped",
            false,
            Bounds { losses: 1, late: 1, dropped_marks: 1, joins: 2, ..TIGHT },
        ),
        ("a room that was never opened, a loss, a late message", true, Bounds { losses: 1, late: 1, ..TIGHT }),
        (
            "two losses, a pause, a late message, one join",
            false,
            Bounds { losses: 2, pauses: 1, late: 1, joins: 1, ..TIGHT },
        ),
    ]
    .into_iter()
    .map(|(name, is_new, bounds)| Scenario { name, rules: Rules::mended(), bounds, is_new, breaks: None })
    .chain([Scenario {
        name: "a loss, a crash, and no look into the record at the first meeting",
        rules: Rules::mended().without(Switch::FirstMeetingAsksRecord),
        bounds: Bounds { losses: 1, pauses: 1, crashes: 1, ..TIGHT },
        is_new: false,
        breaks: None,
    }])
    .collect()
}

/// All of them.
pub fn all() -> Vec<Scenario> {
    [today(), without_one(), mended()].concat()
}
