//! The waiting room's scripts as functions.

use chrono::DateTime;
use common::ids::{ConcertId, UserId};
use common::tokens::PassId;
use lua::queue::QueueScripts;
use lua::{Call, Redis, Script, StoreError};
use std::sync::Arc;

use super::keys::RoomKeys;
use crate::domain::{
    Lease, MAX_POLL_AFTER, Mode, PRESENCE_GRACE, RankTable, RoomCounts, RoomDefaults, SETTLE, Standing, reach,
};

/// How many ranks are told one by one, and by what ratio the further ones grow: within 1 % of the rank.
const EXACT_RANKS: u32 = 64;
const RANK_GROWTH: f64 = 1.02;
/// The bounds of one admission: some milliseconds of Redis at most.
const MAX_OFFERS: u32 = 1_000;
const MAX_EXAMINED: u32 = 5_000;

/// What a script has to know of a room beyond its keys.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoomContext {
    /// When sales open, in ms; 0 where they always were.
    pub opens_at_ms: i64,
    /// Whether there is nothing to be had any more: nobody is given a turn.
    pub sale_over: bool,
    /// The highest number that this gateway has seen, and in which life of the room; 0 where it has seen nothing. A
    /// room that knows less has lost its memory, or a part of it.
    pub seen_position: u32,
    /// See `seen_position`.
    pub seen_epoch: u32,
    /// What time it is, in ms; 0 for Redis' own clock. Anything else is a test's.
    pub now_ms: i64,
}

/// A person who came to the room: what the scripts answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Where they stand.
    pub standing: Standing,
    /// The life of the room.
    pub epoch: u32,
}

/// What a gateway learns of a room at once.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its numbers.
    pub counts: RoomCounts,
    /// Who stands where.
    pub ranks: RankTable,
    /// Who left since the time asked for, the earliest first; not all of them where they are very many.
    pub left: Vec<UserId>,
    /// Up to which time, in ms, that tells all.
    pub left_until_ms: i64,
}

/// The rooms in Redis.
#[derive(Debug, Clone)]
pub struct QueueStore {
    redis: Redis,
    scripts: Arc<QueueScripts>,
    defaults: RoomDefaults,
}

impl QueueStore {
    /// On this Redis; `defaults` hold in rooms without settings of their own.
    pub fn new(redis: Redis, defaults: RoomDefaults) -> Self {
        Self { redis, scripts: Arc::default(), defaults }
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.redis.ping().await
    }

    /// Gives each user a place in line or tells the one they have; in an idle room, a lease.
    pub async fn join(
        &self,
        room: &RoomKeys,
        context: RoomContext,
        users: &[UserId],
    ) -> Result<Vec<Arrival>, StoreError> {
        let call = self
            .call(&self.scripts.join, room, context)
            .arg(millis(PRESENCE_GRACE))
            .arg(millis(MAX_POLL_AFTER + PRESENCE_GRACE))
            .arg(reach(self.defaults.admit_per_second));
        let call = users.iter().fold(call, |call, user| call.arg(user.compact()));
        arrivals(&call.run::<Vec<i64>>(&self.redis).await?, users.len())
    }

    /// Tells each person where they stand, by user, position and epoch of their ticket; epoch 0 puts nobody back.
    pub async fn poll(
        &self,
        room: &RoomKeys,
        context: RoomContext,
        tickets: &[(UserId, u32, u32)],
    ) -> Result<Vec<Arrival>, StoreError> {
        let call = self.call(&self.scripts.poll, room, context).arg(millis(PRESENCE_GRACE));
        let call = tickets
            .iter()
            .fold(call, |call, (user, position, epoch)| call.arg(user.compact()).arg(position).arg(epoch));
        arrivals(&call.run::<Vec<i64>>(&self.redis).await?, tickets.len())
    }

    /// Takes a person out of the room; whether they were in it.
    pub async fn leave(&self, room: &RoomKeys, context: RoomContext, user: UserId) -> Result<bool, StoreError> {
        let (_epoch, _now, was_in): (u32, i64, u8) =
            self.call(&self.scripts.leave, room, context).arg(user.compact()).run(&self.redis).await?;
        Ok(was_in == 1)
    }

    /// Notes that these people are there for so many ms from now; how many of them are in line.
    pub async fn note_present(
        &self,
        room: &RoomKeys,
        context: RoomContext,
        seen: &[(UserId, u32)],
    ) -> Result<u32, StoreError> {
        let call = self.call(&self.scripts.present, room, context);
        seen.iter().fold(call, |call, (user, for_ms)| call.arg(user.compact()).arg(for_ms)).run(&self.redis).await
    }

    /// Offers turns to whoever is next; how many were offered and how many set aside as absent.
    pub async fn admit(
        &self,
        room: &RoomKeys,
        context: RoomContext,
        admit_per_second: f64,
    ) -> Result<(u32, u32), StoreError> {
        let (_epoch, _now, offered, aside): (u32, i64, u32, u32) = self
            .call(&self.scripts.admit, room, context)
            .arg(reach(admit_per_second))
            .arg(millis(SETTLE))
            .arg(MAX_OFFERS)
            .arg(MAX_EXAMINED)
            .run(&self.redis)
            .await?;
        Ok((offered, aside))
    }

