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

use common::lifecycle::Lifecycle;

pub use config::{Config, RecordSettings};
pub use http::{AppState, app};

/// Builds what the HTTP edge needs from the configuration, and gives the tasks it needs to `lifecycle`. Nothing is
/// connected to yet.
pub fn state(config: Config, clock: common::clock::SharedClock, lifecycle: &Lifecycle) -> anyhow::Result<AppState> {
    let redis = lua::Redis::new(&config.redis)?;
    let (store, ended) = (store::QueueStore::new(redis.clone()), store::EndedLog::new(redis));
    let core = upstream::CoreApi::new(config.site.as_ref().map_or(&config.core_api_urls, |site| &site.urls))?;
    let concerts = match &config.site {
        Some(site) => upstream::Concerts::fixed(site.routes.rooms()),
        None => upstream::Concerts::of(core.clone()),
    };
    let tools = worker::Tools {
        record: config.record.as_ref().map(RecordSettings::open).transpose()?,
        tickets: Arc::clone(&config.tickets),
        passes: Arc::clone(&config.passes),
        owner: uuid::Uuid::new_v4().to_string().into(),
    };
    let rooms = worker::Rooms::new(store, config.room.into(), tools, concerts, lifecycle.clone());
    let state = AppState::new(config, Arc::clone(&clock), rooms, core, lifecycle.clone())?;
    let follower = worker::follow_ended_sessions(ended, state.ended_sessions(), clock, lifecycle.stopping());
    lifecycle.spawn("ended sessions", follower);
    lifecycle.spawn("rate limits", state.forget_the_idle(lifecycle.stopping()));
    Ok(state)
}
