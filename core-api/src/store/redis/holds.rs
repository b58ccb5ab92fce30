//! Seat locks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use common::ids::{ConcertId, SeatId, UserId};
use lua::holds::HoldScripts;
use lua::{Redis, RedisSettings, StoreError};

use super::keys;
use crate::domain::Fault;
use crate::domain::reservation::{Order, SeatLock};

/// How long a lock lives whose reservation is not written yet: longer than writing it, or finding out what became of it,
/// may take. A process that dies in between keeps the seat from others for this long and no longer.
const UNWRITTEN_LIFE: Duration = Duration::from_secs(20);

/// How many locks one call asks for.
const LOCKS_PER_CALL: usize = 500;

/// How a hold went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldOutcome {
    /// All seats are locked, under this fence number.
    Held(i64),
    /// A seat is locked by somebody; nothing was changed.
    Taken,
    /// There is no live admission with this pass; nothing was changed.
    NotAdmitted,
}

/// The seat locks.
#[derive(Debug, Clone)]
pub struct Holds {
    redis: Redis,
    scripts: Arc<HoldScripts>,
    grace: Duration,
}

impl Holds {
    /// Prepares the connection; locks that nobody releases last `grace` longer than what they protect.
    pub fn new(settings: &RedisSettings, grace: Duration) -> Result<Self, Fault> {
        Ok(Self { redis: Redis::new(settings)?, scripts: Arc::default(), grace })
    }

    /// How long a lock may outlive the deadline of what it protects.
    pub fn grace(&self) -> Duration {
        self.grace
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), Fault> {
        Ok(self.redis.ping().await?)
    }

    /// Locks the seats of an order for a short time, all or none, if its user's admission is live. After a fault it is unknown whether
    /// they are locked; nobody can tell whose fence it was, so such locks are left to end by themselves.
    pub async fn hold(&self, order: &Order) -> Result<HoldOutcome, Fault> {
        let concert = order.concert;
        let mut call = self
            .scripts
            .hold
            .call()
            .key(&keys::room(concert, "leases"))
            .key(&keys::room(concert, "passes"))
            .key(&keys::fence(concert))
            .key(&keys::room(concert, "room"))
            .arg(order.user.compact())
            .arg(order.pass.to_string())
            .arg(millis(UNWRITTEN_LIFE))
            .arg(0_u8);
        for seat in &order.seats {
            call = call.key(&keys::seat(concert, seat.id));
        }
        let (status, number): (String, i64) = call.run(&self.redis).await?;
        match status.as_str() {
            "held" => Ok(HoldOutcome::Held(number)),
            "taken" => Ok(HoldOutcome::Taken),
            "not_admitted" => Ok(HoldOutcome::NotAdmitted),
            "unknown" => Err(Fault::Unavailable("the waiting room is being rebuilt".to_owned())),
            other => Err(Fault::Internal(format!("holds/hold answered {other}"))),
        }
    }

    /// Lets a user's locks live as long as their reservations, which are written and can be paid for `payable_for`, and
    /// keeps their admission as long; how many locks still were theirs. All are of one concert. One that is lost costs
    /// whoever tries the seat next a look into `PostgreSQL`, which decides.
    pub async fn keep(
        &self,
        concert: ConcertId,
        user: UserId,
        locks: &[SeatLock],
        payable_for: Duration,
    ) -> Result<u64, Fault> {
        let mut call = self
            .scripts
            .keep
            .call()
            .key(&keys::room(concert, "leases"))
            .arg(millis(payable_for.saturating_add(self.grace)))
            .arg(user.compact())
            .arg(millis(payable_for))
            .arg(0_u8);
        for lock in locks {
            call = call.key(&keys::seat(concert, lock.seat)).arg(value(lock.user, lock.fence));
        }
        Ok(call.run(&self.redis).await?)
    }

    /// Which of a concert's seats are locked now; at most a few hundred are asked for.
    pub async fn locked(&self, concert: ConcertId, seats: &[SeatId]) -> Result<Vec<SeatId>, Fault> {
        if seats.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = seats.iter().map(|seat| keys::seat(concert, *seat)).collect();
        let locks: Vec<Option<String>> = self.redis.run(redis::cmd("MGET").arg(keys).to_owned()).await?;
        Ok(seats.iter().zip(locks).filter(|(_, lock)| lock.is_some()).map(|(seat, _)| *seat).collect())
    }

