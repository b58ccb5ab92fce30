//! A number that is the same for states that differ only in which visitor or gateway is called which.

use std::hash::{BuildHasher, Hash, Hasher};

use ahash::RandomState;

use crate::rules::{Rules, Switch};
use crate::state::{EVENTS, Event, GATEWAYS, Gateway, Message, Moment, Rebuild, Room, Standing, State, VISITORS, Word};

/// Hashes states, the same in each run.
#[derive(Debug, Clone)]
pub(crate) struct Fingerprints {
    seeds: RandomState,
    /// Whether only the order of moments counts. Under the mended rules nothing compares how far two of them are apart, nor
    /// moments of different people.
    ranks_moments: bool,
}

impl Fingerprints {
    /// Fingerprints for states under these rules.
    pub(crate) fn under(rules: Rules) -> Self {
        let seeds = RandomState::with_seeds(
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
        );
        let needed = [
            Switch::RedisProcess,
            Switch::EveryCallChecksProcess,
            Switch::EpochClaimed,
            Switch::VersionedWords,
            Switch::EpochInMessages,
        ];
        Self { seeds, ranks_moments: needed.into_iter().all(|switch| rules.has(switch)) }
    }

    /// The fingerprint of a state.
    pub(crate) fn of(&self, state: &State) -> u64 {
        let shared = self.shared(state);
        let people: [Person; VISITORS] = std::array::from_fn(|who| self.person(state, &shared, who));
        self.in_order(state, &people, [0, 1]).min(self.in_order(state, &people, [1, 0]))
    }

    /// The moments that everybody's words are compared with.
    fn shared(&self, state: &State) -> Moments {
        let mut moments = Moments::default();
        if self.ranks_moments {
            for room in [&state.room, &state.copy].into_iter().flatten() {
                moments.add(room.at);
                moments.add(Moment { epoch: room.at.epoch, version: 0 });
                if let Some(rebuilding) = room.rebuilding {
                    moments.add(rebuilding.base);
                }
            }
        }
        moments
    }

    /// The fingerprint with the gateways in an order. What concerns one visitor is hashed alone, and the visitors are sorted by it.
    fn in_order(&self, state: &State, people: &[Person; VISITORS], order: [usize; GATEWAYS]) -> u64 {
        let is_quiet = self.ranks_moments && state.is_quiet();
        let mut digests = people.map(|person| {
            let mut hasher = self.seeds.build_hasher();
            hasher.write(&person.bytes[..person.count]);
            order.map(|gateway| person.by_gateway[gateway]).hash(&mut hasher);
            hasher.finish()
        });
        digests.sort_unstable();
        let mut hasher = self.seeds.build_hasher();
        digests.hash(&mut hasher);
        for room in [&state.room, &state.copy] {
            room.is_some().hash(&mut hasher);
            if let Some(room) = room {
                (room.process == state.process, room.at.epoch, room.seq).hash(&mut hasher);
                room.rebuilding.map(|rebuilding| rebuilding.up_to).hash(&mut hasher);
                if !self.ranks_moments {
                    (room.at, room.rebuilding, order.map(|gateway| room.calls[gateway])).hash(&mut hasher);
                }
            }
        }
        (state.bounds.joins, state.broken).hash(&mut hasher);
        if is_quiet {
            return hasher.finish();
        }
        (state.record.at.epoch, state.record.position, state.bounds, state.copy_misses).hash(&mut hasher);
        if !self.ranks_moments {
            state.opened.hash(&mut hasher);
        }
        for gateway in order {
            hash_gateway(&state.gateways[gateway], state.room.as_ref(), self.ranks_moments, &mut hasher);
        }
        if !self.ranks_moments {
            state.record.at.hash(&mut hasher);
        }
        if let Some(sent) = state.late {
            sent.seen.hash(&mut hasher);
            hash_message(&sent.message, &mut hasher);
        }
        hasher.finish()
    }

