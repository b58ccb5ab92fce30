//! The waiting room's scripts as functions.

use std::sync::Arc;

use common::ids::{ConcertId, UserId};
use common::tokens::PassId;
use lua::chart::ChartScripts;
use lua::queue::QueueScripts;
use lua::{Call, Redis, Script, StoreError};

use super::keys::RoomKeys;
use super::replies::{self, Head, unexpected};
use crate::domain::{
    DrawState, MAX_POLL_AFTER, PRESENCE_GRACE, RankTable, RoomCounts, SETTLE, SettingsInForce, Standing, reach,
};

/// How many ranks are told one by one, and by what ratio the further ones grow: within 1 % of the rank.
const EXACT_RANKS: u32 = 64;
const RANK_GROWTH: f64 = 1.02;
/// The bounds of one admission: some milliseconds of Redis at most.
const MAX_OFFERS: u32 = 2_500;
const MAX_EXAMINED: u32 = 5_000;

/// How far somebody has seen a room come. A room that knows less has lost its memory, or a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The highest number.
    pub position: u32,
    /// In which life of the room.
    pub epoch: u32,
    /// After how many changes to it.
    pub changes: u64,
}

impl Seen {
    /// The furthest of two sights: a later life goes before, numbers never go back.
    #[must_use]
    pub fn or_further(self, other: Self) -> Self {
        let (earlier, later) =
            if (self.epoch, self.changes) > (other.epoch, other.changes) { (other, self) } else { (self, other) };
        Self { position: later.position.max(earlier.position), ..later }
    }
}

/// What a script has to know of a room beyond its keys.
#[derive(Debug, Clone)]
pub struct RoomContext {
    /// The settings that the caller knows.
    pub settings: SettingsInForce,
    /// When sales open, in ms; 0 where they always were.
    pub opens_at_ms: i64,
    /// Whether there is nothing to be had any more: nobody is given a turn.
    pub sale_over: bool,
    /// How far the caller has seen the room come.
    pub seen: Seen,
    /// How far numbers jump after a loss: more than can have been given since the caller last looked.
    pub gap: u32,
    /// Whether events are recorded, and can be restored from.
    pub recorded: bool,
    /// What time it is, in ms; 0 for Redis' own clock. Anything else is a test's.
    pub now_ms: i64,
}

/// How far numbers jump after a loss at least.
pub const SAFETY_GAP: u32 = 1_000;

impl RoomContext {
    /// Of a room that is open, of which nothing has been seen and nothing is recorded.
    pub fn new(settings: SettingsInForce) -> Self {
        let (opens_at_ms, sale_over, recorded, now_ms) = (0, false, false, 0);
        Self { settings, opens_at_ms, sale_over, seen: Seen::default(), gap: SAFETY_GAP, recorded, now_ms }
    }
}

/// What the scripts answered to a person who came to the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Where they stand; `None` where that is not known, because the room is being rebuilt.
    pub standing: Option<Standing>,
    /// The life of the room.
    pub epoch: u32,
}

/// Arrivals, and how far the room has come with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// One for each person, in the order of the call.
    pub people: Vec<Arrival>,
    /// How far the room has come.
    pub seen: Seen,
}

/// What a gateway learns of a room at once.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its numbers.
    pub counts: RoomCounts,
    /// How its draw stands.
    pub draw: DrawState,
    /// How it is run.
    pub settings: SettingsInForce,
    /// Who stands where.
    pub ranks: RankTable,
    /// Who left since the time asked for, the earliest first; not all of them where they are very many.
    pub left: Vec<UserId>,
    /// Up to which time, in ms, that tells all.
    pub left_until_ms: i64,
}

/// What an admission did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turns {
    /// How many were offered their turn.
    pub offered: u32,
    /// How many were set aside as absent.
    pub aside: u32,
}

/// What somebody was in a room that has forgotten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgotten {
    /// Who.
    pub user: UserId,
    /// At which position; of who takes part in a draw, their entry.
    pub position: u32,
    /// What they were.
    pub was: Was,
}

