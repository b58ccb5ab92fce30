//! The waiting room's scripts as functions.

use std::sync::Arc;

use common::ids::{ConcertId, UserId};
use common::tokens::PassId;
use lua::chart::ChartScripts;
use lua::queue::QueueScripts;
use lua::{Call, Redis, Script, StoreError};
use redis::FromRedisValue;

use super::keys::RoomKeys;
use super::replies::{self, unexpected};
use crate::domain::recovery::{Epoch, Evidence, Moment, Word};
use crate::domain::{
    DrawState, MAX_POLL_AFTER, PRESENCE_GRACE, RankTable, RoomCounts, SETTLE, SettingsInForce, Standing, reach,
};

/// How many ranks are listed one by one, and by what ratio the further ones grow: within 1 % of the rank.
const EXACT_RANKS: u32 = 64;
const RANK_GROWTH: f64 = 1.02;
/// The bounds of one admission: some milliseconds of Redis at most.
const MAX_OFFERS: u32 = 2_500;
const MAX_EXAMINED: u32 = 5_000;

/// Why a room's script did nothing.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// Redis cannot be reached, refused, or answered in another form; what it did is unknown.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The room's state was lost, wholly or its latest part: the next epoch must be opened.
    #[error("the room's state was lost")]
    Lost(Lost),
}

/// What a room showed that was found lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Its epoch; 0 where Redis does not know the room.
    pub epoch: Epoch,
    /// When it was found, in ms, by the clock of Redis.
    pub now_ms: i64,
    /// What a valid token proved of it.
    pub proof: Evidence,
}

/// What a script has to know of a room beyond its keys.
#[derive(Debug, Clone)]
pub struct RoomContext {
    /// The settings that the caller knows.
    pub settings: SettingsInForce,
    /// When sales open, in ms; 0 where they always were.
    pub opens_at_ms: i64,
    /// Whether the sale is over: no offers are made.
    pub sale_over: bool,
    /// How far the caller has seen the room come.
    pub seen: Evidence,
    /// Whether events are recorded.
    pub recorded: bool,
    /// What time it is, in ms; 0 for Redis' own clock. Tests pass another time.
    pub now_ms: i64,
}

impl RoomContext {
    /// Of a room that is open, of which nothing has been seen and nothing is recorded.
    pub fn new(settings: SettingsInForce) -> Self {
        let (opens_at_ms, sale_over, recorded, now_ms) = (0, false, false, 0);
        Self { settings, opens_at_ms, sale_over, seen: Evidence::default(), recorded, now_ms }
    }
}

/// What the scripts answered to a person who came to the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Where they stand.
    Standing(Standing),
    /// Not known, because the room is being rebuilt.
    Rebuilding,
    /// The room does not know them; the record decides.
    Unknown,
}

/// Arrivals, and how far the room has come with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// One for each person, in the order of the call.
    pub people: Vec<Arrival>,
    /// How far the room has come.
    pub seen: Evidence,
}

/// The token by which somebody polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollToken {
    /// The person.
    pub user: UserId,
    /// Their position, or in a draw their entry.
    pub position: u32,
    /// The epoch that gave it; 0 for a pass, which names none.
    pub epoch: Epoch,
}

/// How an epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// The epoch that was found lost, 0 where there was none.
    pub lost_epoch: Epoch,
    /// The new one.
    pub epoch: Epoch,
    /// The highest position that is known.
    pub position: u32,
    /// The highest one that was offered, as far as is known.
    pub frontier: u32,
    /// How far positions jump.
    pub gap: u32,
    /// Whether there was an epoch before, so that people must be put back.
    pub rebuild: bool,
}

/// Where people who are put back come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A page of the record, after a wipe. It leaves alone the people of whom a gateway has a word.
    Page,
    /// Rows of the record that are newer than what the room still knows, after a rollback.
    Changed,
    /// Words of gateways, compared with the record.
    Words,
}

/// People put back together.
#[derive(Debug, Clone, Copy)]
pub struct Restoring<'a> {
    /// The epoch that is rebuilt.
    pub epoch: Epoch,
    /// Where they come from.
    pub source: Source,
    /// Up to which position everybody is back after this; 0 to leave it.
    pub up_to: u32,
    /// The draw as it was, and its number of entries.
    pub draw: (DrawState, u32),
    /// The people.
    pub words: &'a [Word],
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
    /// People who left since the time asked for, the earliest first; not all of them where they are very many.
    pub left: Vec<UserId>,
    /// Up to which time, in ms, that list is complete.
    pub left_until_ms: i64,
}

