//! What a room is rebuilt from after its state was lost or rolled back: the rules, as pure functions.
//!
//! Three parties can vouch for a room: each gateway (what it answered), the record (what was written) and each visitor (a
//! signed token). Each says what was true at one version of one epoch; of two words the newer one wins.

use common::ids::UserId;

/// One life of a room's state in Redis: a whole number that only rises.
pub type Epoch = u64;

/// How far somebody has seen a room come. A room that shows less lost its state, or the latest part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// The latest epoch; 0 where nothing was seen.
    pub epoch: Epoch,
    /// The highest version of the room in that epoch.
    pub version: u64,
    /// The highest position of any epoch.
    pub position: u32,
    /// The highest position that was offered or admitted, of any epoch.
    pub frontier: u32,
}

impl Evidence {
    /// What two sights say together: the later epoch goes before, positions never fall.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        let (earlier, later) = if self.epoch > other.epoch { (other, self) } else { (self, other) };
        let same = earlier.epoch == later.epoch;
        Self {
            epoch: later.epoch,
            version: if same { later.version.max(earlier.version) } else { later.version },
            position: later.position.max(earlier.position),
            frontier: later.frontier.max(earlier.frontier),
        }
    }
}

/// How far positions jump at the least when an epoch begins after a loss.
const MIN_GAP: u32 = 1_000;
/// How far they jump at most, so that no measurement, however wrong, uses up the positions there are.
const MAX_GAP: u32 = 1_000_000;
/// For how many seconds of joins, at the fastest rate that was seen, they jump: longer than any gateway looks away.
const GAP_SECONDS: u32 = 5;

/// How far positions jump once when an epoch begins after a loss: more than can have been given since they were last seen.
/// `joins_per_second` is counted from people who joined, never from positions, so that jumps do not feed on jumps.
pub fn gap(joins_per_second: u32) -> u32 {
    joins_per_second.saturating_mul(GAP_SECONDS).clamp(MIN_GAP, MAX_GAP)
}

/// Tenths of a second since 2025 at `now_ms` of Unix time.
fn epoch_of(now_ms: i64) -> Epoch {
    const EPOCH_ZERO_MS: i64 = 1_735_689_600_000;
    u64::try_from((now_ms - EPOCH_ZERO_MS) / 100).unwrap_or(0)
}

/// The epoch that follows all that are known: of the clock, so that two rooms without a common memory hardly ever share
/// one, and above each of `known`, whatever the clock says.
pub fn next_epoch(now_ms: i64, known: &[Epoch]) -> Epoch {
    known.iter().copied().max().unwrap_or(0).max(epoch_of(now_ms)) + 1
}

/// When something was true: the room's version in an epoch. Later ones are greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The epoch.
    pub epoch: Epoch,
    /// The room's version then.
    pub version: u64,
}

/// Where a person was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In line, or with an offer that was not claimed.
    Waiting,
    /// In a draw; the position is the entry.
    Entered,
    /// Skipped, because absent when they were next.
    Away,
    /// Inside.
    Admitted {
        /// Distinguishes this admission from others of the same position.
        nonce: u16,
        /// When it ends, in ms of Unix time.
        lease_end_ms: i64,
        /// Its absolute end, in ms of Unix time.
        cap_ms: i64,
    },
    /// Gone, by their own wish or an operator's, or because everything was paid.
    Left,
    /// Gone, because their lease ran out.
    Expired,
}

impl Place {
    /// The scripts' name for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Entered => "entered",
            Self::Away => "away",
            Self::Admitted { .. } => "admitted",
            Self::Left => "left",
            Self::Expired => "expired",
        }
    }

    /// The nonce, the lease's end and its cap; zeros where there is no admission.
    pub fn admission(&self) -> (u16, i64, i64) {
        match *self {
            Self::Admitted { nonce, lease_end_ms, cap_ms } => (nonce, lease_end_ms, cap_ms),
            _ => (0, 0, 0),
        }
    }

    fn from_name(name: &str, (nonce, lease_end_ms, cap_ms): (u16, i64, i64)) -> Option<Self> {
        Some(match name {
            "waiting" => Self::Waiting,
            "entered" => Self::Entered,
            "away" => Self::Away,
            "admitted" => Self::Admitted { nonce, lease_end_ms, cap_ms },
            "left" => Self::Left,
            "expired" => Self::Expired,
            _ => return None,
        })
    }

    /// Whether the position has ended: it never comes back.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Left | Self::Expired)
    }
}