/// What somebody was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Was {
    /// In line.
    Waiting,
    /// In a draw.
    Entered,
    /// Inside.
    Admitted {
        /// Tells this admission from others of the same position.
        nonce: u16,
        /// When it ends, in ms.
        lease_end_ms: i64,
        /// Until when use may renew it, in ms.
        cap_ms: i64,
    },
    /// Gone.
    Left,
}

/// The rooms in Redis.
#[derive(Debug, Clone)]
pub struct QueueStore {
    redis: Redis,
    scripts: Arc<QueueScripts>,
    charts: Arc<ChartScripts>,
}

impl QueueStore {
    /// On this Redis.
    pub fn new(redis: Redis) -> Self {
        Self { redis, scripts: Arc::default(), charts: Arc::default() }
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.redis.ping().await
    }

    /// The connection, for what is no script.
    pub(super) fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The scripts of what operators see.
    pub(super) fn charts(&self) -> &ChartScripts {
        &self.charts
    }

    /// Gives each user a place in line or tells the one they have; in an idle room, a lease.
    pub async fn join(&self, room: &RoomKeys, context: &RoomContext, users: &[UserId]) -> Result<Arrivals, StoreError> {
        let call = self
            .call(&self.scripts.join, room, context)
            .arg(millis(PRESENCE_GRACE))
            .arg(millis(MAX_POLL_AFTER + PRESENCE_GRACE))
            .arg(reach(context.settings.admit_per_second));
        let call = users.iter().fold(call, |call, user| call.arg(user.compact()));
        replies::arrivals(&call.run::<Vec<i64>>(&self.redis).await?, users.len())
    }

    /// Tells each person where they stand, by user, position and epoch of their ticket; epoch 0 puts nobody back.
    pub async fn poll(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        tickets: &[(UserId, u32, u32)],
    ) -> Result<Arrivals, StoreError> {
        let call = self.call(&self.scripts.poll, room, context).arg(millis(PRESENCE_GRACE));
        let call = tickets
            .iter()
            .fold(call, |call, (user, position, epoch)| call.arg(user.compact()).arg(position).arg(epoch));
        replies::arrivals(&call.run::<Vec<i64>>(&self.redis).await?, tickets.len())
    }

    /// Takes a person out of the room, by their own wish or an operator's (`removed`); whether they were in it.
    pub async fn leave(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        user: UserId,
        removed: bool,
    ) -> Result<bool, StoreError> {
        let (_, was_in): (Head, u8) = replies::headed(
            &self
                .call(&self.scripts.leave, room, context)
                .arg(user.compact())
                .arg(if removed { "removed" } else { "left" })
                .run::<Vec<i64>>(&self.redis)
                .await?,
        )?;
        Ok(was_in == 1)
    }

    /// Notes that these people are there for so many ms from now; how many of them are in line.
    pub async fn note_present(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        seen: &[(UserId, u32)],
    ) -> Result<u32, StoreError> {
        let call = self.call(&self.scripts.present, room, context);
        seen.iter().fold(call, |call, (user, for_ms)| call.arg(user.compact()).arg(for_ms)).run(&self.redis).await
    }

    /// Offers turns to whoever is next; `extra` of them beside the rate, as an operator wishes.
    pub async fn admit(&self, room: &RoomKeys, context: &RoomContext, extra: u32) -> Result<Turns, StoreError> {
        let reply: Vec<i64> = self
            .call(&self.scripts.admit, room, context)
            .arg(reach(context.settings.admit_per_second))
            .arg(millis(SETTLE))
            .arg(MAX_OFFERS)
            .arg(MAX_EXAMINED)
            .arg(extra)
            .run(&self.redis)
            .await?;
        let &[_, _, _, offered, aside] = reply.as_slice() else { return Err(unexpected()) };
        Ok(Turns { offered: replies::narrow(offered)?, aside: replies::narrow(aside)? })
    }

    /// Reads the room, with who left since `left_since_ms`. `None` where Redis does not know it.
    pub async fn snapshot(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        left_since_ms: i64,
    ) -> Result<Option<Snapshot>, StoreError> {
        let reply = self
            .call(&self.scripts.snapshot, room, context)
            .arg(left_since_ms)
            .arg(EXACT_RANKS)
            .arg(RANK_GROWTH)
            .run(&self.redis)
            .await?;
        replies::snapshot(reply)
    }