    /// Which of these locks still are there, each the very one.
    pub async fn still_locked(&self, locks: &[SeatLock]) -> Result<Vec<SeatLock>, Fault> {
        let seats: Vec<_> = locks.iter().map(|lock| (lock.concert, lock.seat)).collect();
        let found: HashMap<SeatId, SeatLock> =
            self.locks_of(&seats).await?.into_iter().map(|lock| (lock.seat, lock)).collect();
        Ok(locks.iter().filter(|lock| found.get(&lock.seat) == Some(lock)).copied().collect())
    }

    /// The locks that these seats have now, whosever they are; one call per concert and some hundreds of seats.
    pub async fn locks_of(&self, seats: &[(ConcertId, SeatId)]) -> Result<Vec<SeatLock>, Fault> {
        let mut by_concert: HashMap<ConcertId, Vec<SeatId>> = HashMap::new();
        for (concert, seat) in seats {
            by_concert.entry(*concert).or_default().push(*seat);
        }
        let mut locks = Vec::new();
        for (concert, seats) in by_concert {
            for seats in seats.chunks(LOCKS_PER_CALL) {
                let keys: Vec<String> = seats.iter().map(|seat| keys::seat(concert, *seat)).collect();
                let found: Vec<Option<String>> = self.redis.run(redis::cmd("MGET").arg(keys).to_owned()).await?;
                let read = |(seat, found): (&SeatId, Option<String>)| read(concert, *seat, &found?);
                locks.extend(seats.iter().zip(found).filter_map(read));
            }
        }
        Ok(locks)
    }

    /// Hands a seat's lock on to another user, for a short time; its fence. `None` where the lock is somebody else's.
    /// After a fault it is unknown whose it is.
    pub async fn pass_on(&self, lock: &SeatLock, next: UserId) -> Result<Option<i64>, Fault> {
        let call = self
            .scripts
            .pass_on
            .call()
            .key(&keys::fence(lock.concert))
            .key(&keys::seat(lock.concert, lock.seat))
            .arg(value(lock.user, lock.fence))
            .arg(next.compact())
            .arg(millis(UNWRITTEN_LIFE));
        let fence: i64 = call.run(&self.redis).await?;
        Ok(Some(fence).filter(|fence| *fence != 0))
    }

    /// Whether the concert's room is set to end an admission once its owner has paid for everything.
    pub async fn leaves_on_payment(&self, concert: ConcertId) -> Result<bool, Fault> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Settings {
            #[serde(default)]
            leave_on_payment: bool,
        }
        let command = redis::cmd("HGET").arg(keys::room(concert, "room")).arg("settings").to_owned();
        let settings: Option<String> = self.redis.run(command).await?;
        let settings = settings.and_then(|text| serde_json::from_str::<Settings>(&text).ok());
        Ok(settings.is_some_and(|settings| settings.leave_on_payment))
    }

    /// Ends the admission of someone who has paid for everything they held, where the room is set so.
    pub async fn leave_after_payment(&self, concert: ConcertId, user: UserId) -> Result<bool, Fault> {
        let call = ["room", "leases", "passes", "caps", "left", "events"]
            .iter()
            .fold(self.scripts.paid.call(), |call, part| call.key(&keys::room(concert, part)));
        Ok(call.arg(user.compact()).arg(0_u8).run(&self.redis).await?)
    }

    /// Releases locks, each only where it still is the very one; how many were. Locks of several concerts go in one
    /// call per concert.
    pub async fn release(&self, locks: &[SeatLock]) -> Result<u64, Fault> {
        let mut by_concert: HashMap<ConcertId, Vec<&SeatLock>> = HashMap::new();
        for lock in locks {
            by_concert.entry(lock.concert).or_default().push(lock);
        }
        let mut released = 0;
        for (concert, locks) in by_concert {
            let mut call = self.scripts.release.call();
            for lock in locks {
                call = call.key(&keys::seat(concert, lock.seat)).arg(value(lock.user, lock.fence));
            }
            released += call.run::<u64>(&self.redis).await?;
        }
        Ok(released)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A lock's value, as `holds/hold.lua` writes it.
fn value(user: UserId, fence: i64) -> String {
    format!("{}:{fence}", user.compact())
}

/// The lock that has this value; `None` where it is none of ours.
fn read(concert: ConcertId, seat: SeatId, value: &str) -> Option<SeatLock> {
    let (user, fence) = value.split_once(':')?;
    Some(SeatLock { concert, seat, user: UserId::from_compact(user).ok()?, fence: fence.parse().ok()? })
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        // A script that fails has a bug. Everything else Redis may say (down, loading, full, failing over) passes.
        let ours = matches!(&error, StoreError::Redis(redis) if redis.code() == Some("ERR"));
        if ours { Self::Internal(error.to_string()) } else { Self::Unavailable(error.to_string()) }
    }
}