/// What a gateway or the record knows of one person, and when it was true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// The person.
    pub user: UserId,
    /// Their position; in a draw, their entry; 0 where it is not known.
    pub position: u32,
    /// Where they were.
    pub place: Place,
    /// When.
    pub at: Moment,
}

impl Word {
    /// As the room keeps it while it is rebuilt, see `queue/retell.lua`.
    pub fn text(&self) -> String {
        let (nonce, lease_end_ms, cap_ms) = self.place.admission();
        let Moment { epoch, version } = self.at;
        format!("{epoch} {version} {} {} {nonce} {lease_end_ms} {cap_ms}", self.place.name(), self.position)
    }

    /// Reads that text; `None` for a word that is settled already, or is none.
    pub fn from_text(user: UserId, text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let at = Moment { epoch: parts.next()?.parse().ok()?, version: parts.next()?.parse().ok()? };
        let (name, position) = (parts.next()?, parts.next()?.parse().ok()?);
        let admission = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { user, position, place: Place::from_name(name, admission)?, at })
    }

    /// The newer of a gateway's word and the record's.
    #[must_use]
    pub fn or_newer(self, recorded: Option<Self>) -> Self {
        recorded.filter(|recorded| recorded.at >= self.at).unwrap_or(self)
    }
}

/// What a person shows who is not known to the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// A queue token.
    Token {
        /// Its position.
        position: u32,
        /// Whether that is an entry for a draw.
        is_entry: bool,
        /// The epoch that gave it.
        epoch: Epoch,
    },
    /// An admission pass.
    Pass {
        /// Its position.
        position: u32,
        /// Its nonce.
        nonce: u16,
    },
}

impl Shown {
    /// The position, or the entry, that it names.
    pub fn position(&self) -> u32 {
        match *self {
            Self::Token { position, .. } | Self::Pass { position, .. } => position,
        }
    }
}

/// What becomes of a person whom the room does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The room lost them: they go back there, at this position.
    Reinstate(u32, Place),
    /// Their position has ended.
    Ended(Place),
}

/// Decides by the record (`recorded` is its row, `None` where it has none) about a person whom the room does not know. A token
/// is never taken at its word where the record knows of a later join, or of the end of this one.
pub fn by_record(shown: Shown, recorded: Option<&Word>, now_ms: i64) -> Verdict {
    let Some(row) = recorded else {
        return match shown {
            // Never recorded: the join was lost with the moment that it happened in, and only the token knows of it.
            Shown::Token { position, is_entry, .. } => {
                Verdict::Reinstate(position, if is_entry { Place::Entered } else { Place::Waiting })
            }
            Shown::Pass { .. } => Verdict::Ended(Place::Expired),
        };
    };
    if let Shown::Token { position, is_entry: false, .. } = shown
        && row.position > 0
        && row.position < position
        && row.place != Place::Entered
    {
        // The record knows an earlier join only.
        return Verdict::Reinstate(position, Place::Waiting);
    }
    match row.place {
        // Renewals are not recorded: an admission can have been used until its cap.
        Place::Admitted { lease_end_ms, cap_ms, .. } if lease_end_ms.max(cap_ms) <= now_ms => {
            Verdict::Ended(Place::Expired)
        }
        place if place.has_ended() => Verdict::Ended(place),
        place => Verdict::Reinstate(row.position, place),
    }
}