    /// Reads the room, with who left since `left_since_ms`. `None` where Redis does not know it.
    pub async fn snapshot(
        &self,
        room: &RoomKeys,
        context: RoomContext,
        left_since_ms: i64,
    ) -> Result<Option<Snapshot>, StoreError> {
        let (counts, left, left_until_ms, ranks): (Vec<i64>, Vec<String>, i64, Vec<u32>) = self
            .call(&self.scripts.snapshot, room, context)
            .arg(left_since_ms)
            .arg(EXACT_RANKS)
            .arg(RANK_GROWTH)
            .run(&self.redis)
            .await?;
        Ok(read_counts(&counts)?.map(|counts| Snapshot {
            counts,
            ranks: RankTable::new(ranks.as_chunks::<2>().0.iter().map(|[position, rank]| (*position, *rank)).collect()),
            left: left.iter().filter_map(|user| UserId::from_compact(user).ok()).collect(),
            left_until_ms,
        }))
    }

    /// Whether this very pass is a live admission; its lease's end in ms where it is.
    pub async fn lease_end_ms(
        &self,
        room: &RoomKeys,
        context: RoomContext,
        user: UserId,
        pass: PassId,
    ) -> Result<Option<i64>, StoreError> {
        let (_epoch, _now, end): (u32, i64, i64) = self
            .call(&self.scripts.lease, room, context)
            .arg(user.compact())
            .arg(pass.to_string())
            .run(&self.redis)
            .await?;
        Ok((end > 0).then_some(end))
    }

    /// A call with what every script takes first, in the order of `queue/room.lua`.
    fn call<'a>(&self, script: &'a Script, room: &RoomKeys, context: RoomContext) -> Call<'a> {
        room.all()
            .iter()
            .fold(script.call(), |call, key| call.key(key))
            .arg(context.now_ms)
            .arg(self.defaults.admit_per_second)
            .arg(self.defaults.burst)
            .arg(self.defaults.max_active)
            .arg(millis(self.defaults.session))
            .arg(millis(self.defaults.claim))
            .arg(if context.sale_over { -1 } else { context.opens_at_ms })
            .arg(context.seen_position)
            .arg(context.seen_epoch)
    }
}

impl From<ConcertId> for RoomKeys {
    fn from(concert: ConcertId) -> Self {
        Self::of(concert)
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The scripts' word for where a person stands.
mod state {
    pub(super) const WAITING: i64 = 1;
    pub(super) const ADMITTED: i64 = 2;
    pub(super) const LEFT: i64 = 3;
    pub(super) const EXPIRED: i64 = 4;
    pub(super) const CLOSED: i64 = 5;
}

/// Reads `epoch, now, (state, position, detail, lease end)…`.
fn arrivals(reply: &[i64], wanted: usize) -> Result<Vec<Arrival>, StoreError> {
    let [epoch, now_ms, rest @ ..] = reply else { return Err(unexpected()) };
    let epoch = narrow(*epoch)?;
    let (people, []) = rest.as_chunks::<4>() else { return Err(unexpected()) };
    if people.len() != wanted {
        return Err(unexpected());
    }
    people.iter().map(|person| Ok(Arrival { standing: standing(*person, epoch, *now_ms)?, epoch })).collect()
}

fn standing([code, position, detail, lease_end_ms]: [i64; 4], epoch: u32, now_ms: i64) -> Result<Standing, StoreError> {
    let position = narrow(position)?;
    Ok(match code {
        state::WAITING => Standing::Waiting { position, epoch, ahead: u32::try_from(detail).ok() },
        state::ADMITTED => Standing::Admitted(Lease {
            pass: PassId { position, nonce: narrow(detail)? },
            ends_at: DateTime::from_timestamp_millis(lease_end_ms).ok_or_else(unexpected)?,
            remaining_seconds: u64::try_from((lease_end_ms - now_ms) / 1_000).unwrap_or(0),
        }),
        state::LEFT => Standing::Left,
        state::EXPIRED => Standing::Expired,
        state::CLOSED => Standing::Closed,
        _ => return Err(unexpected()),
    })
}

fn read_counts(reply: &[i64]) -> Result<Option<RoomCounts>, StoreError> {
    let &[
        epoch,
        now_ms,
        seq,
        frontier,
        waiting,
        away,
        offers,
        leased,
        admitted,
        mode,
        paused,
        rate_thousandths,
        max_active,
        opens_at_ms,
        claim_ms,
        session_ms,
        burst,
    ] = reply
    else {
        return Err(unexpected());
    };
    if epoch == 0 {
        return Ok(None);
    }
    #[expect(clippy::cast_precision_loss, reason = "a rate in thousandths is far below 2^52")]
    let admit_per_second = rate_thousandths as f64 / 1_000.0;
    Ok(Some(RoomCounts {
        epoch: narrow(epoch)?,
        now_ms,
        seq: narrow(seq)?,
        frontier: narrow(frontier)?,
        waiting: narrow(waiting)?,
        away: narrow(away)?,
        offers: narrow(offers)?,
        leased: narrow(leased)?,
        admitted: narrow(admitted)?,
        mode: match mode {
            0 => Mode::Queue,
            1 => Mode::Passthrough,
            2 => Mode::Closed,
            _ => return Err(unexpected()),
        },
        paused: paused == 1,
        admit_per_second,
        burst: narrow(burst)?,
        max_active: narrow(max_active)?,
        opens_at_ms,
        claim_ms: narrow(claim_ms)?,
        session_ms: narrow(session_ms)?,
    }))
}

fn narrow<T: TryFrom<i64>>(number: i64) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| unexpected())
}

/// A reply that the script can't have given: another version's, or a key that something else wrote to.
fn unexpected() -> StoreError {
    StoreError::Redis(redis::RedisError::from((
        redis::ErrorKind::UnexpectedReturnType,
        "a script answered in another shape",
    )))
}
