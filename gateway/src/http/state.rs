//! What every handler has at hand.

use std::sync::Arc;

use axum::extract::FromRef;
use common::clock::SharedClock;
use common::http::InFlight;
use common::lifecycle::Lifecycle;
use common::rate_limit::forget_regularly;
use common::tokens::{EndedSessions, Sessions};
use tokio_util::sync::CancellationToken;

use super::pages::Site;
use super::rate_limit::Counts;
use crate::config::Config;
use crate::upstream::CoreApi;
use crate::worker::Rooms;

/// Streams of operators open at once: more than any control room has screens.
const MAX_WATCHES: usize = 100;

/// What every handler has at hand. Cloning it shares it.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The shared part of [`AppState`].
pub struct Shared {
    pub(super) config: Config,
    pub(super) clock: SharedClock,
    sessions: Sessions,
    pub(super) rooms: Rooms,
    pub(super) core: CoreApi,
    pub(super) counts: Counts,
    pub(super) pages: &'static Site,
    in_flight: InFlight,
    /// Requests that core-api is at: fewer, so that the queue goes on when core-api does not.
    pub(super) proxied: InFlight,
    /// Event streams, which outlive their requests.
    pub(super) streams: InFlight,
    /// The same of operators: a storm that takes all other streams must not keep them from seeing it.
    pub(super) watches: InFlight,
    lifecycle: Lifecycle,
}

impl AppState {
    /// From the parts that were built.
    pub fn new(
        config: Config,
        clock: SharedClock,
        rooms: Rooms,
        core: CoreApi,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<Self> {
        let pages = Site::shared()?;
        let counts = Counts::new(&config.rate_limits, &clock);
        let in_flight = InFlight::at_most(config.max_in_flight);
        let proxied = InFlight::at_most((config.max_in_flight / 2).max(1));
        let streams = InFlight::at_most(config.max_streams);
        let watches = InFlight::at_most(MAX_WATCHES);
        let sessions = Sessions::new(Arc::clone(&config.sessions));
        let shared = Shared {
            config,
            clock,
            sessions,
            rooms,
            core,
            counts,
            pages,
            in_flight,
            proxied,
            streams,
            watches,
            lifecycle,
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Cancelled once the process is asked to stop: streams end then.
    pub(super) fn draining(&self) -> CancellationToken {
        self.lifecycle.draining()
    }

    /// The sessions that this process knows to have been ended.
    pub fn ended_sessions(&self) -> EndedSessions {
        self.sessions.ended().clone()
    }

    /// Forgets whom the rate limits need not remember, until `stopping`.
    pub fn forget_the_idle(&self, stopping: CancellationToken) -> impl Future<Output = ()> + Send + use<> {
        let counts = self.counts.clone();
        forget_regularly(move || counts.forget(), stopping)
    }

    /// How many users and addresses the rate limits remember.
    pub fn remembered(&self) -> usize {
        self.counts.remembered()
    }

    pub(super) fn in_flight(&self) -> InFlight {
        self.0.in_flight.clone()
    }
}

impl std::ops::Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl FromRef<AppState> for Sessions {
    fn from_ref(state: &AppState) -> Self {
        state.sessions.clone()
    }
}

impl FromRef<AppState> for SharedClock {
    fn from_ref(state: &AppState) -> Self {
        Arc::clone(&state.clock)
    }
}
