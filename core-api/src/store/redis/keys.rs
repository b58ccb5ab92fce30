//! Names of keys, built here and nowhere else. The concert stands in braces, so that all keys of a concert share a slot
//! of Redis Cluster.

use common::ids::{ConcertId, SeatId};

/// A part of the concert's waiting room, which the gateway keeps: `room`, `leases`, `passes` …, see `lua/queue/room.lua`.
pub(super) fn room(concert: ConcertId, part: &str) -> String {
    format!("wr:v1:{{{concert}}}:{part}")
}

/// What has been counted of a concert for operators, see `lua/chart/add.lua`.
pub(super) fn counted(concert: ConcertId) -> String {
    room(concert, "chart:counted")
}

/// The counter of a concert's fence numbers.
pub(super) fn fence(concert: ConcertId) -> String {
    format!("hold:v1:{{{concert}}}:fence")
}

/// A seat's lock.
pub(super) fn seat(concert: ConcertId, seat: SeatId) -> String {
    format!("hold:v1:{{{concert}}}:seat:{seat}")
}
