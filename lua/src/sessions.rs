//! The log of ended sessions: core-api writes it, gateways follow it.

use crate::script::Script;

/// The log's key: a sorted set of entries ([`entry`]) by number. The braces put both keys into one slot of a cluster.
pub const LOG: &str = "session:v1:{ended}:log";
/// The key that says up to when the log has all that `PostgreSQL` has, in ms of its time.
pub const REFLECTED: &str = "session:v1:{ended}:reflected";
/// Numbers are microseconds of Redis' time. Whoever follows the log reads as far back again each time, so that nothing is
/// missed where a replica with another clock takes over.
pub const OVERLAP_US: i64 = 10_000_000;

/// The log's verbs.
#[derive(Debug)]
pub struct SessionScripts {
    /// Adds entries, drops old ones.
    pub end: Script,
}

impl Default for SessionScripts {
    fn default() -> Self {
        Self { end: Script::new("sessions/end", include_str!("../sessions/end.lua"), 2) }
    }
}

impl SessionScripts {
    /// All of them.
    pub fn all(&self) -> [&Script; 1] {
        [&self.end]
    }
}

/// An ended session as it stands in the log: its id in compact form, and when the last of its tokens expires, in seconds
/// of Unix time.
pub fn entry(session: &str, tokens_until: i64) -> String {
    format!("{session}:{tokens_until}")
}

/// Reads what [`entry`] wrote; `None` for what it never would.
pub fn read_entry(entry: &str) -> Option<(&str, i64)> {
    let (session, until) = entry.split_once(':')?;
    Some((session, until.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back() {
        assert_eq!(read_entry(&entry("abc", 7)), Some(("abc", 7)));
        assert_eq!((read_entry("abc"), read_entry("abc:"), read_entry("abc:x")), (None, None, None));
    }
}
