//! An observer who sees everything, and what they hold against the room.

use crate::state::{Join, Moment, Place, Standing, State, Visitor};

/// What must always hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Property {
    /// No position is given twice.
    PositionGivenTwice,
    /// A place that has ended never comes back, whatever token is shown.
    EndedPlaceReturns,
    /// A person who has not ended and shows their token keeps their position.
    PositionLost,
    /// Nobody is admitted before a person in front of them who is there.
    Overtaken,
    /// A rebuild is complete only when everybody whom the record knows is back.
    CompleteTooEarly,
    /// An epoch is opened once, and positions are given in the latest one only.
    TwoEpochs,
    /// What was true last is what a rebuilt room holds.
    OlderWordWins,
}

impl Visitor {
    /// The join that has not ended.
    pub fn live(&self) -> Option<&Join> {
        self.joins.iter().flatten().find(|join| !join.place.has_ended())
    }

    fn live_mut(&mut self) -> Option<&mut Join> {
        self.joins.iter_mut().flatten().find(|join| !join.place.has_ended())
    }

    /// The join that gave this position.
    pub fn at(&self, position: u8) -> Option<&Join> {
        self.joins.iter().flatten().find(|join| join.position == position)
    }

    fn at_mut(&mut self, position: u8) -> Option<&mut Join> {
        self.joins.iter_mut().flatten().find(|join| join.position == position)
    }

    /// Whether the admission of this position ran out. Every word of an admission says when it ends.
    pub fn has_run_out(&self, position: u8) -> bool {
        self.at(position).is_some_and(|join| join.place == Place::Expired)
    }
}

impl Join {
    /// Whether the design allows this ended place to come back, because a fault took the last trace of its end.
    fn can_return(&self) -> bool {
        self.end_is_lost || self.place == Place::Expired && self.admission_is_lost
    }
}

impl State {
    /// Notes a broken property; the first one counts.
    pub(crate) fn breaks(&mut self, property: Property) {
        self.broken.get_or_insert(property);
    }

    /// A visitor is answered that they wait or are inside.
    pub(crate) fn hears_live(&mut self, visitor: usize, standing: Standing, renewed: Option<u8>) {
        let person = &mut self.visitors[visitor];
        let broken = match person.at_mut(standing.position) {
            None => Some(Property::PositionLost),
            Some(join) if join.place.has_ended() && !join.can_return() => Some(Property::EndedPlaceReturns),
            Some(join) if join.place.has_ended() => {
                person.return_to(standing);
                None
            }
            Some(join) if join.place != standing.place && !join.admission_is_lost => Some(Property::OlderWordWins),
            Some(join) => {
                join.place = standing.place;
                None
            }
        };
        if let (Some(join), Some(epoch)) = (person.at_mut(standing.position), renewed) {
            join.newest = epoch;
        }
        if let Some(property) = broken {
            self.breaks(property);
        }
    }

    /// A visitor who showed the token of a position is answered that it has ended.
    pub(crate) fn hears_end(&mut self, visitor: usize, shown: u8) {
        let person = &mut self.visitors[visitor];
        let Some(join) = person.at_mut(shown).filter(|join| !join.place.has_ended()) else { return };
        if join.end_is_lost {
            join.place = Place::Left;
        } else {
            self.breaks(Property::PositionLost);
        }
    }

    /// A visitor is given a position by an epoch.
    pub(crate) fn hears_position(&mut self, visitor: usize, position: u8, epoch: u8) {
        if self.visitors.iter().any(|other| other.at(position).is_some()) {
            self.breaks(Property::PositionGivenTwice);
        }
        if self.visitors.iter().flat_map(|other| other.joins).flatten().any(|join| epoch < join.oldest) {
            self.breaks(Property::TwoEpochs);
        }
        let join = Join {
            position,
            oldest: epoch,
            newest: epoch,
            place: Place::Waiting,
            end_is_lost: false,
            admission_is_lost: false,
        };
        let person = &mut self.visitors[visitor];
        if let Some(slot) = person.joins.iter_mut().find(|slot| slot.is_none()) {
            *slot = Some(join);
        }
    }

    /// A visitor leaves.
    pub(crate) fn leaves(&mut self, visitor: usize) {
        if let Some(join) = self.visitors[visitor].live_mut() {
            *join = Join { place: Place::Left, end_is_lost: false, admission_is_lost: false, ..*join };
        }
    }

    /// The time of a visitor inside is over.
    pub(crate) fn runs_out(&mut self, visitor: usize) {
        if let Some(join) = self.visitors[visitor].live_mut().filter(|join| join.place == Place::Inside) {
            join.place = Place::Expired;
        }
    }

