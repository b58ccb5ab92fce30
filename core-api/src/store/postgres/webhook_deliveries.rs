//! Delivering events: who takes which, and what became of it.
//!
//! A delivery is claimed by a lease: it is not due again before that ends. `attempts` is the fence: whoever lost his
//! lease finds a later number there, and changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use common::ids::WebhookId;
use uuid::Uuid;

use super::webhooks::note;
use super::{Db, utc, within};
use crate::domain::Fault;
use crate::domain::webhook_delivery::{Claim, Event, Outcome};

impl Db {
    /// Claims what is due: of each webhook the first events of their keys, so many that it has `at_once` under way with
    /// those that `under_way` says. Any number of processes may do it at once: each takes what no other has.
    pub async fn claim_deliveries(
        &self,
        under_way: &HashMap<WebhookId, i64>,
        at_once: i64,
        lease: Duration,
    ) -> Result<Vec<Claim>, Fault> {
        let webhooks: Vec<Uuid> = under_way.keys().map(|id| id.as_uuid()).collect();
        let counts: Vec<i64> = under_way.values().copied().collect();
        within(async {
            let rows = sqlx::query!(
                r#"WITH lane AS (
                       SELECT w.id, greatest(0, $3 - coalesce(busy.count, 0)) AS free FROM webhooks w
                       LEFT JOIN unnest($1::uuid[], $2::bigint[]) AS busy (id, count) ON busy.id = w.id
                       WHERE w.paused_at IS NULL
                   ), due AS (
                       SELECT picked.webhook_id, picked.sequence FROM lane CROSS JOIN LATERAL (
                           SELECT d.webhook_id, d.sequence FROM webhook_deliveries d
                           WHERE d.webhook_id = lane.id AND d.next_attempt_at <= (SELECT now_utc())
                             AND NOT EXISTS (SELECT FROM webhook_deliveries e
                                             WHERE e.webhook_id = d.webhook_id AND e.order_key = d.order_key
                                               AND e.sequence < d.sequence)
                           ORDER BY d.next_attempt_at, d.sequence LIMIT lane.free FOR UPDATE OF d SKIP LOCKED
                       ) AS picked
                   ), claimed AS (
                       UPDATE webhook_deliveries d
                       SET attempts = d.attempts + 1, next_attempt_at = now_utc() + make_interval(secs => $4)
                       FROM due WHERE d.webhook_id = due.webhook_id AND d.sequence = due.sequence
                       RETURNING d.webhook_id, d.sequence, d.attempts, d.queued_at
                   )
                   SELECT c.webhook_id, c.attempts, c.queued_at, w.url, w.sealed_secret,
                          CASE WHEN w.previous_until > now_utc() THEN w.previous_sealed_secret END AS previous,
                          o.id, o.type AS kind, o.sequence, o.created_at, o.data::text AS "data!", now_utc() AS "now!"
                   FROM claimed c JOIN webhooks w ON w.id = c.webhook_id JOIN outbox o ON o.sequence = c.sequence
                   ORDER BY o.sequence"#,
                &webhooks,
                &counts,
                at_once,
                lease.as_secs_f64()
            )
            .fetch_all(&self.pool)
            .await?;
            let claims = rows.into_iter().map(|row| Claim {
                webhook: row.webhook_id.into(),
                url: row.url,
                sealed_secrets: std::iter::once(row.sealed_secret).chain(row.previous).collect(),
                event: Event {
                    id: row.id.into(),
                    kind: row.kind,
                    sequence: row.sequence,
                    created_at: utc(row.created_at),
                    data: row.data,
                },
                attempt: row.attempts,
                queued_at: utc(row.queued_at),
                now: utc(row.now),
            });
            Ok::<_, Fault>(claims.collect())
        })
        .await
    }

    /// An event has arrived: it is done with, and the next of its key is due.
    pub async fn delivery_done(&self, claim: &Claim) -> Result<(), Fault> {
        within(async {
            sqlx::query!(
                "WITH done AS (
                     DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND sequence = $2 AND attempts = $3
                     RETURNING order_key
                 )
                 UPDATE webhook_deliveries d SET next_attempt_at = now_utc() FROM done
                 WHERE d.webhook_id = $1 AND d.order_key = done.order_key AND d.attempts = 0 AND d.sequence > $2
                   AND d.next_attempt_at > now_utc()",
                claim.webhook.as_uuid(),
                claim.event.sequence,
                claim.attempt
            )
            .execute(&self.pool)
            .await?;
            Ok::<_, Fault>(())
        })
        .await
    }

    /// An event has not arrived and is tried again after `wait`. The later ones of its key have to wait for it, so they
    /// are not looked at before either.
    pub async fn delivery_failed(&self, claim: &Claim, outcome: Outcome, wait: Duration) -> Result<(), Fault> {
        within(async {
            sqlx::query!(
                "WITH failed AS (
                     UPDATE webhook_deliveries
                     SET next_attempt_at = now_utc() + make_interval(secs => $4), last_outcome = $5, last_status = $6
                     WHERE webhook_id = $1 AND sequence = $2 AND attempts = $3
                     RETURNING order_key, next_attempt_at
                 )
                 UPDATE webhook_deliveries d SET next_attempt_at = failed.next_attempt_at FROM failed
                 WHERE d.webhook_id = $1 AND d.order_key = failed.order_key AND d.attempts = 0 AND d.sequence > $2",
                claim.webhook.as_uuid(),
                claim.event.sequence,
                claim.attempt,
                wait.as_secs_f64(),
                outcome.as_str(),
                outcome.status().map(i32::from)
            )
            .execute(&self.pool)
            .await?;
            Ok::<_, Fault>(())
        })
        .await
    }

    /// An event is given up: it becomes a dead letter, and the next of its key is due.
    pub async fn bury_delivery(&self, claim: &Claim, outcome: Outcome) -> Result<(), Fault> {
        within(async {
            sqlx::query!(
                "WITH dead AS (
                     DELETE FROM webhook_deliveries WHERE webhook_id = $1 AND sequence = $2 AND attempts = $3
                     RETURNING order_key, attempts
                 ), buried AS (
                     INSERT INTO webhook_dead_letters
                         (webhook_id, event_id, sequence, attempts, last_outcome, last_status)
                     SELECT $1, $4, $2, attempts, $5, $6 FROM dead
                 )
                 UPDATE webhook_deliveries d SET next_attempt_at = now_utc() FROM dead
                 WHERE d.webhook_id = $1 AND d.order_key = dead.order_key AND d.attempts = 0 AND d.sequence > $2
                   AND d.next_attempt_at > now_utc()",
                claim.webhook.as_uuid(),
                claim.event.sequence,
                claim.attempt,
                claim.event.id.as_uuid(),
                outcome.as_str(),
                outcome.status().map(i32::from)
            )
            .execute(&self.pool)
            .await?;
            Ok::<_, Fault>(())
        })
        .await
    }

    /// A webhook is gone: nothing is delivered to it until it is resumed, and the event waits for that.
    pub async fn pause_webhook(&self, claim: &Claim, outcome: Outcome) -> Result<(), Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            sqlx::query!(
                "UPDATE webhook_deliveries SET next_attempt_at = now_utc(), last_outcome = $4, last_status = $5
                 WHERE webhook_id = $1 AND sequence = $2 AND attempts = $3",
                claim.webhook.as_uuid(),
                claim.event.sequence,
                claim.attempt,
                outcome.as_str(),
                outcome.status().map(i32::from)
            )
            .execute(&mut *transaction)
            .await?;
            let paused = sqlx::query!(
                "UPDATE webhooks SET paused_at = now_utc() WHERE id = $1 AND paused_at IS NULL",
                claim.webhook.as_uuid()
            )
            .execute(&mut *transaction)
            .await?;
            if paused.rows_affected() == 1 {
                note(&mut transaction, claim.webhook, None, "pause", None, None).await?;
            }
            transaction.commit().await?;
            Ok::<_, Fault>(())
        })
        .await
    }
}
