//! The observer sees every answer that a visitor gets and every state that a call leaves in Redis, and says which promise
//! is broken.
//!
//! It demands by what visitors were answered and permits by what truly happened: somebody who was answered a position
//! must keep it; somebody who is answered `left` must have left, whether or not they learnt of it.

mod answers;
mod healed;
mod knowledge;
mod person;
mod rates;
pub(crate) mod room;
mod steps;

use std::collections::BTreeMap;

use common::ids::UserId;

pub(crate) use answers::{Answer, Answered, Asked};
use knowledge::Knowledge;
use person::Person;
use rates::Rate;
use room::RoomState;

use crate::log::Log;
use crate::plan::{Plan, Room};
use crate::site;

/// A promise of the waiting room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// No position is given twice.
    PositionsAreUnique,
    /// Nobody present is overtaken.
    NobodyPresentIsOvertaken,
    /// Somebody who is present is not set aside as absent.
    PresentIsNotAbsent,
    /// A position is kept until its owner leaves.
    PositionsAreKept,
    /// An admission lasts until its end.
    AdmissionsAreKept,
    /// An ended place never comes back.
    EndedPlacesStayEnded,
    /// Offers and leases never exceed the capacity.
    Capacity,
    /// Offers never exceed the rate over any window.
    OfferRate,
    /// Admissions never exceed the rate over any window.
    AdmissionRate,
    /// A pass is good as long as its lease and no longer.
    PassesEndWithTheLease,
    /// No answer is made up.
    NothingIsMadeUp,
    /// Once all faults are healed, turns go on.
    TurnsGoOn,
    /// Once all faults are healed, every request is answered.
    AnswersComeBack,
    /// Positions jump by a bounded gap, once a loss.
    PositionsStaySmall,
    /// Scripts do not fail.
    ScriptsRun,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// When, in ms since the world began.
    pub at_ms: i64,
    /// Whose, where it is one visitor's.
    pub visitor: Option<u32>,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, ms) = (self.at_ms / 1_000, self.at_ms % 1_000);
        write!(f, "{:?} at {seconds}.{ms:03} s: {}", self.promise, self.what)
    }
}

/// A loss of state in Redis.
#[derive(Debug, Clone, Copy)]
struct Loss {
    at_ms: i64,
    /// The epoch that was lost, wholly or in part.
    epoch: u64,
    /// The highest position offered before.
    frontier: u64,
    /// Whether a later epoch has begun since.
    is_noticed: bool,
}

/// For how long after a loss grants by a server that nobody has found wrong yet are not judged.
const UNNOTICED_MS: i64 = 5_000;

/// Sees everything.
#[derive(Debug)]
pub(crate) struct Observer {
    room: Room,
    recorded: bool,
    log: Log,
    people: BTreeMap<UserId, Person>,
    /// The state of both servers as last seen.
    servers: [RoomState; 2],
    offers: Rate,
    admissions: Rate,
    losses: Vec<Loss>,
    knowledge: Knowledge,
    /// Clocks were set: what a server's time decides is not judged until then.
    clock_trusted_from_ms: i64,
    /// By how much all clocks of servers differed at most.
    clock_slack_ms: i64,
    /// Two masters take calls.
    is_split: bool,
    healed_at_ms: Option<i64>,
    /// Since when turns could be given and were not.
    stalled_since_ms: Option<i64>,
    joins: u64,
    splits: u64,
    violations: Vec<Violation>,
}

impl Observer {
    /// Has seen nothing yet.
    pub(crate) fn new(plan: &Plan, log: Log) -> Self {
        let Room { tenths_per_second: _, burst, .. } = plan.room;
        let rate = || Rate::new(plan.room.per_second(), burst);
        Self {
            room: plan.room,
            recorded: plan.recorded,
            log,
            people: BTreeMap::new(),
            servers: [RoomState::default(), RoomState::default()],
            offers: rate(),
            admissions: rate(),
            losses: Vec::new(),
            knowledge: Knowledge::default(),
            clock_trusted_from_ms: 0,
            clock_slack_ms: 0,
            is_split: false,
            healed_at_ms: None,
            stalled_since_ms: None,
            joins: 0,
            splits: 0,
            violations: Vec::new(),
        }
    }

    /// What was broken, the first of each promise.
    pub(crate) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// A script failed, which none ever should.
    pub(crate) fn script_failed(&mut self, name: &str, error: &str) {
        self.broken(Promise::ScriptsRun, None, format_args!("{name}: {error}"));
    }

    /// A gateway's process died, and with it what it knew.
    pub(crate) fn process_died(&mut self, process: u32) {
        self.knowledge.forget(process);
    }

    /// A process was disturbed from then on, for so long.
    pub(crate) fn disturbed(&mut self, process: u32, from_ms: i64, for_ms: i64) {
        self.knowledge.disturbed(process, from_ms, from_ms.saturating_add(for_ms));
    }

    /// The master lost everything.
    pub(crate) fn wiped(&mut self, server: usize, now_ms: i64) {
        self.note_loss(server, now_ms);
        self.servers[server] = RoomState::default();
    }

    /// The other server got what this one holds now.
    pub(crate) fn copied(&mut self, from: usize) {
        self.servers[1 - from] = self.servers[from].clone();
    }

    /// The other server took over from this one.
    pub(crate) fn promoted(&mut self, from: usize, now_ms: i64, clock_ms: i64) {
        self.note_loss(from, now_ms);
        self.clock_slack_ms += clock_ms.abs();
    }

    /// Two masters take calls, or no longer.
    pub(crate) fn set_split(&mut self, is_split: bool) {
        self.is_split = is_split;
        self.splits += u64::from(is_split);
    }

    /// A server's clock was set.
    pub(crate) fn clock_jumped(&mut self, now_ms: i64) {
        self.clock_trusted_from_ms = now_ms + 60_000;
        self.offers.fill();
        self.admissions.fill();
        for person in self.people.values_mut() {
            person.doubt_times();
        }
    }

    /// Nothing is wrong from now on.
    pub(crate) fn healed(&mut self, now_ms: i64) {
        self.healed_at_ms = Some(now_ms);
    }

    fn note_loss(&mut self, server: usize, at_ms: i64) {
        let RoomState { epoch, frontier, .. } = self.servers[server];
        self.losses.push(Loss { at_ms, epoch, frontier, is_noticed: false });
    }

    /// Whether a loss may not have been noticed yet by anybody who could.
    fn is_unnoticed(&self, now_ms: i64) -> bool {
        self.losses.iter().any(|loss| !loss.is_noticed && now_ms < loss.at_ms + UNNOTICED_MS)
    }

    fn person(&mut self, user: UserId) -> &mut Person {
        self.people.entry(user).or_default()
    }

    fn broken(&mut self, promise: Promise, user: Option<UserId>, what: impl std::fmt::Display) {
        let visitor = user.map(site::visitor);
        let line = format!("BROKEN {promise:?}: {what}");
        match visitor {
            Some(visitor) => self.log.visitor(visitor, &line),
            None => self.log.world(&line),
        }
        if self.violations.iter().all(|known| known.promise != promise) {
            let at_ms = self.log.now_ms();
            self.violations.push(Violation { promise, at_ms, visitor, what: what.to_string() });
        }
    }
}
