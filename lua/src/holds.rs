//! The seat locks' scripts. All keys of a call are one concert's and share its hash tag.

use crate::script::Script;

/// The verbs of the seat locks.
#[derive(Debug)]
pub struct HoldScripts {
    /// Locks seats for an admitted person, all or none.
    pub hold: Script,
    /// Gives locks their whole life where they still are the ones meant.
    pub keep: Script,
    /// Hands a lock from one person to the next.
    pub pass_on: Script,
    /// Takes locks away where they still are the ones meant.
    pub release: Script,
    /// Ends the admission of someone who has paid for everything.
    pub paid: Script,
}

impl Default for HoldScripts {
    fn default() -> Self {
        Self {
            // Leases, passes, fence, room; then a key per seat.
            hold: Script::new("holds/hold", include_str!("../holds/hold.lua"), 4),
            // Leases; then a key per seat.
            keep: Script::new("holds/keep", include_str!("../holds/keep.lua"), 1),
            // Fence and seat.
            pass_on: Script::new("holds/pass_on", include_str!("../holds/pass_on.lua"), 2),
            release: Script::new("holds/release", include_str!("../holds/release.lua"), 0),
            paid: Script::new("holds/paid", include_str!("../holds/paid.lua"), 6),
        }
    }
}

impl HoldScripts {
    /// All of them.
    pub fn all(&self) -> [&Script; 5] {
        [&self.hold, &self.keep, &self.pass_on, &self.release, &self.paid]
    }
}
