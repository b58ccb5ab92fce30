//! Delivers events to webhooks, and clears away what is done with. Both run in every process.

use std::collections::HashMap;
use std::time::Duration;

use chrono::TimeDelta;
use common::ids::WebhookId;
use metrics::gauge;
use tokio::sync::Mutex;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::domain::Fault;
use crate::metrics::{WEBHOOK_BACKLOG, WEBHOOK_OLDEST};
use crate::service::Webhooks;
use crate::store::postgres::Db;

/// How long after an event, at most, it is noticed by a process that rests.
const PAUSE: Duration = Duration::from_millis(250);
/// The same for one that is at work.
const TICK: Duration = Duration::from_millis(50);
/// How long deliveries under way may take when the process stops. What takes longer is delivered again by another.
const LAST_WORDS: Duration = Duration::from_secs(3);
/// How often it is cleared away, and counted.
const UPKEEP_PAUSE: Duration = Duration::from_secs(15);
/// How much at once.
const BATCH: i64 = 1_000;

/// The deliveries of this process that are under way.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    webhooks: HashMap<Id, WebhookId>,
}

impl UnderWay {
    fn counts(&self) -> HashMap<WebhookId, i64> {
        let mut counts = HashMap::new();
        self.webhooks.values().for_each(|id| *counts.entry(*id).or_insert(0) += 1);
        counts
    }

    /// Takes up what is due. Whether there is anything under way.
    async fn go_on(&mut self, webhooks: &Webhooks) -> Result<bool, Fault> {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        for claim in webhooks.claim(&self.counts()).await? {
            let (id, webhooks) = (claim.webhook, webhooks.clone());
            let task = self.tasks.spawn(async move { webhooks.deliver(claim).await });
            self.webhooks.insert(task.id(), id);
        }
        if let Ok(Some(ended)) = tokio::time::timeout(TICK, self.tasks.join_next_with_id()).await {
            self.forget(ended);
        }
        Ok(!self.tasks.is_empty())
    }

    /// One that has panicked is no longer under way either: its event is due again after its lease.
    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.webhooks.remove(&id);
    }
}

/// Delivers until the process stops.
pub(crate) async fn deliver_webhooks(webhooks: Webhooks, stopping: CancellationToken) {
    let under_way = Mutex::new(UnderWay::default());
    repeat("webhooks", PAUSE, stopping, || async { under_way.lock().await.go_on(&webhooks).await }).await;
    let mut tasks = under_way.into_inner().tasks;
    // The others are dropped here, and with them their connections.
    let _ = tokio::time::timeout(LAST_WORDS, async { while tasks.join_next().await.is_some() {} }).await;
}

/// Clears away and counts until the process stops.
pub(crate) async fn keep_up_webhooks(db: Db, retry_for: TimeDelta, stopping: CancellationToken) {
    repeat("webhook upkeep", UPKEEP_PAUSE, stopping, || async {
        let backlog = db.webhook_backlog().await?;
        #[expect(clippy::cast_precision_loss, reason = "a count of at most 100,000")]
        gauge!(WEBHOOK_BACKLOG.name).set(backlog.deliveries as f64);
        gauge!(WEBHOOK_OLDEST.name).set(backlog.oldest.as_secs_f64());
        let buried = db.bury_paused(retry_for, BATCH).await?;
        let more = db.purge_outbox(BATCH).await?;
        Ok(more || i64::try_from(buried).is_ok_and(|buried| buried >= BATCH))
    })
    .await;
}
