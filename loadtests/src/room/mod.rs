//! One concert's waiting room in Redis, watched while visitors come and go: points 3 and 4 of the
//! design as the room itself shows them.

mod judge;
mod watch;

use std::sync::Arc;

use anyhow::{Context, Result};
use lua::{Redis, Script};
use redis::FromRedisValue;
use uuid::Uuid;

use crate::invariants::Stores;
pub(crate) use judge::RoomJudge;
pub(crate) use watch::{RoomWatch, Watching};

/// One consistent look at a room. It names the keys as the gateway does (`wr:v1:{<concert>}:…`).
///
/// The room keeps its settings as JSON (`RoomSettings` in the gateway); one that nobody ticked yet has none.
///
/// KEYS see [`LOOK_KEYS`]. ARGV the user to watch, or ''.
const LOOK: &str = r"#!lua flags=no-writes
local time = redis.call('TIME')
local room = redis.call('HMGET', KEYS[1], 'epoch', 'frontier', 'admitted', 'settings')
local settings = room[4] and cjson.decode(room[4]) or {}
local front = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return {
  time[1] * 1000 + math.floor(time[2] / 1000),
  tonumber(room[1]) or 0, tonumber(room[2]) or 0, tonumber(room[3]) or 0,
  redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[4]), redis.call('ZCARD', KEYS[5]),
  tostring(settings.mode or ''), tostring(settings.admitPerSecond or ''), tostring(settings.burst or ''),
  tostring(settings.maxActive or ''),
  front[1] or '', tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1])) or 0, tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1])) or 0,
}";

/// What it looks at, in the order of its KEYS.
const LOOK_KEYS: [&str; 5] = ["room", "waiting", "present", "offers", "leases"];

/// How many people in line are before someone.
///
/// KEYS waiting. ARGV the user. RETURNS -1 for who is not in line.
const RANK: &str = r"#!lua flags=no-writes
return redis.call('ZRANK', KEYS[1], ARGV[1]) or -1";

/// What holds where a room has no setting of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    pub(crate) admit_per_second: Option<f64>,
    pub(crate) burst: Option<f64>,
    pub(crate) max_active: Option<u64>,
}

/// A room at one moment of Redis' own clock.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RoomSample {
    pub(crate) at_ms: u64,
    /// 0: there is no such room yet.
    pub(crate) epoch: u64,
    pub(crate) frontier: u64,
    /// Admissions since the room began.
    pub(crate) admitted: u64,
    pub(crate) waiting: u64,
    pub(crate) offers: u64,
    pub(crate) leases: u64,
    pub(crate) passthrough: bool,
    pub(crate) limits: Limits,
    /// The person with the lowest position in line; empty if nobody is.
    front: String,
    /// Position of the watched person, 0 if they are not in line.
    watched_position: u64,
    /// Until when the watched person counts as present, 0 for not.
    watched_present_until_ms: u64,
}

impl RoomSample {
    /// Offers and leases: both count towards `maxActive`.
    pub(crate) fn active(&self) -> u64 {
        self.offers + self.leases
    }
}

/// A connection to the Redis that holds the rooms.
#[derive(Clone)]
pub(crate) struct Rooms {
    redis: Redis,
    script: Arc<Script>,
    rank: Arc<Script>,
}

impl Rooms {
    pub(crate) async fn connect(stores: &Stores) -> Result<Self> {
        // The URLs are not shown: they may hold a password.
        let redis = Redis::new(&stores.redis).context("Redis (--redis-url) can't be used")?;
        redis.ping().await.context("Redis (--redis-url) does not answer")?;
        let (script, rank) = (Script::new("look", LOOK, LOOK_KEYS.len()), Script::new("rank", RANK, 1));
        Ok(Self { redis, script: Arc::new(script), rank: Arc::new(rank) })
    }

    /// Looks at a concert's room, and at the person `watched` in it.
    pub(crate) async fn look(&mut self, concert: Uuid, watched: &str) -> Result<RoomSample> {
        let call = LOOK_KEYS.iter().fold(self.script.call(), |call, part| call.key(&key(concert, part)));
        let values: Vec<redis::Value> = call.arg(watched).run(&self.redis).await?;
        parse(&values)
    }

    /// How many people in line are before `user` (as the room writes ids) right now; `None` for who is not in line.
    pub(crate) async fn rank(&self, concert: Uuid, user: &str) -> Result<Option<u64>> {
        let rank: i64 = self.rank.call().key(&key(concert, "waiting")).arg(user).run(&self.redis).await?;
        Ok(u64::try_from(rank).ok())
    }
}

fn key(concert: Uuid, part: &str) -> String {
    format!("wr:v1:{{{concert}}}:{part}")
}

