//! What the model remembers: Redis, two gateways, the record, three visitors, and one message that is late.

use crate::observer::Property;

/// Visitors of the room.
pub const VISITORS: usize = 3;
/// Gateways in front of it.
pub const GATEWAYS: usize = 2;
/// How often one visitor can join.
pub const JOINS: usize = 2;
/// How far positions jump when an epoch opens: more than can have been given unseen.
pub const GAP: u8 = 8;
/// By how many events the record can be behind.
pub const EVENTS: usize = 3;

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
    /// Everybody up to this position is back.
    pub up_to: u8,
}

/// A change that is not recorded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Event {
    /// Whom it is about.
    pub visitor: u8,
    /// What became of them.
    pub word: Word,
}

/// The changes that are not recorded yet, in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Events([Option<Event>; EVENTS]);

impl Events {
    /// Adds an event, where there is room for it.
    pub fn push(&mut self, event: Event) -> bool {
        let slot = self.0.iter_mut().find(|slot| slot.is_none());
        slot.map(|slot| *slot = Some(event)).is_some()
    }

    /// The earliest event.
    pub fn first(&self) -> Option<Event> {
        self.0[0]
    }

    /// Drops the earliest event.
    pub fn drop_first(&mut self) {
        self.0[0] = None;
        self.0.rotate_left(1);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        self.0.iter().copied().flatten()
    }

    /// Whether so many more fit.
    pub fn fits(&self, more: usize, lag: u8) -> bool {
        self.iter().count() + more <= EVENTS.min(usize::from(lag))
    }
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

/// One join of a visitor, as an observer who sees everything knows it, and the tokens that came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Join {
    /// The position that was answered.
    pub position: u8,
    /// The epoch of the first token.
    pub oldest: u8,
    /// The epoch of the latest token.
    pub newest: u8,
    /// What the visitor was last told, or how their position ended.
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

/// Where the words of a restore come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A page of the record.
    Page,
    /// Rows of the record that are newer than the base.
    Changed,
    /// Words that the room kept, compared with the record.
    Words,
}

/// A call of a gateway. It carries what its caller has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    /// Opens an epoch after another one was found lost.
    Open {
        /// The epoch that was found lost, 0 where the room was missing.
        lost: u8,
        /// The new epoch.
        epoch: u8,
        /// The highest position known.
        position: u8,
    },
    /// Gives a room that is rebuilt a gateway's words.
    Retell {
        /// The epoch that is rebuilt.
        epoch: u8,
        /// The words.
        words: PerVisitor<Option<Word>>,
    },
    /// Puts people back.
    Restore {
        /// The epoch that is rebuilt.
        epoch: u8,
        /// Where the words come from.
        source: Source,
        /// Whom, and where.
        words: PerVisitor<Option<Word>>,
        /// Up to which position everybody is back after this; 0 leaves it.
        up_to: u8,
    },
    /// Declares the room rebuilt.
    Complete {
        /// The epoch that was rebuilt.
        epoch: u8,
    },
    /// Puts one person back whom the room did not know, or marks their end.
    Reinstate {
        /// The epoch in which the room did not know them.
        epoch: u8,
        /// Whom.
        visitor: u8,
        /// Where.
        standing: Standing,
    },
    /// Writes an event to the record.
    Write(Event),
}

impl Message {
    /// How many events it causes at most.
    pub fn events(&self) -> usize {
        match self {
            Self::Restore { source: Source::Words, words, .. } => words.iter().flatten().count(),
            Self::Reinstate { .. } => 1,
            _ => 0,
        }
    }
}

/// A message on its way, and what its sender had seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sent {
    /// The message.
    pub message: Message,
    /// What the sender had seen of the room.
    pub seen: Moment,
}

/// What can still happen. Each use counts down; `lag` stays.
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
            gateways: [Gateway::default(); GATEWAYS],
            record: Record { at: Moment::default(), position: 0, people: [None; VISITORS] },
            visitors: [Visitor::default(); VISITORS],
            late: None,
            bounds,
            opened: 0,
            broken: None,
        }
    }

    /// Whether the room is the latest one, and stays it.
    fn is_last(&self) -> bool {
        let Some(room) = &self.room else { return false };
        let latest = self.gateways.iter().map(|gateway| gateway.seen.epoch).max().max(Some(self.record.at.epoch));
        self.bounds.losses == 0
            && self.bounds.late == 0
            && self.late.is_none()
            && room.process == self.process
            && latest <= Some(room.at.epoch)
    }

    /// Whether nothing depends any more on what gateways remember.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_last() && self.room.is_some_and(|room| room.rebuilding.is_none())
    }

    /// Whether a gateway's word can still be retold.
    pub(crate) fn can_retell(&self, gateway: &Gateway, word: Word) -> bool {
        let is_for =
            |room: Room| room.rebuilding.is_some() && word.at.epoch < room.at.epoch && gateway.retold < room.at.epoch;
        !self.is_last() || self.room.is_some_and(is_for)
    }

    fn claimed(mut self, at: Moment) -> Self {
        self.record.at = at;
        self
    }
}
