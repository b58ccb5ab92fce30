//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use chrono::TimeDelta;
use common::clock::SharedClock;
use common::http::{InFlight, SetCookie};
use common::lifecycle::Lifecycle;
use common::tokens::{PassKeys, SessionKeys};

use crate::config::{Config, ProviderConfig};
use crate::domain::provider_payment::PaymentProvider;
use crate::service::{
    BestAvailable, Catalogue, Logins, Passwords, PaymentBatches, Payments, ProviderPayments, ProviderRules, Reserving,
    Returns, SeatWatch, Turns,
};
use crate::store::postgres::Db;
use crate::store::provider::HttpProvider;
use crate::store::redis::Holds;

/// The parts of a running core-api. Cloning it shares them.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// The parts; handlers reach them through [`AppState`].
pub struct Parts {
    pub(crate) clock: SharedClock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) sessions: Arc<SessionKeys>,
    pub(crate) session_ttl: TimeDelta,
    pub(crate) passes: Arc<PassKeys>,
    pub(crate) set_cookie: SetCookie,
    pub(crate) passwords: Passwords,
    pub(crate) logins: Logins,
    pub(crate) db: Db,
    pub(crate) holds: Holds,
    pub(crate) catalogue: Catalogue,
    pub(crate) reserving: Reserving,
    pub(crate) best_available: BestAvailable,
    pub(crate) seat_watch: SeatWatch,
    pub(crate) returns: Returns,
    pub(crate) payments: Payments,
    pub(crate) provider_payments: ProviderPayments,
    pub(crate) provider: Option<ProviderConfig>,
    pub(crate) turns: Turns,
    pub(crate) refund_until: TimeDelta,
    pub(crate) in_flight: InFlight,
}

impl AppState {
    /// Prepares all parts, and what pays for those that handlers take. Nothing is connected yet: a server starts whatever its dependencies do.
    pub(crate) fn new(
        config: &Config,
        clock: SharedClock,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<(Self, PaymentBatches)> {
        let db = Db::new(&config.database_url, config.database_max_connections)?;
        let holds = Holds::new(&config.redis, config.hold_grace)?;
        let catalogue = Catalogue::new(db.clone());
        let reserving = Reserving::new(db.clone(), holds.clone(), config.hold_rules);
        let (payments, batches) = Payments::new(db.clone());
        let returns = Returns::new(
            db.clone(),
            holds.clone(),
            reserving.clone(),
            catalogue.clone(),
            config.waitlist_offer_seconds,
        );
        let turns = Turns::default();
        let provider_payments = ProviderPayments::new(
            provider(config)?,
            provider_rules(config),
            db.clone(),
            (reserving.clone(), catalogue.clone(), returns.clone()),
            turns.clone(),
        );
        let state = Self(Arc::new(Parts {
            logins: Logins::new(config.logins_per_account, &clock),
            clock,
            lifecycle,
            sessions: Arc::clone(&config.sessions),
            session_ttl: config.session_ttl,
            passes: Arc::clone(&config.passes),
            set_cookie: SetCookie::for_site(&config.public_url),
            passwords: Passwords::new(config.hash_queue)?,
            best_available: BestAvailable::new(reserving.clone(), catalogue.clone()),
            seat_watch: SeatWatch::new(catalogue.clone(), config.max_streams),
            returns,
            catalogue,
            reserving,
            payments,
            provider_payments,
            provider: config.provider.clone(),
            turns,
            refund_until: config.refund_until,
            db,
            holds,
            in_flight: InFlight::at_most(config.max_in_flight),
        }));
        Ok((state, batches))
    }
}

fn provider(config: &Config) -> anyhow::Result<Option<Arc<dyn PaymentProvider>>> {
    let Some(provider) = &config.provider else { return Ok(None) };
    Ok(Some(Arc::new(HttpProvider::new(&provider.name, &provider.url, &provider.key, provider.timeout)?)))
}

/// Of no provider nothing is asked, whatever they are.
fn provider_rules(config: &Config) -> ProviderRules {
    let rules = |provider: &ProviderConfig| ProviderRules { grace: provider.grace, timeout: provider.timeout };
    config.provider.as_ref().map_or(ProviderRules { grace: TimeDelta::zero(), timeout: Duration::ZERO }, rules)
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppState").finish_non_exhaustive()
    }
}

impl FromRef<AppState> for Arc<SessionKeys> {
    fn from_ref(state: &AppState) -> Self {
        Self::clone(&state.sessions)
    }
}

impl FromRef<AppState> for SharedClock {
    fn from_ref(state: &AppState) -> Self {
        Self::clone(&state.clock)
    }
}
