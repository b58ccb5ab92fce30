//! What the gateway's tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

pub mod server;

use std::time::Duration;

use common::ids::{ConcertId, UserId};
use gateway::domain::{RoomDefaults, Standing};
use gateway::store::{QueueStore, RoomContext, RoomKeys};
use lua::{Mode, Redis, RedisSettings};

/// A room that admits ten a second, five at once, twenty inside.
pub const DEFAULTS: RoomDefaults = RoomDefaults {
    admit_per_second: 10.0,
    burst: 5,
    max_active: 20,
    session: Duration::from_mins(1),
    claim: Duration::from_secs(30),
};

/// Where tests begin to count time, in ms: any time will do, since nothing reads a clock.
pub const START_MS: i64 = 1_800_000_000_000;

/// The shared Redis.
pub fn redis_settings() -> RedisSettings {
    RedisSettings {
        urls: vec![stack::shared::redis_url().unwrap()],
        mode: Mode::Standalone,
        call_timeout: Duration::from_secs(10),
    }
}

fn cluster_settings() -> RedisSettings {
    let urls = stack::shared::redis_cluster_urls().unwrap().split(',').map(str::to_owned).collect();
    RedisSettings { urls, mode: Mode::Cluster, call_timeout: Duration::from_secs(10) }
}

/// A room of its own, with time in hand.
pub struct Rig {
    pub store: QueueStore,
    pub redis: Redis,
    pub keys: RoomKeys,
    pub context: RoomContext,
}

impl Rig {
    /// On one server and on a cluster: every script has to do the same on both.
    pub fn on_both(defaults: RoomDefaults) -> [Self; 2] {
        [redis_settings(), cluster_settings()].map(|settings| Self::on(&settings, defaults))
    }

    pub fn on(settings: &RedisSettings, defaults: RoomDefaults) -> Self {
        let redis = Redis::new(settings).unwrap();
        Self {
            store: QueueStore::new(redis.clone(), defaults),
            redis,
            keys: RoomKeys::of(ConcertId::generate()),
            context: RoomContext { now_ms: START_MS, ..RoomContext::default() },
        }
    }

    pub fn advance(&mut self, by: Duration) {
        self.context.now_ms += i64::try_from(by.as_millis()).unwrap();
    }

    pub async fn join(&self, users: &[UserId]) -> Vec<Standing> {
        let arrivals = self.store.join(&self.keys, self.context, users).await.unwrap();
        arrivals.into_iter().map(|arrival| arrival.standing).collect()
    }

    pub async fn join_one(&self, user: UserId) -> Standing {
        self.join(&[user]).await[0]
    }

    /// A poll of someone who has nothing that could put them back.
    pub async fn poll(&self, user: UserId) -> Standing {
        self.store.poll(&self.keys, self.context, &[(user, 0, 0)]).await.unwrap()[0].standing
    }

    pub async fn admit(&self) -> (u32, u32) {
        self.store.admit(&self.keys, self.context, DEFAULTS.admit_per_second).await.unwrap()
    }

    pub async fn leave(&self, user: UserId) -> bool {
        self.store.leave(&self.keys, self.context, user).await.unwrap()
    }

    pub async fn set(&self, field: &str, value: &str) {
        let command = redis::cmd("HSET").arg(&self.keys.all()[0]).arg(field).arg(value).to_owned();
        self.redis.run::<()>(command).await.unwrap();
    }

    /// Forgets the room, as a Redis that lost its memory does.
    pub async fn wipe(&self) {
        let command = redis::cmd("DEL").arg(self.keys.all()).to_owned();
        self.redis.run::<()>(command).await.unwrap();
    }

    pub async fn counts(&self) -> gateway::domain::RoomCounts {
        self.store.snapshot(&self.keys, self.context, 0).await.unwrap().unwrap().counts
    }
}

pub fn users<const N: usize>() -> [UserId; N] {
    std::array::from_fn(|_| UserId::generate())
}

pub fn position(standing: Standing) -> u32 {
    match standing {
        Standing::Waiting { position, .. } => position,
        Standing::Admitted(lease) => lease.pass.position,
        other => panic!("{other:?} has no position"),
    }
}

pub fn is_waiting(standing: Standing) -> bool {
    matches!(standing, Standing::Waiting { .. })
}

pub fn is_admitted(standing: Standing) -> bool {
    matches!(standing, Standing::Admitted(_))
}