    /// A visitor is admitted.
    pub(crate) fn is_admitted(&mut self, visitor: usize, position: u8) {
        let standing = Standing::new(Place::Inside, position);
        let person = &mut self.visitors[visitor];
        match person.at_mut(position) {
            None => self.breaks(Property::PositionLost),
            Some(join) if join.place.has_ended() && !join.can_return() => self.breaks(Property::EndedPlaceReturns),
            Some(join) if join.place.has_ended() => person.return_to(standing),
            Some(join) => *join = Join { place: Place::Inside, admission_is_lost: false, ..*join },
        }
    }

    /// The people in front of a position who wait, and whom the room does not hold in line or inside there.
    pub(crate) fn missing_before(&self, position: u8) -> impl Iterator<Item = u8> + '_ {
        let waits = move |join: &&Join| join.place == Place::Waiting && join.position < position && !join.end_is_lost;
        let waiting =
            (0..).zip(&self.visitors).filter_map(move |(who, person)| Some((who, person.live().filter(waits)?)));
        waiting.filter_map(|(who, join)| {
            let held = self.room.and_then(|room| room.live(who));
            (held.map(|standing| standing.position) != Some(join.position)).then_some(join.position)
        })
    }

    /// What a room must hold that is declared rebuilt.
    pub(crate) fn checks_rebuilt(&mut self) {
        let Some(room) = self.room else { return };
        for who in 0..self.visitors.len() {
            let person = self.visitors[who];
            // A lease ends by itself: every word of it says when.
            let is_over = |held: &Standing| held.place == Place::Inside && person.has_run_out(held.position);
            let held = room.live(who).filter(|held| !is_over(held));
            let recorded = self.record.people[who].filter(|row| row.word.standing.is_live() && !row.is_late);
            let is_back = recorded.is_none_or(|row| {
                let position = row.word.standing.position;
                held.is_some() || person.at(position).is_none_or(|join| join.place.has_ended() || join.end_is_lost)
            });
            let is_newest = person.joins.iter().flatten().all(|join| match (join.place, held) {
                (place, Some(held)) if place.has_ended() => held.position != join.position || join.can_return(),
                (Place::Inside, held) => {
                    join.admission_is_lost
                        || join.end_is_lost
                        || held == Some(Standing::new(Place::Inside, join.position))
                }
                _ => true,
            });
            if !is_back {
                self.breaks(Property::CompleteTooEarly);
            }
            if !is_newest {
                self.breaks(Property::OlderWordWins);
            }
        }
    }

    /// Notes which ends and admissions no party knows any more after a fault. A paused gateway
    /// does not count.
    pub(crate) fn forgets(&mut self) {
        for who in 0..self.visitors.len() {
            let facts: Vec<Standing> = self.facts(who).collect();
            for join in self.visitors[who].joins.iter_mut().flatten() {
                let position = join.position;
                let is_known = |places: &[Place]| {
                    facts.iter().any(|fact| {
                        fact.position > position || fact.position == position && places.contains(&fact.place)
                    })
                };
                let (end, admission): (&[Place], &[Place]) = match join.place {
                    Place::Waiting => continue,
                    Place::Inside => (&[], &[Place::Inside]),
                    Place::Left => (&[Place::Left, Place::Expired], &[]),
                    Place::Expired => {
                        let both = &[Place::Inside, Place::Left, Place::Expired];
                        (both, both)
                    }
                };
                join.end_is_lost |= !end.is_empty() && !is_known(end);
                join.admission_is_lost |= !admission.is_empty() && !is_known(admission);
            }
        }
    }

    /// What the parties that survive say of a person.
    fn facts(&self, who: usize) -> impl Iterator<Item = Standing> + '_ {
        let room = self
            .room
            .iter()
            .flat_map(move |room| room.people[who].into_iter().chain(room.words[who].map(|kept| kept.word.standing)));
        let heard = self.gateways.iter().filter(|gateway| !gateway.is_paused);
        let gateways = heard.filter_map(move |gateway| gateway.words[who]).map(|word| word.standing);
        room.chain(gateways).chain(self.record.people[who].map(|row| row.word.standing))
    }
}

impl Visitor {
    /// The design allowed this ended place to come back; the person is there again and nowhere else.
    fn return_to(&mut self, standing: Standing) {
        for join in self.joins.iter_mut().flatten() {
            if join.position == standing.position {
                *join = Join { place: standing.place, end_is_lost: true, ..*join };
            } else if !join.place.has_ended() {
                *join = Join { place: Place::Left, end_is_lost: true, ..*join };
            }
        }
    }
}

/// A moment that is later than every other one of its epoch.
pub(crate) const fn end_of(epoch: u8) -> Moment {
    Moment { epoch, version: u8::MAX }
}
