//! Turns: how much of the database one user may take at a time.
//!
//! What changes a user's money or seats waits for that user's rows. Waiting inside the database would take a connection
//! for each request, and one user with many requests would take them all; so they wait here, before they have one.

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use common::problem::{ErrorCode, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Users share queues by a hash that nobody can foresee: their number is bounded, whoever comes.
const QUEUES: usize = 1_024;
/// How many requests of one queue are at work at once.
const AT_WORK: usize = 3;
/// How long one waits for its turn: longer than a request waits for a database that is away, so that this is what is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives turns to what changes users' money and seats. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct Turns {
    queues: Arc<[Arc<Semaphore>]>,
    hash: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { queues: (0..QUEUES).map(|_| Arc::new(Semaphore::new(AT_WORK))).collect(), hash: RandomState::new() }
    }
}

/// A turn, for as long as it is held.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Turns {
    /// Waits for a turn of a user, or of one of their sessions; 429 where too much of theirs is under way already.
    pub async fn take(&self, whose: impl Hash) -> Result<Turn, Problem> {
        let slot = usize::try_from(self.hash.hash_one(whose) % QUEUES as u64).unwrap_or(0);
        match tokio::time::timeout(PATIENCE, Arc::clone(&self.queues[slot]).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Turn(permit)),
            Ok(Err(_)) | Err(_) => Err(Problem::new(ErrorCode::TooManyRequests)),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::ids::UserId;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_user_waits_for_themselves_and_not_for_ever() {
        let (turns, user) = (Turns::default(), UserId::generate());
        let first = turns.take(user).await.unwrap();
        let _others = (turns.take(user).await.unwrap(), turns.take(user).await.unwrap());
        assert_eq!(turns.take(user).await.unwrap_err().code(), ErrorCode::TooManyRequests);
        drop(first);
        assert!(turns.take(user).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn other_users_do_not_wait() {
        let (turns, busy) = (Turns::default(), UserId::generate());
        let mut held = Vec::new();
        for _ in 0..AT_WORK {
            held.push(turns.take(busy).await.unwrap());
        }
        let mut refused = 0;
        for _ in 0..200 {
            refused += usize::from(turns.take(UserId::generate()).await.is_err());
        }
        assert!(refused <= 5, "{refused} of 200 share a queue");
    }
}
