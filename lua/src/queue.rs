//! The waiting room's scripts. All have the same keys and first arguments, see `queue/room.lua`.

use crate::script::Script;

/// How many keys a room has.
pub const ROOM_KEYS: usize = 9;

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
        }
    }
}

impl QueueScripts {
    /// All of them.
    pub fn all(&self) -> [&Script; 7] {
        [&self.join, &self.poll, &self.leave, &self.present, &self.admit, &self.snapshot, &self.lease]
    }
}