    /// What concerns one visitor, packed.
    fn person(&self, state: &State, shared: &Moments, who: usize) -> Person {
        let is_theirs = |event: &Event| usize::from(event.visitor) == who;
        let mut words = Words::default();
        words.add(state.record.people[who].map(|row| row.word));
        for room in [&state.room, &state.copy].into_iter().flatten() {
            words.add(room.words[who].map(|kept| kept.word));
            room.events.iter().for_each(|event| words.add(Some(event.word).filter(|_| is_theirs(&event))));
            words.add(None);
        }
        words.add(match state.late.map(|sent| sent.message) {
            Some(Message::Retell { words: late, .. } | Message::Restore { words: late, .. }) => late[who],
            Some(Message::Write(event)) if is_theirs(&event) => Some(event.word),
            _ => None,
        });
        let before_gateways = words.count;
        let remembered = |gateway: &Gateway| {
            gateway.words[who].filter(|word| !self.ranks_moments || state.can_retell(gateway, *word))
        };
        let by_gateway = state.gateways.each_ref().map(remembered);
        // Gateways that are never paused retell together, and the newest word counts.
        let is_together = self.ranks_moments && state.bounds.pauses == 0 && !state.gateways.iter().any(|g| g.is_paused);
        if is_together {
            words.add(by_gateway.into_iter().flatten().max_by_key(|word| word.at));
        } else {
            by_gateway.into_iter().for_each(|word| words.add(word));
        }
        let packed = words.pack(shared, self.ranks_moments);
        let mut person = Person { bytes: [0; 128], count: 0, by_gateway: [0; GATEWAYS] };
        for (gateway, word) in person.by_gateway.iter_mut().zip(&packed[before_gateways..]) {
            *gateway = *word;
        }
        packed[..before_gateways].iter().for_each(|word| person.add(&word.to_le_bytes()));
        for moment in &shared.all[..shared.count] {
            person.add(&[words.rank(shared, *moment)]);
        }
        for join in state.visitors[who].joins {
            person.add(&join.map_or([0; 5], |join| {
                let flags = u8::from(join.end_is_lost) | u8::from(join.admission_is_lost) << 1;
                [1 + join.place as u8, join.position, join.oldest, join.newest, flags]
            }));
        }
        person.add(&[u8::from(state.record.people[who].is_some_and(|row| row.is_late))]);
        for room in [&state.room, &state.copy].into_iter().flatten() {
            person.add(&room.people[who].map_or([0; 2], |held| [1 + held.place as u8, held.position]));
            person.add(&[room.words[who].map_or(0, |kept| 1 + u8::from(kept.settled))]);
        }
        let is_meant = match state.late.map(|sent| sent.message) {
            Some(Message::Reinstate { visitor, .. } | Message::Write(Event { visitor, .. })) => {
                usize::from(visitor) == who
            }
            _ => false,
        };
        person.add(&[u8::from(is_meant)]);
        person
    }
}

/// What concerns one visitor.
#[derive(Debug, Clone, Copy)]
struct Person {
    bytes: [u8; 128],
    count: usize,
    /// The word of each gateway.
    by_gateway: [u64; GATEWAYS],
}

impl Person {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes[self.count..self.count + bytes.len()].copy_from_slice(bytes);
        self.count += bytes.len();
    }
}

/// A few moments.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    all: [Moment; 6],
    count: usize,
}

impl Moments {
    fn add(&mut self, moment: Moment) {
        if let Some(slot) = self.all.get_mut(self.count) {
            *slot = moment;
            self.count += 1;
        }
    }
}

/// The most words that the parties can have of one person.
const MOST_WORDS: usize = 1 + 2 * (2 + EVENTS) + GATEWAYS + 1;

/// The words that the parties have of one person, in a fixed order of parties.
#[derive(Debug, Clone, Copy, Default)]
struct Words {
    all: [Option<Word>; MOST_WORDS],
    count: usize,
}

impl Words {
    fn add(&mut self, word: Option<Word>) {
        if let Some(slot) = self.all.get_mut(self.count) {
            *slot = word;
            self.count += 1;
        }
    }

    /// How many moments are earlier; equal ones share a rank.
    fn rank(&self, shared: &Moments, moment: Moment) -> u8 {
        let words = self.all[..self.count].iter().flatten().map(|word| word.at);
        let earlier = words.chain(shared.all[..shared.count].iter().copied()).filter(|other| *other < moment);
        earlier.fold(0, |rank, _| rank + 1)
    }

    fn pack(&self, shared: &Moments, ranks_moments: bool) -> [u64; MOST_WORDS] {
        self.all.map(|word| {
            word.map_or(0, |word| {
                let Moment { epoch, version } = word.at;
                let at = if ranks_moments { [self.rank(shared, word.at), 0] } else { [epoch, version] };
                let Standing { place, position } = word.standing;
                u64::from_le_bytes([1 + place as u8, position, at[0], at[1], 0, 0, 0, 0])
            })
        })
    }
}

fn hash_gateway(gateway: &Gateway, room: Option<&Room>, ranks_moments: bool, hasher: &mut impl Hasher) {
    let Gateway { seen, position, calls, words: _, retold, rebuild, is_paused } = gateway;
    let rebuilt = room.filter(|room| room.rebuilding.is_some()).map(|room| room.at.epoch);
    let is_current = |rebuild: &Rebuild| !ranks_moments || rebuilt == Some(rebuild.epoch);
    // A gateway that is not paused has retold what it knows.
    let has_retold = (!ranks_moments || *is_paused) && rebuilt == Some(*retold);
    (seen, position, calls, has_retold, rebuild.filter(is_current), is_paused).hash(hasher);
}

fn hash_message(message: &Message, hasher: &mut impl Hasher) {
    std::mem::discriminant(message).hash(hasher);
    match *message {
        Message::Open { lost, epoch, position } => (lost, epoch, position).hash(hasher),
        Message::Retell { epoch, words: _ } | Message::Complete { epoch } => epoch.hash(hasher),
        Message::Restore { epoch, source, words: _, up_to } => (epoch, source, up_to).hash(hasher),
        Message::Reinstate { epoch, visitor: _, standing } => (epoch, standing).hash(hasher),
        Message::Write(_) => {}
    }
}