/// Decides without a record: a token from behind everybody who was offered before the loss is good; of the others only a
/// record knows whether they have ended.
pub fn without_record(shown: Shown, current: Epoch, base_frontier: u32) -> Verdict {
    match shown {
        Shown::Token { position, is_entry, epoch } if epoch < current && (is_entry || position > base_frontier) => {
            Verdict::Reinstate(position, if is_entry { Place::Entered } else { Place::Waiting })
        }
        Shown::Token { .. } | Shown::Pass { .. } => Verdict::Ended(Place::Left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(position: u32, place: Place, epoch: Epoch, version: u64) -> Word {
        Word { user: UserId::generate(), position, place, at: Moment { epoch, version } }
    }

    const INSIDE: Place = Place::Admitted { nonce: 7, lease_end_ms: 2_000, cap_ms: 3_000 };

    #[test]
    fn a_word_reads_back_and_a_settled_one_does_not() {
        for place in [Place::Waiting, Place::Entered, Place::Away, INSIDE, Place::Left, Place::Expired] {
            let word = word(17, place, 9_007_199_254_740_991, 3);
            assert_eq!(Word::from_text(word.user, &word.text()), Some(word));
        }
        let user = UserId::generate();
        for nonsense in ["", "1", "1 2 settled 3 0 0 0", "1 2 waiting x 0 0 0", "1 2 waiting 3 0 0"] {
            assert_eq!(Word::from_text(user, nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_newer_word_wins_and_the_record_where_both_are_of_one_moment() {
        let retold = word(5, Place::Left, 1, 10);
        for (epoch, version, wins) in [(1, 9, false), (1, 10, true), (1, 11, true), (2, 1, true), (0, 99, false)] {
            let recorded = Word { place: Place::Waiting, at: Moment { epoch, version }, ..retold };
            assert_eq!(retold.or_newer(Some(recorded)) == recorded, wins, "{epoch} {version}");
        }
        assert_eq!(retold.or_newer(None), retold);
    }

    #[test]
    fn evidence_of_a_later_epoch_goes_before_and_positions_never_fall() {
        let one = Evidence { epoch: 1, version: 90, position: 500, frontier: 40 };
        let two = Evidence { epoch: 2, version: 3, position: 20, frontier: 50 };
        let both = Evidence { epoch: 2, version: 3, position: 500, frontier: 50 };
        assert_eq!((one.with(two), two.with(one)), (both, both));
        let late = Evidence { epoch: 1, version: 95, position: 1, frontier: 1 };
        assert_eq!(one.with(late), Evidence { version: 95, ..one });
    }

    #[test]
    fn epochs_rise_whatever_the_clock_says() {
        let now_ms = 1_800_000_000_000;
        let first = next_epoch(now_ms, &[]);
        assert!(next_epoch(now_ms + 200, &[]) > first);
        assert_eq!(next_epoch(now_ms - 3_600_000, &[first, 1]), first + 1);
        assert_eq!(next_epoch(0, &[]), 1, "a clock before 2025");
    }

    #[test]
    fn positions_jump_by_a_bounded_gap() {
        assert_eq!([0, 100, 1_000, u32::MAX].map(gap), [1_000, 1_000, 5_000, 1_000_000]);
    }

    #[test]
    fn a_token_counts_only_where_the_record_knows_nothing_newer() {
        let token = |position| Shown::Token { position, is_entry: false, epoch: 1 };
        let now_ms = 1_000;
        for (shown, row, verdict) in [
            (token(5), None, Verdict::Reinstate(5, Place::Waiting)),
            (token(5), Some(word(5, Place::Waiting, 1, 1)), Verdict::Reinstate(5, Place::Waiting)),
            (token(5), Some(word(5, Place::Away, 1, 1)), Verdict::Reinstate(5, Place::Away)),
            (token(5), Some(word(5, Place::Left, 1, 1)), Verdict::Ended(Place::Left)),
            (token(5), Some(word(5, Place::Expired, 1, 1)), Verdict::Ended(Place::Expired)),
            // They left and joined again: the newer position counts, whichever token they show.
            (token(5), Some(word(9, Place::Waiting, 1, 1)), Verdict::Reinstate(9, Place::Waiting)),
            (token(5), Some(word(9, Place::Left, 1, 1)), Verdict::Ended(Place::Left)),
            (token(9), Some(word(5, Place::Left, 1, 1)), Verdict::Reinstate(9, Place::Waiting)),
            (token(5), Some(word(5, INSIDE, 1, 1)), Verdict::Reinstate(5, INSIDE)),
        ] {
            assert_eq!(by_record(shown, row.as_ref(), now_ms), verdict, "{shown:?} {row:?}");
        }
        let over = by_record(token(5), Some(&word(5, INSIDE, 1, 1)), 3_000);
        assert_eq!(over, Verdict::Ended(Place::Expired), "the lease is over");
        let pass = Shown::Pass { position: 5, nonce: 7 };
        assert_eq!(by_record(pass, None, now_ms), Verdict::Ended(Place::Expired));
        assert_eq!(by_record(pass, Some(&word(5, INSIDE, 1, 1)), now_ms), Verdict::Reinstate(5, INSIDE));
    }

    #[test]
    fn without_a_record_a_token_from_behind_the_frontier_is_good() {
        let token = |position, epoch| Shown::Token { position, is_entry: false, epoch };
        assert_eq!(without_record(token(51, 1), 2, 50), Verdict::Reinstate(51, Place::Waiting));
        assert_eq!(without_record(token(50, 1), 2, 50), Verdict::Ended(Place::Left));
        assert_eq!(
            without_record(token(51, 2), 2, 50),
            Verdict::Ended(Place::Left),
            "the room of today would know them"
        );
        let entry = Shown::Token { position: 3, is_entry: true, epoch: 1 };
        assert_eq!(without_record(entry, 2, 50), Verdict::Reinstate(3, Place::Entered));
    }
}
