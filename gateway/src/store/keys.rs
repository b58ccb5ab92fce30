//! The names of a room's keys, built here and nowhere else.

use common::ids::ConcertId;
use lua::queue::ROOM_KEYS;

/// The keys of one concert's room, in the order that the scripts take them. The concert stands in braces, so that all
/// of them share a slot of Redis Cluster.
#[derive(Debug, Clone)]
pub struct RoomKeys([String; ROOM_KEYS]);

impl RoomKeys {
    /// For the room of this concert.
    pub fn of(concert: ConcertId) -> Self {
        Self(
            [
                "room", "waiting", "away", "present", "offers", "leases", "passes", "expired", "left", "caps",
                "gathered", "events",
            ]
            .map(|set| format!("wr:v1:{{{concert}}}:{set}")),
        )
    }

    /// The stream of events that wait to be recorded.
    pub fn events(&self) -> &str {
        &self.0[11]
    }

    /// What all gateways have counted in the room, and its points, one a second: what operators are shown.
    pub fn chart(concert: ConcertId) -> [String; 2] {
        ["counted", "points"].map(|part| format!("wr:v1:{{{concert}}}:chart:{part}"))
    }

    /// What one gateway at a time holds while it does `work` for the room.
    pub fn turn_at(concert: ConcertId, work: &str) -> String {
        format!("wr:v1:{{{concert}}}:turn:{work}")
    }

    /// In the scripts' order.
    pub fn all(&self) -> &[String; ROOM_KEYS] {
        &self.0
    }
}