    /// Whether this very pass is a live admission, and until when in ms; `Unknown` while the room is being rebuilt.
    pub async fn lease(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        user: UserId,
        pass: PassId,
    ) -> Result<LeaseCheck, StoreError> {
        let (_, end): (Head, i64) = replies::headed(
            &self
                .call(&self.scripts.lease, room, context)
                .arg(user.compact())
                .arg(pass.to_string())
                .run::<Vec<i64>>(&self.redis)
                .await?,
        )?;
        Ok(match end {
            ..0 => LeaseCheck::Unknown,
            0 => LeaseCheck::None,
            end_ms => LeaseCheck::Live { end_ms },
        })
    }

    /// Some of those who take part in a draw and have no position yet, by user and entry.
    pub async fn gathered(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        at_most: u32,
    ) -> Result<Vec<(UserId, u32)>, StoreError> {
        let people: Vec<(String, u32)> =
            self.call(&self.scripts.gathered, room, context).arg(at_most).run(&self.redis).await?;
        people
            .into_iter()
            .map(|(user, entry)| Ok((UserId::from_compact(&user).map_err(|_| unexpected())?, entry)))
            .collect()
    }

    /// Gives people in a draw their positions, by user, entry and position; how many still have none.
    pub async fn deal(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        dealt: &[(UserId, u32, u32)],
    ) -> Result<u32, StoreError> {
        let call = self.call(&self.scripts.deal, room, context);
        let call =
            dealt.iter().fold(call, |call, (user, entry, position)| call.arg(user.compact()).arg(entry).arg(position));
        let (_, undealt): (Head, u32) = replies::headed(&call.run::<Vec<i64>>(&self.redis).await?)?;
        Ok(undealt)
    }

    /// Puts back what the room has forgotten; `complete` where this was all of it. How many it put somewhere.
    pub async fn restore(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        draw: (DrawState, u32),
        people: &[Forgotten],
        complete: bool,
    ) -> Result<u32, StoreError> {
        let call =
            self.call(&self.scripts.restore, room, context).arg(u8::from(complete)).arg(draw.0.as_str()).arg(draw.1);
        let call = people.iter().fold(call, |call, person| {
            let (word, nonce, lease_end_ms, cap_ms) = match person.was {
                Was::Waiting => ("waiting", 0, 0, 0),
                Was::Entered => ("entered", 0, 0, 0),
                Was::Admitted { nonce, lease_end_ms, cap_ms } => ("admitted", nonce, lease_end_ms, cap_ms),
                Was::Left => ("left", 0, 0, 0),
            };
            call.arg(word).arg(person.user.compact()).arg(person.position).arg(nonce).arg(lease_end_ms).arg(cap_ms)
        });
        let (_, put): (Head, u32) = replies::headed(&call.run::<Vec<i64>>(&self.redis).await?)?;
        Ok(put)
    }

    /// A call with what every script takes first, in the order of `queue/room.lua`.
    #[expect(clippy::unused_self, reason = "it reads as what it is: a call of this store's")]
    fn call<'a>(&self, script: &'a Script, room: &RoomKeys, context: &RoomContext) -> Call<'a> {
        room.all()
            .iter()
            .fold(script.call(), |call, key| call.key(key))
            .arg(context.now_ms)
            .arg(context.settings.text())
            .arg(if context.sale_over { -1 } else { context.opens_at_ms })
            .arg(context.seen.position)
            .arg(context.seen.epoch)
            .arg(context.seen.changes)
            .arg(context.gap)
            .arg(u8::from(context.recorded))
    }
}

/// What is known of an admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseCheck {
    /// It lasts until then.
    Live {
        /// Its end in ms.
        end_ms: i64,
    },
    /// It is over, or never was.
    None,
    /// The room has lost its memory, and may learn of it yet.
    Unknown,
}

impl From<ConcertId> for RoomKeys {
    fn from(concert: ConcertId) -> Self {
        Self::of(concert)
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
