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
            ["room", "waiting", "away", "present", "offers", "leases", "passes", "expired", "left"]
                .map(|set| format!("wr:v1:{{{concert}}}:{set}")),
        )
    }

    /// In the scripts' order.
    pub fn all(&self) -> &[String; ROOM_KEYS] {
        &self.0
    }
}
