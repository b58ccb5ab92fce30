//! The waiting room's scripts. All have the same keys and first arguments, see `queue/room.lua`.

use crate::script::Script;

/// How many keys a room has.
pub const ROOM_KEYS: usize = 14;

/// How many arguments every verb has before its own.
pub const ROOM_ARGUMENTS: usize = 6;

/// What every verb begins with.
pub const PRELUDE: &str = include_str!("../queue/room.lua");

/// The verbs of the waiting room.
#[derive(Debug)]
pub struct QueueScripts {
    /// Gives positions.
    pub join: Script,
    /// Claims offers, and says where people are.
    pub poll: Script,
    /// Takes a person out of the room.
    pub leave: Script,
    /// Notes presence.
    pub present: Script,
    /// Makes offers.
    pub admit: Script,
    /// Reads what a gateway answers polls from.
    pub snapshot: Script,
    /// Checks an admission.
    pub lease: Script,
    /// Reads the people in a draw who have no position.
    pub gathered: Script,
    /// Gives them their positions.
    pub deal: Script,
    /// Begins an epoch.
    pub open: Script,
    /// Keeps what gateways know of people while a room is rebuilt.
    pub retell: Script,
    /// Puts people back while a room is rebuilt.
    pub restore: Script,
    /// Ends a rebuild.
    pub complete: Script,
    /// Puts one person back whom the rebuild could not know.
    pub reinstate: Script,
    /// Drops recorded events.
    pub recorded: Script,
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
            open: verb("queue/open", include_str!("../queue/open.lua")),
            retell: verb("queue/retell", include_str!("../queue/retell.lua")),
            restore: verb("queue/restore", include_str!("../queue/restore.lua")),
            complete: verb("queue/complete", include_str!("../queue/complete.lua")),
            reinstate: verb("queue/reinstate", include_str!("../queue/reinstate.lua")),
            // The room and its events.
            recorded: Script::new("queue/recorded", include_str!("../queue/recorded.lua"), 2),
        }
    }
}

impl QueueScripts {
    /// All of them.
    pub fn all(&self) -> [&Script; 15] {
        let Self { join, poll, leave, present, admit, snapshot, lease, gathered, .. } = self;
        let Self { deal, open, retell, restore, complete, reinstate, recorded, .. } = self;
        [
            join, poll, leave, present, admit, snapshot, lease, gathered, deal, open, retell, restore, complete,
            reinstate, recorded,
        ]
    }
}
