//! One concert's waiting room in Redis, watched while visitors come and go: points 3 and 4 of the
//! design as the room itself shows them.

mod judge;

use std::time::Duration;

use anyhow::{Context, Result};
use redis::aio::ConnectionLike;
use redis::{FromRedisValue, Script};
use uuid::Uuid;

use crate::invariants::Stores;
pub(crate) use judge::RoomJudge;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One consistent look at a room. It names the keys as the gateway does (`wr:v1:{<concert>}:…`).
///
/// KEYS room, waiting, present, offers, leases. ARGV the user to watch, or ''.
const LOOK: &str = r"#!lua flags=no-writes
local time = redis.call('TIME')
local room = redis.call('HMGET', KEYS[1], 'epoch', 'frontier', 'admitted', 'mode', 'admit_per_second', 'burst', 'max_active')
local front = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
return {
  time[1] * 1000 + math.floor(time[2] / 1000),
  tonumber(room[1]) or 0, tonumber(room[2]) or 0, tonumber(room[3]) or 0,
  redis.call('ZCARD', KEYS[2]), redis.call('ZCARD', KEYS[4]), redis.call('ZCARD', KEYS[5]),
  room[4] or '', room[5] or '', room[6] or '', room[7] or '',
  front[1] or '', tonumber(redis.call('ZSCORE', KEYS[2], ARGV[1])) or 0, tonumber(redis.call('ZSCORE', KEYS[3], ARGV[1])) or 0,
}";

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
pub(crate) enum Rooms {
    Single(redis::aio::MultiplexedConnection),
    Cluster(redis::cluster_async::ClusterConnection),
}

impl Rooms {
    pub(crate) async fn connect(stores: &Stores) -> Result<Self> {
        let connecting = async {
            let first = stores.redis_urls.first().map(String::as_str).unwrap_or_default();
            anyhow::Ok(if stores.redis_cluster {
                let client = redis::cluster::ClusterClient::new(stores.redis_urls.clone())?;
                Self::Cluster(client.get_async_connection().await?)
            } else {
                Self::Single(redis::Client::open(first)?.get_multiplexed_async_connection().await?)
            })
        };
        // The URL is not shown: it may hold a password.
        tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .context("Redis (--redis-url) does not answer")?
            .context("Redis (--redis-url) can't be used")
    }

    /// Looks at a concert's room, and at the person `watched` in it.
    pub(crate) async fn look(&mut self, concert: Uuid, watched: &str) -> Result<RoomSample> {
        match self {
            Self::Single(connection) => look(connection, concert, watched).await,
            Self::Cluster(connection) => look(connection, concert, watched).await,
        }
    }
}

async fn look(connection: &mut impl ConnectionLike, concert: Uuid, watched: &str) -> Result<RoomSample> {
    let script = Script::new(LOOK);
    let mut call = script.prepare_invoke();
    for part in ["room", "waiting", "present", "offers", "leases"] {
        call.key(format!("wr:v1:{{{concert}}}:{part}"));
    }
    let values: Vec<redis::Value> = tokio::time::timeout(CONNECT_TIMEOUT, call.arg(watched).invoke_async(connection))
        .await
        .context("Redis does not answer")??;
    parse(&values)
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
    use super::*;

    /// A room as the gateway's scripts leave it: one admitted, one offered, two in line.
    async fn fill(connection: &mut impl ConnectionLike, concert: Uuid, settings: &[(&str, &str)]) -> RoomResult {
        let key = |part: &str| format!("wr:v1:{{{concert}}}:{part}");
        let mut pipe = redis::pipe();
        pipe.hset_multiple(key("room"), &[("epoch", 9), ("frontier", 12), ("admitted", 2)]).ignore();
        for setting in settings {
            pipe.hset(key("room"), setting.0, setting.1).ignore();
        }
        pipe.zadd(key("waiting"), "b", 14).ignore().zadd(key("waiting"), "a", 13).ignore();
        pipe.zadd(key("present"), "b", 99_u64).ignore();
        pipe.zadd(key("offers"), "c", 1).ignore().zadd(key("leases"), "d", 2).ignore();
        pipe.query_async::<()>(connection).await
    }

    type RoomResult = redis::RedisResult<()>;

    async fn a_room_is_read_as_it_is(stores: Stores) -> Result<()> {
        let (concert, plain) = (Uuid::new_v4(), Uuid::new_v4());
        let mut rooms = Rooms::connect(&stores).await?;
        let settings = [("max_active", "7"), ("admit_per_second", "2.5"), ("burst", "3")];
        match &mut rooms {
            Rooms::Single(connection) => {
                fill(connection, concert, &settings).await?;
                fill(connection, plain, &[("mode", "passthrough")]).await?;
            }
            Rooms::Cluster(connection) => {
                fill(connection, concert, &settings).await?;
                fill(connection, plain, &[("mode", "passthrough")]).await?;
            }
        }
        let seen = rooms.look(concert, "b").await?;
        assert_eq!((seen.epoch, seen.frontier, seen.admitted, seen.waiting), (9, 12, 2, 2));
        assert_eq!((seen.offers, seen.leases, seen.active()), (1, 1, 2));
        assert_eq!((seen.front.as_str(), seen.watched_position, seen.watched_present_until_ms), ("a", 14, 99));
        let limits = Limits { admit_per_second: Some(2.5), burst: Some(3.0), max_active: Some(7) };
        assert_eq!((seen.limits, seen.passthrough), (limits, false));
        assert!(seen.at_ms > 1_700_000_000_000);

        let seen = rooms.look(plain, "").await?;
        assert_eq!((seen.limits, seen.passthrough, seen.watched_position), (Limits::default(), true, 0));
        assert_eq!(rooms.look(Uuid::new_v4(), "").await?.epoch, 0, "no such room");
        Ok(())
    }

    #[tokio::test]
    async fn a_room_is_read_in_one_redis() -> Result<()> {
        let redis_urls = vec![stack::shared::redis_url()?];
        a_room_is_read_as_it_is(Stores { database_url: String::new(), redis_urls, redis_cluster: false }).await
    }

    #[tokio::test]
    async fn a_room_is_read_in_a_cluster() -> Result<()> {
        let redis_urls = stack::shared::redis_cluster_urls()?.split(',').map(ToOwned::to_owned).collect();
        a_room_is_read_as_it_is(Stores { database_url: String::new(), redis_urls, redis_cluster: true }).await
    }
}
