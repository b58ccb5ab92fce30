//! The rules of recovery, as switches. Today's rules have none of them on, the mended rules have all of them on.

/// One rule that can be turned off alone, so that a search shows what it is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Switch {
    /// The room stores the id of the Redis process in which its epoch was opened. A join, an admission or a denial under another
    /// process finds the room lost. Off: only a version or an epoch lower than the caller has seen does.
    RedisProcess,
    /// Every script that changes the room compares the process, not only the ones that give or deny something.
    EveryCallChecksProcess,
    /// The next epoch is claimed by compare-and-set in the room's row of the record, and opened by one script that names the
    /// epoch it found lost. Off: any script begins the next epoch by itself, from what its caller has seen.
    EpochClaimed,
    /// The claim also writes the position from which the epoch goes on. Off: the row knows recorded positions only.
    ClaimStatesPosition,
    /// Before a gateway rebuilds an epoch it reads the room's row again. A later epoch there means that this one is lost.
    RebuildConfirmsEpoch,
    /// A message for a rebuild carries its epoch, and changes nothing in another one or after the rebuild.
    EpochInMessages,
    /// A word carries the epoch and version at which it was true, and of two words the newer one wins. Off: "left" blocks every other
    /// source, an expired admission is retold as "left", and the record does not restore "expired".
    VersionedWords,
    /// A restore compares each person with the word that the room keeps of them. Off: what was read before a change undoes it.
    RestoreCompares,
    /// While a room is rebuilt, every change to a person is the newest word about them. Off: only leaving is.
    ChangesAreWords,
    /// While a room is rebuilt, leases are ended only up to where everybody is back. Off: the end of a lease that is out of date counts
    /// as the newest word.
    EndsWhatIsBack,
    /// A loss during a rebuild keeps the base and the words of that rebuild. Off: the incomplete state becomes the base.
    InterruptionKeepsBase,
    /// A token of a person whom the room does not know is compared with the record. Off: a token of an earlier epoch is taken at
    /// its word.
    TokensAskRecord,
    /// The mark of an end names the position that ended. Off: it covers every token of that person.
    MarksNamePositions,
    /// A person who is put back by their token stays out if a mark covers the position by then.
    ReinstateRespectsMarks,
    /// A row of the record changes only to what is newer by epoch and version. Off: to what is written last.
    RecordInOrder,
    /// A gateway that meets a room for the first time takes the room's row as what it has seen, also where Redis knows the room.
    FirstMeetingAsksRecord,
    /// A version for each gateway, beside the shared one: an alternative to [`Switch::RedisProcess`], off in the mended rules.
    GatewayCounters,
}

impl Switch {
    /// The switches of the mended rules.
    pub const MENDED: [Self; 16] = [
        Self::RedisProcess,
        Self::EveryCallChecksProcess,
        Self::EpochClaimed,
        Self::ClaimStatesPosition,
        Self::RebuildConfirmsEpoch,
        Self::EpochInMessages,
        Self::VersionedWords,
        Self::RestoreCompares,
        Self::ChangesAreWords,
        Self::EndsWhatIsBack,
        Self::InterruptionKeepsBase,
        Self::TokensAskRecord,
        Self::MarksNamePositions,
        Self::ReinstateRespectsMarks,
        Self::RecordInOrder,
        Self::FirstMeetingAsksRecord,
    ];

    const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// A set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules(u32);

impl Rules {
    /// The rules of Onsale before recovery was mended.
    pub const fn today() -> Self {
        Self(0)
    }

    /// The rules that recovery follows now.
    pub fn mended() -> Self {
        Switch::MENDED.into_iter().fold(Self::today(), Self::with)
    }

    /// These rules with one more.
    #[must_use]
    pub const fn with(self, switch: Switch) -> Self {
        Self(self.0 | switch.bit())
    }

    /// These rules without one.
    #[must_use]
    pub const fn without(self, switch: Switch) -> Self {
        Self(self.0 & !switch.bit())
    }

    /// Whether a rule is on.
    pub const fn has(self, switch: Switch) -> bool {
        self.0 & switch.bit() != 0
    }
}
