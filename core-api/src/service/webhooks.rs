//! Making webhooks, and delivering to them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use common::clock::SharedClock;
use common::ids::{UserId, WebhookId};
use metrics::counter;
use tokio::sync::Semaphore;

use super::sealing::SealingKeys;
use super::webhook_sender::{ATTEMPT_TIMEOUT, Letter, WebhookSender};
use crate::domain::Fault;
use crate::domain::webhook::{NewWebhook, Webhook, WebhookSecret, signatures};
use crate::domain::webhook_delivery::{Claim, Next, Outcome, decide};
use crate::domain::webhook_target::TargetRules;
use crate::metrics::{WEBHOOK_DEAD_LETTERS, WEBHOOK_DELIVERIES};
use crate::store::postgres::Db;

/// How long whoever claimed an event has it to himself; longer than an attempt and what is written after it.
const LEASE: Duration = Duration::from_secs(30);
/// How many events one process delivers to one webhook at once. With the most webhooks that there may be this bounds
/// all of them, and none waits for another's slowness.
const AT_ONCE: i64 = 16;
/// Over how many connections it is written at once what came of deliveries: sales need theirs.
const WRITING_AT_ONCE: usize = 4;
/// How long a secret still signs after it was changed.
const OVERLAP: TimeDelta = TimeDelta::hours(24);

const _: () = assert!(LEASE.as_secs() > 2 * ATTEMPT_TIMEOUT.as_secs(), "a lease outlasts its attempt");

/// Webhooks. Cloning it shares it.
#[derive(Clone)]
pub struct Webhooks {
    db: Db,
    clock: SharedClock,
    keys: Option<Arc<SealingKeys>>,
    rules: Arc<TargetRules>,
    sender: WebhookSender,
    retry_for: TimeDelta,
    writing: Arc<Semaphore>,
}

impl std::fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhooks").field("retry_for", &self.retry_for).finish_non_exhaustive()
    }
}

/// How webhooks are run.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Keep secrets; without any there are no webhooks.
    pub keys: Option<Arc<SealingKeys>>,
    /// Where webhooks may lead.
    pub rules: Arc<TargetRules>,
    /// For how long an event is tried.
    pub retry_for: TimeDelta,
}

/// Why a secret could not be kept.
#[derive(Debug)]
pub enum SealError {
    /// No key is configured.
    NotConfigured,
    /// The system has no randomness, or the database failed.
    Fault(Fault),
}

impl From<Fault> for SealError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Webhooks {
    /// Over the database.
    pub fn new(db: Db, clock: SharedClock, settings: &WebhookSettings) -> anyhow::Result<Self> {
        let WebhookSettings { keys, rules, retry_for } = settings.clone();
        let sender = WebhookSender::new(Arc::clone(&rules))?;
        Ok(Self { db, clock, keys, rules, sender, retry_for, writing: Arc::new(Semaphore::new(WRITING_AT_ONCE)) })
    }

    /// Where webhooks may lead.
    pub fn rules(&self) -> &TargetRules {
        &self.rules
    }

    /// Makes a webhook; `None` where there are as many as may be. When this returns, whatever is committed from then on
    /// is told.
    pub async fn create(
        &self,
        by: UserId,
        url: String,
        events: Option<Vec<String>>,
        secret: &WebhookSecret,
    ) -> Result<Option<Webhook>, SealError> {
        let id = WebhookId::generate();
        let sealed_secret = self.seal(id, secret)?;
        Ok(self.db.create_webhook(&NewWebhook { id, url, events, sealed_secret }, by).await?)
    }

    /// Changes the secret; the one before signs as well for a day. `None` where there is no such webhook.
    pub async fn rotate(
        &self,
        by: UserId,
        id: WebhookId,
        secret: &WebhookSecret,
    ) -> Result<Option<Webhook>, SealError> {
        let sealed = self.seal(id, secret)?;
        Ok(self.db.rotate_webhook(id, &sealed, OVERLAP, by).await?)
    }

    fn seal(&self, id: WebhookId, secret: &WebhookSecret) -> Result<Vec<u8>, SealError> {
        let keys = self.keys.as_ref().ok_or(SealError::NotConfigured)?;
        keys.seal(id, secret).ok_or_else(no_randomness)
    }

    /// What is due, for this process to deliver; `under_way` is what it delivers already, by webhook.
    pub(crate) async fn claim(&self, under_way: &HashMap<WebhookId, i64>) -> Result<Vec<Claim>, Fault> {
        if self.keys.is_none() {
            return Ok(Vec::new());
        }
        self.db.claim_deliveries(under_way, AT_ONCE, LEASE).await
    }

    /// Delivers an event, once, and writes down what came of it. Where that can't be written, it is delivered again
    /// after the lease.
    pub(crate) async fn deliver(&self, claim: Claim) {
        let outcome = match self.letter(&claim) {
            Some(letter) => self.sender.post(letter).await,
            None => Outcome::Unsealed,
        };
        counter!(WEBHOOK_DELIVERIES.name, "outcome" => outcome.as_str()).increment(1);
        // It is never closed.
        let _turn = self.writing.acquire().await;
        if let Err(fault) = self.settle(&claim, outcome).await {
            tracing::warn!(webhook = %claim.webhook, event = %claim.event.id, %fault, "a delivery was not written down");
        }
    }

    fn letter(&self, claim: &Claim) -> Option<Letter> {
        let keys = self.keys.as_ref()?;
        let secrets: Vec<WebhookSecret> =
            claim.sealed_secrets.iter().filter_map(|sealed| keys.open(claim.webhook, sealed)).collect();
        if secrets.is_empty() {
            tracing::error!(webhook = %claim.webhook, "the secret of a webhook can't be opened with any key");
            return None;
        }
        let (id, timestamp, body) = (claim.event.id.to_string(), self.clock.now().timestamp(), claim.event.body()?);
        let signature = signatures(&secrets, &id, timestamp, &body);
        Some(Letter { url: claim.url.clone(), id, timestamp, signature, body })
    }

    async fn settle(&self, claim: &Claim, outcome: Outcome) -> Result<(), Fault> {
        match decide(outcome, claim, self.retry_for, rand::random()) {
            Next::Done => self.db.delivery_done(claim).await,
            Next::Again(wait) => self.db.delivery_failed(claim, outcome, wait).await,
            Next::Pause => {
                tracing::warn!(webhook = %claim.webhook, "a webhook answered 410 Gone and is paused");
                self.db.pause_webhook(claim, outcome).await
            }
            Next::GiveUp => {
                self.db.bury_delivery(claim, outcome).await?;
                counter!(WEBHOOK_DEAD_LETTERS.name).increment(1);
                tracing::warn!(
                    webhook = %claim.webhook, event = %claim.event.id, attempts = claim.attempt,
                    outcome = outcome.as_str(), "an event was given up"
                );
                Ok(())
            }
        }
    }

    /// For how long an event is tried.
    pub(crate) fn retry_for(&self) -> TimeDelta {
        self.retry_for
    }
}

fn no_randomness() -> SealError {
    SealError::Fault(Fault::Internal("the system has no randomness to give".to_owned()))
}

/// A new secret.
pub fn new_secret() -> Result<WebhookSecret, SealError> {
    WebhookSecret::generate().ok_or_else(no_randomness)
}
