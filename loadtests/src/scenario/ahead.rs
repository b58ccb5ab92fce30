//! Compares what some of those in line are told is in front of them with their rank in the room itself.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use common::ids::UserId;
use tokio::time::Instant;
use uuid::Uuid;

use crate::room::Rooms;
use crate::stats::waits::WaitLog;

/// The time between two comparisons: some hundred in a minute, which cost the room next to nothing.
const COMPARE_EVERY: Duration = Duration::from_millis(100);

/// Compares whoever is told at the right moment.
pub(super) struct AheadCheck {
    rooms: Rooms,
    concert: Uuid,
    next_at: Mutex<Instant>,
}

impl AheadCheck {
    pub(super) fn new(rooms: Rooms, concert: Uuid) -> Self {
        Self { rooms, concert, next_at: Mutex::new(Instant::now()) }
    }

    /// `user` has just been told that `ahead` people are in front.
    pub(super) async fn told(&self, log: &WaitLog, user: UserId, ahead: u64) {
        if !self.is_due() {
            return;
        }
        match self.rooms.clone().rank(self.concert, &user.compact()).await {
            Ok(rank) => log.compared(ahead, rank),
            // A Redis that is away for a moment is the system's affair.
            Err(_) => log.unasked(),
        }
    }

    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut next_at = self.next_at.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now >= *next_at;
        if due {
            *next_at = now + COMPARE_EVERY;
        }
        due
    }
}
