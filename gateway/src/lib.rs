//! The waiting room: admits people in queue position order, and passes the rest of the API on to core-api.
//!
//! - [`http`]: what clients see
//! - [`domain`]: positions, places, waits; knows neither HTTP nor Redis
//! - [`store`]: the room in Redis
//! - [`upstream`]: core-api, asked about concerts and proxied to
//! - [`worker`]: a room's tasks in this process: batching, admission, the view that polls are answered from

pub mod config;
pub mod domain;
pub mod http;
pub mod metrics;
pub mod rate_limits;
pub mod secrets;
pub mod store;
pub mod upstream;
pub mod worker;

use std::sync::Arc;

use common::clock::SharedClock;
use common::lifecycle::Lifecycle;
use lua::Redis;

pub use config::{Config, RecordSettings};
pub use http::{AppState, app};

use store::record::{Record, RoomRecord};

/// What a gateway reaches the world through. Whoever builds it decides which clock, which Redis and which record that is.
pub struct Edges {
    /// Says what time it is.
    pub clock: SharedClock,
    /// Where the rooms are.
    pub redis: Redis,
    /// Where they are recorded, if anywhere.
    pub record: Option<Arc<dyn RoomRecord>>,
    /// The same for operators.
    pub operators_record: Option<Record>,
    /// The name of this process among the gateways; no two processes ever have the same one.
    pub owner: Arc<str>,
}

/// Builds what the HTTP edge needs from the configuration, and gives the tasks it needs to `lifecycle`. Nothing is
/// connected to yet.
pub fn state(config: Config, clock: SharedClock, lifecycle: &Lifecycle) -> anyhow::Result<AppState> {
    let redis = Redis::new(&config.redis)?;
    let record = config.record.as_ref().map(RecordSettings::open).transpose()?;
    let ended = store::EndedLog::new(redis.clone());
    let edges = Edges {
        clock: Arc::clone(&clock),
        redis,
        record: record.clone().map(|record| Arc::new(record) as Arc<dyn RoomRecord>),
        operators_record: record,
        owner: uuid::Uuid::new_v4().to_string().into(),
    };
    let state = state_with(config, edges, lifecycle)?;
    let follower = worker::follow_ended_sessions(ended, state.ended_sessions(), clock, lifecycle.stopping());
    lifecycle.spawn("ended sessions", follower);
    lifecycle.spawn("rate limits", state.forget_the_idle(lifecycle.stopping()));
    Ok(state)
}

/// The same over these edges. `lifecycle` gets the rooms' tasks only: neither ended sessions are followed nor the memory of
/// the rate limits swept.
pub fn state_with(config: Config, edges: Edges, lifecycle: &Lifecycle) -> anyhow::Result<AppState> {
    let Edges { clock, redis, record, operators_record, owner } = edges;
    let core = upstream::CoreApi::new(config.site.as_ref().map_or(&config.core_api_urls, |site| &site.urls))?;
    let concerts = match &config.site {
        Some(site) => upstream::Concerts::fixed(site.routes.rooms()),
        None => upstream::Concerts::of(core.clone()),
    };
    let (tickets, passes) = (Arc::clone(&config.tickets), Arc::clone(&config.passes));
    let tools = worker::Tools { record, tickets, passes, owner };
    let rooms =
        worker::Rooms::new(store::QueueStore::new(redis), config.room.into(), tools, concerts, lifecycle.clone());
    AppState::new(config, clock, rooms, operators_record, core, lifecycle.clone())
}