fn parse(values: &[redis::Value]) -> Result<RoomSample> {
    fn field<T: FromRedisValue>(values: &[redis::Value], index: usize) -> Result<T> {
        let value = values.get(index).cloned().context("a short answer")?;
        Ok(T::from_redis_value(value)?)
    }
    let text = |index| field::<String>(values, index);
    Ok(RoomSample {
        at_ms: field(values, 0)?,
        epoch: field(values, 1)?,
        frontier: field(values, 2)?,
        admitted: field(values, 3)?,
        waiting: field(values, 4)?,
        offers: field(values, 5)?,
        leases: field(values, 6)?,
        passthrough: text(7)? == "passthrough",
        limits: Limits {
            admit_per_second: text(8)?.parse().ok(),
            burst: text(9)?.parse().ok(),
            max_active: text(10)?.parse().ok(),
        },
        front: text(11)?,
        watched_position: field(values, 12)?,
        watched_present_until_ms: field(values, 13)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lua::{Mode, RedisSettings, SentinelSettings};
    use redis::RedisResult;
    use stack::redis::{RedisSentinel, SENTINEL_MASTER};

    use super::*;

    /// A room as the gateway's scripts leave it: one admitted, one offered, two in line.
    async fn fill(redis: &mut Redis, concert: Uuid, settings: Option<&str>) -> RedisResult<()> {
        let key = |part: &str| key(concert, part);
        let mut pipe = redis::pipe();
        pipe.hset_multiple(key("room"), &[("epoch", 9), ("frontier", 12), ("admitted", 2)]).ignore();
        if let Some(settings) = settings {
            pipe.hset(key("room"), "settings", settings).ignore();
        }
        pipe.zadd(key("waiting"), "b", 14).ignore().zadd(key("waiting"), "a", 13).ignore();
        pipe.zadd(key("present"), "b", 99_u64).ignore();
        pipe.zadd(key("offers"), "c", 1).ignore().zadd(key("leases"), "d", 2).ignore();
        pipe.query_async(redis).await
    }

    async fn a_room_is_read_as_it_is(stores: Stores) -> Result<()> {
        let (concert, open, unset) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
        let mut rooms = Rooms::connect(&stores).await?;
        // As the gateway writes them.
        let set = r#"{"version":3,"mode":"queue","paused":false,"admitPerSecond":2.5,"burst":3,"maxActive":7,
            "sessionMs":600000,"claimMs":45000,"idleMs":0,"opensAtMs":0,"order":"fifo","stopWhenSoldOut":true,
            "leaveOnPayment":false}"#;
        for (room, settings) in [(concert, Some(set)), (open, Some(r#"{"mode":"passthrough"}"#)), (unset, None)] {
            fill(&mut rooms.redis, room, settings).await?;
        }
        let seen = rooms.look(concert, "b").await?;
        assert_eq!((seen.epoch, seen.frontier, seen.admitted, seen.waiting), (9, 12, 2, 2));
        assert_eq!((seen.offers, seen.leases, seen.active()), (1, 1, 2));
        assert_eq!((seen.front.as_str(), seen.watched_position, seen.watched_present_until_ms), ("a", 14, 99));
        let limits = Limits { admit_per_second: Some(2.5), burst: Some(3.0), max_active: Some(7) };
        assert_eq!((seen.limits, seen.passthrough), (limits, false));
        assert!(seen.at_ms > 1_700_000_000_000);

        assert_eq!(rooms.rank(concert, "a").await?, Some(0));
        assert_eq!(rooms.rank(concert, "b").await?, Some(1));
        assert_eq!(rooms.rank(concert, "d").await?, None, "not in line");

        let seen = rooms.look(open, "").await?;
        assert_eq!((seen.limits, seen.passthrough, seen.watched_position), (Limits::default(), true, 0));
        let seen = rooms.look(unset, "").await?;
        assert_eq!((seen.limits, seen.passthrough, seen.frontier), (Limits::default(), false, 12));
        assert_eq!(rooms.look(Uuid::new_v4(), "").await?.epoch, 0, "no such room");
        Ok(())
    }

    fn stores(urls: &str, mode: Mode) -> Stores {
        let urls = urls.split(',').map(ToOwned::to_owned).collect();
        let redis = RedisSettings { urls, mode, call_timeout: Duration::from_secs(5) };
        Stores { database_url: String::new(), redis }
    }

    #[tokio::test]
    async fn a_room_is_read_in_one_redis() -> Result<()> {
        a_room_is_read_as_it_is(stores(&stack::shared::redis_url()?, Mode::Standalone)).await
    }

    #[tokio::test]
    async fn a_room_is_read_in_a_cluster() -> Result<()> {
        a_room_is_read_as_it_is(stores(&stack::shared::redis_cluster_urls()?, Mode::Cluster)).await
    }

    #[tokio::test]
    async fn a_room_is_read_by_sentinel() -> Result<()> {
        let sentinel = RedisSentinel::start()?;
        let asked = SentinelSettings { master: SENTINEL_MASTER.to_owned(), password: None };
        a_room_is_read_as_it_is(stores(&sentinel.urls(), Mode::Sentinel(asked))).await
    }
}
