//! A core-api put together.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use common::clock::SharedClock;
use common::http::ServeLimits;
use common::lifecycle::Lifecycle;
use common::rate_limit::forget_regularly;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::service::{HoldBatches, Logins, Passwords, PaymentBatches};
use crate::state::AppState;
use crate::{http, worker};

/// How long closing the connections to `PostgreSQL` may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// A core-api, ready to serve.
#[derive(Debug)]
pub struct App {
    state: AppState,
    holds: HoldBatches,
    payments: PaymentBatches,
}

impl App {
    /// From its settings. Fails on settings that can't be used; that dependencies are away is no failure.
    pub fn new(config: &Config, clock: SharedClock, lifecycle: Lifecycle) -> anyhow::Result<Self> {
        let (state, holds, payments) = AppState::new(config, clock, lifecycle)?;
        Ok(Self { state, holds, payments })
    }

    /// Its count of tried logins.
    pub fn logins(&self) -> Logins {
        self.state.accounts.logins().clone()
    }

    /// Its pool for hashing passwords.
    pub fn passwords(&self) -> Passwords {
        self.state.accounts.passwords().clone()
    }

    /// Its routes, with every layer.
    pub fn router(&self) -> Router {
        http::router(self.state.clone())
    }

    /// Serves on `listener`, with the background work, until the process is asked to stop; then finishes what is under
    /// way. Whether it ended in good order.
    pub async fn serve(self, listener: TcpListener) -> bool {
        let lifecycle = self.state.lifecycle.clone();
        let (router, db) = (self.router(), self.state.db.clone());
        self.spawn_workers(&lifecycle);
        let in_order = lifecycle.serve(listener, router, ServeLimits::default()).await;
        // Connections that never come back must not hold the process.
        let closed = tokio::time::timeout(CLOSE_TIMEOUT, db.close()).await.is_ok();
        in_order && closed
    }

    fn spawn_workers(self, lifecycle: &Lifecycle) {
        let (db, stopping) = (self.state.db.clone(), lifecycle.stopping());
        lifecycle.spawn("sweeper", worker::sweep(db.clone(), self.state.returns.clone(), stopping.clone()));
        lifecycle.spawn("lock release", worker::release_left_over(self.state.reserving.clone(), stopping.clone()));
        let left_behind = self.state.left_behind();
        lifecycle.spawn("locks left behind", worker::look_for_locks(left_behind, stopping.clone()));
        let handing_on = self.state.handing_on();
        lifecycle.spawn("seats being handed on", worker::look_for_seats(handing_on, stopping.clone()));
        lifecycle.spawn("seat watch", worker::watch_seats(self.state.seat_watch.clone(), stopping.clone()));
        lifecycle.spawn("webhooks", worker::deliver_webhooks(self.state.webhooks.clone(), stopping.clone()));
        lifecycle.spawn(
            "webhook upkeep",
            worker::keep_up_webhooks(db.clone(), self.state.webhooks.retry_for(), stopping.clone()),
        );
        let providers = self.state.provider_payments.clone();
        lifecycle.spawn("reconciler", worker::reconcile(providers.clone(), stopping.clone()));
        lifecycle.spawn("payment figures", worker::measure_payments(providers, stopping.clone()));
        lifecycle.spawn("event purge", worker::purge_events(db.clone(), stopping.clone()));
        lifecycle.spawn("key purge", worker::purge_keys(db, stopping.clone()));
        self.spawn_session_workers(lifecycle);
        let logins = self.logins();
        lifecycle.spawn("holds", self.holds.run(stopping.clone()));
        lifecycle.spawn("payments", self.payments.run(stopping.clone()));
        lifecycle.spawn("rate limits", forget_regularly(move || logins.forget(), stopping));
    }

    fn spawn_session_workers(&self, lifecycle: &Lifecycle) {
        let (db, clock, stopping) = (&self.state.db, &self.state.clock, lifecycle.stopping());
        let (ended, log) = (self.state.sessions.ended().clone(), self.state.ended_log.clone());
        let known = worker::know_ended_sessions(db.clone(), ended, Arc::clone(clock), stopping.clone());
        lifecycle.spawn("ended sessions", known);
        let logged = worker::log_ended_sessions(db.clone(), log, Arc::clone(clock), stopping.clone());
        lifecycle.spawn("log of ended sessions", logged);
        lifecycle.spawn("session purge", worker::purge_sessions(db.clone(), Arc::clone(clock), stopping));
    }
}
