//! What the model remembers: Redis, two gateways, the record, three visitors, and one message that is late.

use crate::events::Events;
use crate::message::Sent;
use crate::observer::Property;

/// Visitors of the room.
pub const VISITORS: usize = 3;
/// Gateways in front of it.
pub const GATEWAYS: usize = 2;
/// How often one visitor can join.
pub const JOINS: usize = 2;
/// How far positions jump when an epoch opens: more than can have been given unseen.
pub const GAP: u8 = 8;

/// Something for each visitor.
pub type PerVisitor<T> = [T; VISITORS];

/// When something was true: a version of an epoch. Later ones are greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// The epoch, 0 for none.
    pub epoch: u8,
    /// How many changes it had seen.
    pub version: u8,
}

/// Where a person is. An offer counts as an admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// In line.
    Waiting,
    /// Admitted.
    Inside,
    /// Gone by their own wish.
    Left,
    /// Gone, because their lease ran out.
    Expired,
}

impl Place {
    /// Whether the position has ended: it must never come back.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Left | Self::Expired)
    }
}

/// A place and its position. In the room, an ended one is the mark that an end leaves for an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing {
    /// The place.
    pub place: Place,
    /// The position.
    pub position: u8,
}

impl Standing {
    /// A standing at a position.
    pub const fn new(place: Place, position: u8) -> Self {
        Self { place, position }
    }

    /// Whether it is a place in line or inside.
    pub const fn is_live(&self) -> bool {
        !self.place.has_ended()
    }
}

/// Where a person was, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Word {
    /// When.
    pub at: Moment,
    /// Where.
    pub standing: Standing,
}

/// A word that the room keeps while it is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeptWord {
    /// The word.
    pub word: Word,
    /// Whether the room holds the person as the word says.
    pub settled: bool,
}

/// A rebuild, as the room knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rebuilding {
    /// What the state reflected when it was found lost.
    pub base: Moment,
    /// All people up to this position are back.
    pub up_to: u8,
}

/// The room's state in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Its epoch and version.
    pub at: Moment,
    /// The highest position given.
    pub seq: u8,
    /// The Redis process in which the epoch was opened.
    pub process: u8,
    /// Calls of each gateway that changed something. Used with `Switch::GatewayCounters` only.
    pub calls: [u8; GATEWAYS],
    /// Where people are, or the mark of how their last position ended.
    pub people: PerVisitor<Option<Standing>>,
    /// Set while the room is rebuilt.
    pub rebuilding: Option<Rebuilding>,
    /// Words of gateways, while the room is rebuilt.
    pub words: PerVisitor<Option<KeptWord>>,
    /// What is not recorded yet.
    pub events: Events,
}

/// The next step of a gateway that rebuilds a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Put the words in place that the room keeps.
    Settle,
    /// Put the people inside back, as the record knows them.
    Inside,
    /// Put the first person in line behind this position back.
    Line(u8),
    /// Put in place what the record has that is newer than the base.
    Changed,
    /// Put the words in place that came meanwhile.
    SettleAgain,
    /// Declare the room rebuilt.
    Complete,
}

/// A gateway's work on a rebuild.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rebuild {
    /// The epoch.
    pub epoch: u8,
    /// What comes next.
    pub step: Step,
}

/// A gateway process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gateway {
    /// How far it has seen the room come; epoch 0 where it has never met the room.
    pub seen: Moment,
    /// The highest position that it has seen.
    pub position: u8,
    /// Its own calls, as the room last answered.
    pub calls: u8,
    /// The newest word that it answered, for each person.
    pub words: PerVisitor<Option<Word>>,
    /// The last epoch that it retold its words to.
    pub retold: u8,
    /// Its work on a rebuild.
    pub rebuild: Option<Rebuild>,
    /// Whether it is paused.
    pub is_paused: bool,
}

/// A person's row in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    /// The newest recorded word.
    pub word: Word,
    /// Whether it was written after its epoch was over, by a late message.
    pub is_late: bool,
}

/// The record. It lags, and survives every fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// The room's row: the latest epoch claimed or recorded, and the version recorded of it.
    pub at: Moment,
    /// The room's row: the highest position.
    pub position: u8,
    /// A row for each person.
    pub people: PerVisitor<Option<Row>>,
}

/// One join of a visitor, as the observer knows it, and the tokens that came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Join {
    /// The position that was answered.
    pub position: u8,
    /// The epoch of the first token.
    pub oldest: u8,
    /// The epoch of the latest token.
    pub newest: u8,
    /// What the visitor was last answered, or how their position ended.
    pub place: Place,
    /// Whether a fault took the last trace of the end: then the design allows the place to come back.
    pub end_is_lost: bool,
    /// The same for the admission: then the design allows a return to the line, at the same position.
    pub admission_is_lost: bool,
}

/// A visitor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Visitor {
    /// What they did, in order.
    pub joins: [Option<Join>; JOINS],
}

/// What can still happen. Each use counts down; the last three stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Losses of state: each a wipe, or a rollback to an earlier copy of Redis.
    pub losses: u8,
    /// Pauses of a gateway.
    pub pauses: u8,
    /// Messages that arrive late.
    pub late: u8,
    /// Crashes of all gateways at once.
    pub crashes: u8,
    /// Marks of ends that are dropped, an hour later.
    pub dropped_marks: u8,
    /// Joins of all visitors together.
    pub joins: u8,
    /// By how many events the record is behind at most. More changes wait until it has caught up.
    pub lag: u8,
    /// Gateways that do anything.
    pub gateways: u8,
    /// How many changes a copy misses at most. A copy that would miss more is dropped.
    pub missed: u8,
}

/// Everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// The room in Redis, where Redis knows it.
    pub room: Option<Room>,
    /// An earlier copy of it, which can take over.
    pub copy: Option<Room>,
    /// How many changes the copy misses.
    pub copy_misses: u8,
    /// The Redis process that runs.
    pub process: u8,
    /// How often Redis lost state.
    pub losses: u8,
    /// The gateways.
    pub gateways: [Gateway; GATEWAYS],
    /// The record.
    pub record: Record,
    /// The visitors.
    pub visitors: PerVisitor<Visitor>,
    /// The message that is late.
    pub late: Option<Sent>,
    /// What can still go wrong.
    pub bounds: Bounds,
    /// A bit for each epoch that was opened.
    pub opened: u32,
    /// What was broken.
    pub broken: Option<Property>,
}

impl State {
    /// A room that was just opened, and two gateways that know it.
    pub fn opened(bounds: Bounds) -> Self {
        let at = Moment { epoch: 1, version: 0 };
        let gateway = Gateway { seen: at, ..Gateway::default() };
        let room = Room {
            at,
            seq: 0,
            process: 0,
            calls: [0; GATEWAYS],
            people: [None; VISITORS],
            rebuilding: None,
            words: [None; VISITORS],
            events: Events::default(),
        };
        Self { room: Some(room), gateways: [gateway; GATEWAYS], opened: 0b10, ..Self::new(bounds) }.claimed(at)
    }

    /// A room that was never opened.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            room: None,
            copy: None,
            copy_misses: 0,
            process: 0,
            losses: 0,
            gateways: [Gateway::default(); GATEWAYS],
            record: Record { at: Moment::default(), position: 0, people: [None; VISITORS] },
            visitors: [Visitor::default(); VISITORS],
            late: None,
            bounds,
            opened: 0,
            broken: None,
        }
    }

    fn claimed(mut self, at: Moment) -> Self {
        self.record.at = at;
        self
    }
}
