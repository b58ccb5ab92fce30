//! Names of keys, built here and nowhere else. The concert stands in braces, so that all keys of a concert share a slot
//! of Redis Cluster.

use common::ids::{ConcertId, SeatId};

/// The waiting room's leases: user → end of the lease in ms. Only read here; the gateway keeps it.
pub(super) fn leases(concert: ConcertId) -> String {
    format!("wr:v1:{{{concert}}}:leases")
}

/// The waiting room's passes: user → which admission is theirs. Only read here; the gateway keeps it.
pub(super) fn passes(concert: ConcertId) -> String {
    format!("wr:v1:{{{concert}}}:passes")
}

/// The counter of a concert's fence numbers.
pub(super) fn fence(concert: ConcertId) -> String {
    format!("hold:v1:{{{concert}}}:fence")
}

/// A seat's lock.
pub(super) fn seat(concert: ConcertId, seat: SeatId) -> String {
    format!("hold:v1:{{{concert}}}:seat:{seat}")
}
