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

    /// Before `user` asks, if it is time for a comparison: their rank, to be given to [`told`](Self::told). What was so
    /// while the question was under way lies between this rank and the one after the answer.
    pub(super) async fn before(&self, log: &WaitLog, user: UserId) -> Option<u64> {
        if !self.is_due() {
            return None;
        }
        self.rank(log, user).await
    }

    /// `user`, who was at `before` when they asked, has just been told that `ahead` people are in front.
    pub(super) async fn told(&self, log: &WaitLog, user: UserId, before: u64, ahead: u64) {
        if let Some(after) = self.rank(log, user).await {
            log.compared(ahead, after, before);
        }
    }

    async fn rank(&self, log: &WaitLog, user: UserId) -> Option<u64> {
        match self.rooms.rank(self.concert, &user.compact()).await {
            Ok(Some(rank)) => return Some(rank),
            Ok(None) => log.out_of_line(),
            // A Redis that is away for a moment is the system's affair.
            Err(_) => log.unasked(),
        }
        None
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