/// What an admission did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admitted {
    /// How many people were offered admission.
    pub offered: u32,
    /// How many were skipped as absent.
    pub skipped: u32,
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

    /// Gives each user a position or returns the one they have; in an idle room, a lease.
    pub async fn join(&self, room: &RoomKeys, context: &RoomContext, users: &[UserId]) -> Result<Arrivals, RoomError> {
        let call = call(&self.scripts.join, room, context)
            .arg(millis(PRESENCE_GRACE))
            .arg(millis(MAX_POLL_AFTER + PRESENCE_GRACE))
            .arg(reach(context.settings.admit_per_second));
        let call = users.iter().fold(call, |call, user| call.arg(user.compact()));
        replies::arrivals(&self.run::<Vec<i64>>(call).await?, users.len())
    }

    /// Returns where each person stands, by their tokens.
    pub async fn poll(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        tokens: &[PollToken],
    ) -> Result<Arrivals, RoomError> {
        let call = call(&self.scripts.poll, room, context).arg(millis(PRESENCE_GRACE));
        let call =
            tokens.iter().fold(call, |call, token| call.arg(token.user.compact()).arg(token.position).arg(token.epoch));
        replies::arrivals(&self.run::<Vec<i64>>(call).await?, tokens.len())
    }

    /// Takes a person out of the room, by their own wish or an operator's (`removed`). `position` is that of their token, 0
    /// where there is none. Whether they were in the room, at which position, and when.
    pub async fn leave(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        user: UserId,
        removed: bool,
        position: u32,
    ) -> Result<(bool, u32, Moment), RoomError> {
        let leave = call(&self.scripts.leave, room, context).arg(user.compact());
        let leave = leave.arg(if removed { "removed" } else { "left" }).arg(position);
        let (head, [was_in, position]) = replies::headed(&self.run::<Vec<i64>>(leave).await?)?;
        Ok((was_in == 1, replies::narrow(position)?, head.moment()))
    }

    /// Notes that these people are there for so many ms from now; how many of them are in line.
    pub async fn note_present(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        seen: &[(UserId, u32)],
    ) -> Result<u32, RoomError> {
        let present = call(&self.scripts.present, room, context);
        self.run(seen.iter().fold(present, |call, (user, for_ms)| call.arg(user.compact()).arg(for_ms))).await
    }

    /// Makes offers to the people who are next; `extra` of them beside the rate, as an operator wishes.
    pub async fn admit(&self, room: &RoomKeys, context: &RoomContext, extra: u32) -> Result<Admitted, RoomError> {
        let admit = call(&self.scripts.admit, room, context)
            .arg(reach(context.settings.admit_per_second))
            .arg(millis(SETTLE))
            .arg(MAX_OFFERS)
            .arg(MAX_EXAMINED)
            .arg(extra);
        let (_, [offered, skipped]) = replies::headed(&self.run::<Vec<i64>>(admit).await?)?;
        Ok(Admitted { offered: replies::narrow(offered)?, skipped: replies::narrow(skipped)? })
    }

    /// Reads the room, with the people who left since `left_since_ms`.
    pub async fn snapshot(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        left_since_ms: i64,
    ) -> Result<Snapshot, RoomError> {
        let snapshot = call(&self.scripts.snapshot, room, context);
        replies::snapshot(self.run(snapshot.arg(left_since_ms).arg(EXACT_RANKS).arg(RANK_GROWTH)).await?)
    }

    /// Whether this very pass is a live admission, and until when in ms; `Unknown` while the room is being rebuilt.
    pub async fn lease(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        user: UserId,
        pass: PassId,
    ) -> Result<LeaseCheck, RoomError> {
        let lease = call(&self.scripts.lease, room, context).arg(user.compact()).arg(pass.to_string());
        let (_, [end_ms]) = replies::headed(&self.run::<Vec<i64>>(lease).await?)?;
        Ok(match end_ms {
            ..0 => LeaseCheck::Unknown,
            0 => LeaseCheck::None,
            end_ms => LeaseCheck::Live { end_ms },
        })
    }

    /// Some of the people in a draw who have no position yet, by user and entry.
    pub async fn gathered(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        at_most: u32,
    ) -> Result<Vec<(UserId, u32)>, RoomError> {
        let people: Vec<(String, u32)> = self.run(call(&self.scripts.gathered, room, context).arg(at_most)).await?;
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
    ) -> Result<u32, RoomError> {
        let deal = call(&self.scripts.deal, room, context);
        let deal =
            dealt.iter().fold(deal, |call, (user, entry, position)| call.arg(user.compact()).arg(entry).arg(position));
        let (_, [undealt]) = replies::headed(&self.run::<Vec<i64>>(deal).await?)?;
        replies::narrow(undealt)
    }

    /// Runs a call; a room that was found lost is an error of its own.
    pub(super) async fn run<T: FromRedisValue>(&self, call: Call<'_>) -> Result<T, RoomError> {
        replies::unless_lost(call.run(&self.redis).await?)
    }

    pub(super) fn scripts(&self) -> &QueueScripts {
        &self.scripts
    }
}

/// A call with what every script takes first, in the order of `queue/room.lua`.
pub(super) fn call<'a>(script: &'a Script, room: &RoomKeys, context: &RoomContext) -> Call<'a> {
    room.all()
        .iter()
        .fold(script.call(), |call, key| call.key(key))
        .arg(context.now_ms)
        .arg(context.settings.text())
        .arg(if context.sale_over { -1 } else { context.opens_at_ms })
        .arg(context.seen.epoch)
        .arg(context.seen.version)
        .arg(u8::from(context.recorded))
}

/// What is known of an admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseCheck {
    /// It lasts until then.
    Live {
        /// Its end in ms.
        end_ms: i64,
    },
    /// It has ended, or never was.
    None,
    /// The room is being rebuilt, and can learn of it yet.
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
