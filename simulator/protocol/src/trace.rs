//! A counterexample as a person reads it.

use std::fmt::{Display, Formatter, Result};

use crate::actions::Action;
use crate::observer::Property;
use crate::search::Counterexample;
use crate::state::{Place, Standing, State};

/// A visitor's name.
fn name(visitor: impl Into<usize>) -> char {
    ['A', 'B', 'C'].get(visitor.into()).copied().unwrap_or('?')
}

impl Display for Property {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::PositionGivenTwice => "a position is given twice",
            Self::EndedPlaceReturns => "a place that has ended comes back",
            Self::PositionLost => "a person loses their position",
            Self::Overtaken => "a present person is overtaken",
            Self::CompleteTooEarly => "a rebuild is complete before all people in the record are back",
            Self::TwoEpochs => "an epoch is opened twice, or an old one gives positions",
            Self::OlderWordWins => "an older word wins",
        })
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let gateway_of = |gateway: u8| format!("gateway {}", gateway + 1);
        let what = match *self {
            Self::Join { visitor, gateway } => format!("{} joins through {}", name(visitor), gateway_of(gateway)),
            Self::Poll { visitor, gateway, join, oldest, .. } => format!(
                "{} polls {} with the {}token of their {} join",
                name(visitor),
                gateway_of(gateway),
                if oldest { "oldest " } else { "" },
                if join == 0 { "first" } else { "second" },
            ),
            Self::Leave { visitor, gateway } => format!("{} leaves through {}", name(visitor), gateway_of(gateway)),
            Self::RunOut { visitor } => format!("the lease of {} runs out", name(visitor)),
            Self::EndLease { visitor, gateway } => {
                format!("{} ends the lease of {}", gateway_of(gateway), name(visitor))
            }
            Self::Admit { gateway } => format!("{} admits the first in line", gateway_of(gateway)),
            Self::Open { gateway, .. } => format!("{} finds a loss and opens the next epoch", gateway_of(gateway)),
            Self::Retell { gateway } => format!("{} retells its words", gateway_of(gateway)),
            Self::Rebuild { gateway, .. } => format!("{} does the next step of its rebuild", gateway_of(gateway)),
            Self::Record { .. } => "the earliest event is recorded".to_owned(),
            Self::DropMark { visitor } => format!("an hour later the mark of {} is dropped", name(visitor)),
            Self::Copy => "a copy of Redis stays behind".to_owned(),
            Self::Wipe => "Redis loses everything".to_owned(),
            Self::RollBack => "the copy takes over".to_owned(),
            Self::Crash => "all gateways crash and start again".to_owned(),
            Self::Pause { gateway } => format!("{} is paused", gateway_of(gateway)),
            Self::Wake { gateway } => format!("{} wakes up", gateway_of(gateway)),
            Self::Arrive => "the late message arrives".to_owned(),
        };
        // A sentence begins with a capital letter.
        let (first, rest) = what.split_at(1);
        write!(f, "{}{rest}{}", first.to_uppercase(), if self.is_late() { "; the message is late" } else { "" })
    }
}

fn write_people(f: &mut Formatter<'_>, people: &[Option<Standing>]) -> Result {
    let mut known = people.iter().enumerate().filter_map(|(who, held)| Some((who, (*held)?))).peekable();
    if known.peek().is_none() {
        return f.write_str("no people");
    }
    for (n, (who, Standing { place, position })) in known.enumerate() {
        let place = match place {
            Place::Waiting => "waits at",
            Place::Inside => "is inside from",
            Place::Left => "left from",
            Place::Expired => "expired from",
        };
        write!(f, "{}{} {place} {position}", if n > 0 { ", " } else { "" }, name(who))?;
    }
    Ok(())
}

fn write_state(f: &mut Formatter<'_>, state: &State) -> Result {
    f.write_str("       Redis: ")?;
    match &state.room {
        None => f.write_str("empty")?,
        Some(room) => {
            write!(f, "epoch {} version {}: ", room.at.epoch, room.at.version)?;
            write_people(f, &room.people)?;
            f.write_str(if room.rebuilding.is_some() { ", being rebuilt" } else { "" })?;
        }
    }
    f.write_str(". Record: ")?;
    write_people(f, &state.record.people.map(|row| row.map(|row| row.word.standing)))?;
    f.write_str(".\n")
}

impl Display for Counterexample {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "  Broken: {}.", self.property)?;
        for (n, (action, state)) in self.steps.iter().enumerate() {
            writeln!(f, "  {:>2}. {action}.", n + 1)?;
            write_state(f, state)?;
        }
        Ok(())
    }
}
