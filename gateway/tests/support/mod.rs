//! What the gateway's tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

pub mod model;
pub mod recorded;
pub mod server;

use std::time::Duration;

use common::ids::{ConcertId, UserId};
use gateway::domain::{RoomDefaults, RoomSettings, Standing};
use gateway::store::{QueueStore, RoomContext, RoomKeys, Turns};
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
            store: QueueStore::new(redis.clone()),
            redis,
            keys: RoomKeys::of(ConcertId::generate()),
            context: RoomContext { now_ms: START_MS, ..RoomContext::new(defaults.into()) },
        }
    }

    pub fn advance(&mut self, by: Duration) {
        self.context.now_ms += i64::try_from(by.as_millis()).unwrap();
    }

    pub async fn join(&self, users: &[UserId]) -> Vec<Standing> {
        let arrivals = self.store.join(&self.keys, &self.context, users).await.unwrap();
        arrivals.people.into_iter().map(|arrival| arrival.standing.unwrap()).collect()
    }

    pub async fn join_one(&self, user: UserId) -> Standing {
        self.join(&[user]).await[0]
    }

    /// A poll of someone who has nothing that could put them back.
    pub async fn poll(&self, user: UserId) -> Standing {
        self.poll_with(user, 0, 0).await.unwrap()
    }

    /// A poll with a ticket; `None` while the room is being rebuilt.
    pub async fn poll_with(&self, user: UserId, position: u32, epoch: u32) -> Option<Standing> {
        self.store.poll(&self.keys, &self.context, &[(user, position, epoch)]).await.unwrap().people[0].standing
    }

    /// How many were offered their turn and how many set aside.
    pub async fn admit(&self) -> (u32, u32) {
        let Turns { offered, aside } = self.store.admit(&self.keys, &self.context, 0).await.unwrap();
        (offered, aside)
    }

    pub async fn leave(&self, user: UserId) -> bool {
        self.store.leave(&self.keys, &self.context, user, false).await.unwrap()
    }

    pub async fn note_present(&self, seen: &[(UserId, u32)]) -> u32 {
        self.store.note_present(&self.keys, &self.context, seen).await.unwrap()
    }

    /// Changes the settings, as an operator does: the next call brings them to the room.
    pub fn configure(&mut self, change: impl FnOnce(&mut RoomSettings)) {
        let mut settings = RoomSettings::clone(&self.context.settings);
        change(&mut settings);
        settings.version += 1;
        self.context.settings = settings.into();
    }

    /// Whether a pass is a live admission.
    pub async fn lease(&self, user: UserId, pass: common::tokens::PassId) -> gateway::store::LeaseCheck {
        self.store.lease(&self.keys, &self.context, user, pass).await.unwrap()
    }

    /// Polls with tickets, all of which put their bearers somewhere: at which positions, in which life of the room.
    pub async fn put_back(&self, tickets: &[(UserId, u32, u32)]) -> Vec<(u32, u32)> {
        let arrivals = self.store.poll(&self.keys, &self.context, tickets).await.unwrap();
        arrivals.people.into_iter().map(|arrival| (position(arrival.standing.unwrap()), arrival.epoch)).collect()
    }

    /// Writes fields of the room, as nothing but a fault does.
    pub async fn set(&self, fields: &[(&str, &str)]) {
        let mut command = redis::cmd("HSET");
        command.arg(&self.keys.all()[0]);
        for (field, value) in fields {
            command.arg(field).arg(value);
        }
        self.redis.run::<()>(command).await.unwrap();
    }

    /// Forgets the room, as a Redis that lost its memory does.
    pub async fn wipe(&self) {
        let command = redis::cmd("DEL").arg(self.keys.all()).to_owned();
        self.redis.run::<()>(command).await.unwrap();
    }

    pub async fn counts(&self) -> gateway::domain::RoomCounts {
        self.store.snapshot(&self.keys, &self.context, 0).await.unwrap().unwrap().counts
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
