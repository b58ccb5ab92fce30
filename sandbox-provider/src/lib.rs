//! A payment provider for development and tests. It moves no money. What it does with a payment is said by the card
//! token: accept, decline, or one of the ways in which a real provider makes life hard ([`Behaviour`]).
//!
//! Payments live in memory, at most [`MAX_PAYMENTS`](ledger::MAX_PAYMENTS); a restart forgets them. `docs/PAYMENTS.md` has
//! the API.

mod behaviour;
pub mod config;
mod http;
pub mod ledger;
mod webhooks;

use std::sync::Arc;

use axum::Router;
use common::clock::SharedClock;
use common::http::ServeLimits;
use common::lifecycle::Lifecycle;
use tokio::net::TcpListener;

pub use behaviour::Behaviour;
pub use config::Config;
use http::AppState;
use ledger::Ledger;
use webhooks::Webhooks;

/// A sandbox, ready to serve.
#[derive(Debug, Clone)]
pub struct Sandbox {
    state: AppState,
}

impl Sandbox {
    /// From its settings. Its messages are sent by tasks of `lifecycle`.
    pub fn new(config: &Config, clock: SharedClock, lifecycle: &Lifecycle) -> Self {
        let (webhooks, sending) = Webhooks::new(config, clock);
        lifecycle.spawn("webhooks", sending.run(lifecycle.stopping()));
        Self { state: AppState::new(&config.key, Arc::new(Ledger::default()), webhooks) }
    }

    /// Its payments, to look at and to count.
    pub fn ledger(&self) -> &Ledger {
        self.state.ledger()
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        http::router(self.state.clone())
    }

    /// Serves until the process is asked to stop; whether it ended in good order.
    pub async fn serve(self, listener: TcpListener, lifecycle: Lifecycle) -> bool {
        let router = self.router();
        lifecycle.serve(listener, router, ServeLimits::default()).await
    }
}
