//! The waiting room's scripts. All have the same keys and first arguments, see `queue/room.lua`.

use crate::script::Script;

/// How many keys a room has.
pub const ROOM_KEYS: usize = 12;

/// How many arguments every verb has before its own.
pub const ROOM_ARGUMENTS: usize = 8;

/// What every verb begins with.
pub const PRELUDE: &str = include_str!("../queue/room.lua");

/// The verbs of the waiting room.
#[derive(Debug)]
pub struct QueueScripts {
    /// Gives places in line.
    pub join: Script,
    /// Tells people where they are, and takes up offers.
    pub poll: Script,
    /// Takes a person out of the room.
    pub leave: Script,
    /// Notes who is there.
    pub present: Script,
    /// Offers turns.
    pub admit: Script,
    /// Reads what a gateway answers polls from.
    pub snapshot: Script,
    /// Checks an admission.
    pub lease: Script,
    /// Reads who takes part in a draw.
    pub gathered: Script,
    /// Gives them their positions.
    pub deal: Script,
    /// Puts back what a room has forgotten.
    pub restore: Script,
}

impl Default for QueueScripts {
    fn default() -> Self {
        let verb = |name, source| Script::with_prelude(name, PRELUDE, source, ROOM_KEYS);
        Self {
            join: verb("queue/join", include_str!("../queue/join.lua")),
            poll: verb("queue/poll", include_str!("../queue/poll.lua")),
            leave: verb("queue/leave", include_str!("../queue/leave.lua")),
            present: verb("queue/present", include_str!("../queue/present.lua")),
            admit: verb("queue/admit", include_str!("../queue/admit.lua")),
            snapshot: verb("queue/snapshot", include_str!("../queue/snapshot.lua")),
            lease: verb("queue/lease", include_str!("../queue/lease.lua")),
            gathered: verb("queue/gathered", include_str!("../queue/gathered.lua")),
            deal: verb("queue/deal", include_str!("../queue/deal.lua")),
            restore: verb("queue/restore", include_str!("../queue/restore.lua")),
        }
    }
}

impl QueueScripts {
    /// All of them.
    pub fn all(&self) -> [&Script; 10] {
        [
            &self.join,
            &self.poll,
            &self.leave,
            &self.present,
            &self.admit,
            &self.snapshot,
            &self.lease,
            &self.gathered,
            &self.deal,
            &self.restore,
        ]
    }
}
