//! What the gateway's tests share.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

pub mod lost;
pub mod model;
pub mod recorded;
pub mod server;

use std::time::Duration;

use common::ids::{ConcertId, UserId};
use gateway::domain::recovery::{Epoch, Evidence, Word, gap, next_epoch};
use gateway::domain::{DrawState, RoomDefaults, RoomSettings, Standing};
use gateway::store::{
    Admitted, Arrival, Opening, PollToken, QueueStore, Restoring, RoomContext, RoomError, RoomKeys, Source,
};
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

    /// Opens the room's first epoch, where there is none yet, as the first gateway does that meets the room.
    pub async fn ready(&self) {
        if self.context.seen == Evidence::default() {
            self.store.open_first(&self.keys, &self.context).await.unwrap();
        }
    }

    /// Opens an epoch after `lost_epoch`; whether this call did.
    pub async fn open(&self, lost_epoch: Epoch, rebuild: bool) -> bool {
        let Evidence { epoch, position, frontier, .. } = self.context.seen;
        let epoch = next_epoch(self.context.now_ms, &[epoch, lost_epoch]);
        let opening = Opening { lost_epoch, epoch, position, frontier, gap: gap(0), rebuild };
        self.store.open(&self.keys, &self.context, &opening).await.unwrap()
    }

    /// Opens the epoch that follows a loss, and returns it.
    pub async fn open_next(&self) -> Epoch {
        let Err(RoomError::Lost(lost)) = self.store.snapshot(&self.keys, &self.context, 0).await else {
            panic!("the room is not lost")
        };
        assert!(self.open(lost.epoch, true).await);
        self.counts_now().await.epoch
    }

    /// Whether a call finds the room lost.
    pub async fn is_lost(&self) -> bool {
        matches!(self.store.snapshot(&self.keys, &self.context, 0).await, Err(RoomError::Lost(_)))
    }

    /// Puts people back in that epoch; `None` where it is not being rebuilt.
    pub async fn restore(&self, epoch: Epoch, source: Source, up_to: u32, words: &[Word]) -> Option<u32> {
        let restoring = Restoring { epoch, source, up_to, draw: (DrawState::None, 0), words };
        self.store.restore(&self.keys, &self.context, &restoring).await.unwrap()
    }

    pub async fn retell(&self, epoch: Epoch, words: &[Word]) -> u32 {
        self.store.retell(&self.keys, &self.context, epoch, words).await.unwrap()
    }

    pub async fn complete(&self, epoch: Epoch) -> bool {
        self.store.complete(&self.keys, &self.context, epoch).await.unwrap()
    }

    pub async fn join(&self, users: &[UserId]) -> Vec<Standing> {
        self.try_join(users).await.into_iter().map(standing).collect()
    }

    pub async fn try_join(&self, users: &[UserId]) -> Vec<Arrival> {
        self.ready().await;
        self.store.join(&self.keys, &self.context, users).await.unwrap().people
    }

    pub async fn join_one(&self, user: UserId) -> Standing {
        self.join(&[user]).await[0]
    }

    /// A poll of a person whose token proves nothing. One whom the room does not know counts as gone.
    pub async fn poll(&self, user: UserId) -> Standing {
        match self.poll_with(user, 0, 0).await {
            Arrival::Unknown => Standing::Left,
            arrival => standing(arrival),
        }
    }

    /// A poll with a queue token.
    pub async fn poll_with(&self, user: UserId, position: u32, epoch: Epoch) -> Arrival {
        self.ready().await;
        let token = PollToken { user, position, epoch };
        self.store.poll(&self.keys, &self.context, &[token]).await.unwrap().people[0]
    }

    /// How many were offered admission and how many skipped.
    pub async fn admit(&self) -> (u32, u32) {
        self.ready().await;
        let Admitted { offered, skipped } = self.store.admit(&self.keys, &self.context, 0).await.unwrap();
        (offered, skipped)
    }

    pub async fn leave(&self, user: UserId) -> bool {
        self.ready().await;
        self.store.leave(&self.keys, &self.context, user, false, 0).await.unwrap().0
    }

    pub async fn note_present(&self, seen: &[(UserId, u32)]) -> u32 {
        self.ready().await;
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

    /// Writes fields of the room, as nothing but a fault does.
    pub async fn set(&self, fields: &[(&str, &str)]) {
        let mut command = redis::cmd("HSET");
        command.arg(&self.keys.all()[0]);
        for (field, value) in fields {
            command.arg(field).arg(value);
        }
        self.redis.run::<()>(command).await.unwrap();
    }

    /// Drops the room, as a Redis that lost its state does.
    pub async fn wipe(&self) {
        let command = redis::cmd("DEL").arg(self.keys.all()).to_owned();
        self.redis.run::<()>(command).await.unwrap();
    }

    /// How many of the room's keys there are.
    pub async fn existing_keys(&self) -> u64 {
        self.redis.run(redis::cmd("EXISTS").arg(self.keys.all()).to_owned()).await.unwrap()
    }

    pub async fn counts(&self) -> gateway::domain::RoomCounts {
        self.ready().await;
        self.counts_now().await
    }

    async fn counts_now(&self) -> gateway::domain::RoomCounts {
        self.store
            .snapshot(&self.keys, &RoomContext { seen: Evidence::default(), ..self.context.clone() }, 0)
            .await
            .unwrap()
            .counts
    }
}

pub fn standing(arrival: Arrival) -> Standing {
    match arrival {
        Arrival::Standing(standing) => standing,
        other => panic!("{other:?}"),
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
