//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use chrono::TimeDelta;
use common::clock::SharedClock;
use common::http::{InFlight, SetCookie};
use common::lifecycle::Lifecycle;
use common::tokens::{EntryTicketSigner, PassKeys, Sessions};

use crate::config::{Config, ProviderConfig};
use crate::domain::provider_payment::PaymentProvider;
use crate::service::{
    Accounts, BestAvailable, Catalogue, HandingOn, HoldBatches, Holding, LeftBehind, Logins, Passwords, PaymentBatches,
    Payments, ProviderPayments, ProviderRules, Reports, Reserving, Returns, SeatWatch, Turns, Webhooks,
};
use crate::store::postgres::Db;
use crate::store::provider::HttpProvider;
use crate::store::redis::{EndedLog, FailedPayments, Holds};

/// The parts of a running core-api. Cloning it shares them.
#[derive(Clone)]
pub struct AppState(Arc<Parts>);

/// The parts; handlers reach them through [`AppState`].
pub struct Parts {
    pub(crate) clock: SharedClock,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) sessions: Sessions,
    pub(crate) accounts: Accounts,
    pub(crate) ended_log: EndedLog,
    pub(crate) passes: Arc<PassKeys>,
    pub(crate) entry_tickets: Arc<EntryTicketSigner>,
    pub(crate) set_cookie: SetCookie,
    pub(crate) db: Db,
    pub(crate) holds: Holds,
    pub(crate) catalogue: Catalogue,
    pub(crate) reserving: Reserving,
    pub(crate) best_available: BestAvailable,
    pub(crate) seat_watch: SeatWatch,
    pub(crate) returns: Returns,
    pub(crate) reports: Reports,
    pub(crate) payments: Payments,
    pub(crate) provider_payments: ProviderPayments,
    pub(crate) provider: Option<ProviderConfig>,
    pub(crate) turns: Turns,
    pub(crate) webhooks: Webhooks,
    pub(crate) refund_until: TimeDelta,
    pub(crate) in_flight: InFlight,
}

impl AppState {
    /// Prepares all parts, and what writes the holds and the payments that handlers take. Nothing is connected yet: a server starts whatever its dependencies do.
    pub(crate) fn new(
        config: &Config,
        clock: SharedClock,
        lifecycle: Lifecycle,
    ) -> anyhow::Result<(Self, HoldBatches, PaymentBatches)> {
        let db = Db::new(&config.database_url, config.database_max_connections)?;
        let holds = Holds::new(&config.redis, config.hold_grace)?;
        let catalogue = Catalogue::new(db.clone());
        let (holding, hold_batches) = Holding::new(db.clone(), config.hold_rules);
        let reserving = Reserving::new(db.clone(), holds.clone(), holding);
        let (payments, payment_batches) = Payments::new(db.clone());
        let sessions = Sessions::new(Arc::clone(&config.sessions));
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
            FailedPayments::new(&config.redis)?,
        );
        let state = Self(Arc::new(Parts {
            accounts: Accounts::new(
                db.clone(),
                Passwords::new(config.hash_queue, config.hash_cost)?,
                Logins::new(config.logins_per_account, &clock),
                sessions.clone(),
                Arc::clone(&clock),
                config.session_rules,
            ),
            webhooks: Webhooks::new(db.clone(), Arc::clone(&clock), &config.webhooks)?,
            clock,
            lifecycle,
            sessions,
            ended_log: EndedLog::new(&config.redis, config.session_rules.token_ttl)?,
            passes: Arc::clone(&config.passes),
            entry_tickets: Arc::clone(&config.entry_tickets),
            set_cookie: SetCookie::for_site(&config.public_url),
            best_available: BestAvailable::new(reserving.clone(), catalogue.clone()),
            seat_watch: SeatWatch::new(catalogue.clone(), config.max_streams),
            returns,
            reports: Reports::new(db.clone()),
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
        Ok((state, hold_batches, payment_batches))
    }

    /// Who looks for seats that a crash has left in the middle of being handed on.
    pub(crate) fn handing_on(&self) -> HandingOn {
        HandingOn::new(self.db.clone(), self.holds.clone(), self.returns.clone())
    }

    /// Who looks for locks that a crash has left behind.
    pub(crate) fn left_behind(&self) -> LeftBehind {
        let grace = self.provider.as_ref().and_then(|provider| provider.grace.to_std().ok()).unwrap_or_default();
        LeftBehind::new(self.db.clone(), self.holds.clone(), self.returns.clone(), grace)
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

impl FromRef<AppState> for Sessions {
    fn from_ref(state: &AppState) -> Self {
        state.sessions.clone()
    }
}

impl FromRef<AppState> for SharedClock {
    fn from_ref(state: &AppState) -> Self {
        Self::clone(&state.clock)
    }
}
