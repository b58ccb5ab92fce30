//! Whether a draw is what had been announced.

use std::fmt;
use std::process::ExitCode;

use common::draw::{ALGORITHM, MAX_ENTRIES, Seed};
use common::ids::ConcertId;

use crate::frontier::{Draw, Frontier};

/// A draw that was worked out again from a seed that had been announced.
#[derive(Debug)]
pub(crate) struct Verdict {
    concert: ConcertId,
    positions: Vec<u32>,
}

/// Why there is no verdict, or a bad one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Something is not what was announced.
    Mismatch(String),
    /// Nothing can be said.
    Uncheckable(String),
}

impl Refusal {
    pub(crate) fn uncheckable(why: &str) -> Self {
        Self::Uncheckable(why.to_owned())
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Mismatch(_) => 1,
            Self::Uncheckable(_) => 2,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mismatch(why) => write!(f, "Does not match: {why}."),
            Self::Uncheckable(why) => write!(f, "Can't be checked: {why}."),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Verified: the seed is the one announced by its hash, and it dealt positions to {} entries of concert {}.",
            self.positions.len(),
            self.concert
        )
    }
}

impl Verdict {
    /// Compares what is published now with the hash that was noted before, and deals again.
    pub(crate) fn of(frontier: &Frontier, published_hash: &str) -> Result<Self, Refusal> {
        let draw = frontier.draw.as_ref().ok_or_else(|| Refusal::uncheckable("the order of this sale is not drawn"))?;
        let (seed, entries) = announced(draw, published_hash)?;
        Ok(Self { concert: frontier.concert_id, positions: seed.positions(frontier.concert_id, entries) })
    }

    /// The positions by entry, that of entry 1 first.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// The position dealt to an entry.
    pub(crate) fn position_of(&self, entry: u32) -> Result<u32, Refusal> {
        let index = (entry as usize).checked_sub(1);
        index.and_then(|index| self.positions.get(index)).copied().ok_or_else(|| {
            Refusal::Uncheckable(format!("entry {entry} is none of the {} that were drawn", self.positions.len()))
        })
    }
}

fn announced(draw: &Draw, published_hash: &str) -> Result<(Seed, u32), Refusal> {
    if draw.algorithm != ALGORITHM {
        return Err(Refusal::Uncheckable(format!("it was drawn by {:?}, and this is {ALGORITHM}", draw.algorithm)));
    }
    if !draw.seed_hash.eq_ignore_ascii_case(published_hash) {
        return Err(Refusal::Mismatch(format!(
            "the hash is said to be {:?} now, and {published_hash} was noted before the opening",
            draw.seed_hash
        )));
    }
    let (seed, entries) = match (&draw.seed, draw.entries) {
        (Some(seed), Some(entries)) => (seed, entries),
        (None, None) => return Err(Refusal::uncheckable("it has not been drawn yet")),
        _ => return Err(Refusal::uncheckable("seed and entries are published together, and one is missing")),
    };
    let seed = Seed::from_hex(seed).map_err(|error| Refusal::Uncheckable(error.to_string()))?;
    if seed.hash() != published_hash.to_ascii_lowercase() {
        return Err(Refusal::Mismatch(format!(
            "the seed's hash is {}, and {published_hash} was announced",
            seed.hash()
        )));
    }
    if entries > MAX_ENTRIES {
        return Err(Refusal::Uncheckable(format!("{entries} entries are more than the {MAX_ENTRIES} of any draw")));
    }
    Ok((seed, entries))
}
