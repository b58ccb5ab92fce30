//! The rules of recovery, as switches. Today's rules have none of them on, the mended rules have all of them on.

/// One rule that can be turned off alone, so that a search shows what it is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Switch {
    /// The room stores the id of the Redis process in which its epoch was opened. A join, an admission or a denial
    /// under another process finds the room lost. Off: the caller must have seen a higher version or epoch.
    RedisProcess,
    /// Every script that changes the room compares the process. Off: only joins, admissions and denials do.
    EveryCallChecksProcess,
    /// A gateway claims the next epoch by compare-and-set in the room's row of the record. One script opens it and
    /// names the epoch that was lost. Off: any script begins the next epoch by itself, from what its caller has seen.
    EpochClaimed,
    /// The claim also writes the position from which the epoch goes on. Off: the row has recorded positions only.
    ClaimStatesPosition,
    /// The script that opens an epoch compares the Redis process and, where the room is missing, a mark left by the
    /// call that found it missing. Off: a late call opens its epoch after another loss, below a later epoch that lived
    /// meanwhile.
    OpenNamesLoss,
    /// A message of a rebuild carries its epoch. It changes nothing in another epoch or after the rebuild.
    EpochInMessages,
    /// A word carries its epoch and version, and the newer of two words wins. Off: "left" blocks every other source, an
    /// expired admission is retold as "left", and the record does not restore "expired".
    VersionedWords,
    /// A restore compares each person with the word that the room keeps of them. Off: it undoes changes made after its
    /// data was read.
    RestoreCompares,
    /// While a room is rebuilt, every change to a person becomes the newest word about them. Off: only leaving does.
    ChangesAreWords,
    /// While a room is rebuilt, leases end only up to the position to which all people are back. Off: the end of an
    /// outdated lease counts as the newest word.
    EndsWhatIsBack,
    /// A loss during a rebuild keeps the base and the words of that rebuild. Off: the incomplete state becomes the
    /// base.
    InterruptionKeepsBase,
    /// The token of a person that the room does not know is compared with the record. Off: the room trusts a token of
    /// an earlier epoch.
    TokensAskRecord,
    /// The mark of an end names the position that ended. Off: it covers every token of that person.
    MarksNamePositions,
    /// A reinstatement changes nothing where a mark covers the position by then.
    ReinstateRespectsMarks,
    /// A row of the record changes only to a newer epoch and version. Off: the last write wins.
    RecordInOrder,
    /// A gateway that meets a room for the first time reads the room's row as what it has seen. Off: it does so only
    /// where the room is missing.
    FirstMeetingAsksRecord,
    /// The room counts the calls of each gateway apart. An alternative to [`Switch::RedisProcess`] that is not enough:
    /// the other gateway misses none of its own calls. Off in the mended rules.
    GatewayCounters,
}

impl Switch {
    /// The switches of the mended rules.
    pub const MENDED: [Self; 16] = [
        Self::RedisProcess,
        Self::EveryCallChecksProcess,
        Self::EpochClaimed,
        Self::ClaimStatesPosition,
        Self::OpenNamesLoss,
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
    /// The rules that the scripts and the gateway follow today.
    pub const fn today() -> Self {
        Self(0)
    }

    /// The rules that are to replace them.
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
