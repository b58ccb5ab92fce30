//! What could not be delivered, what is too old, and how much there is to do.

use std::time::Duration;

use chrono::TimeDelta;
use common::ids::{EventId, UserId, WebhookId};
use serde_json::json;

use super::webhooks::note;
use super::{Db, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::webhook_delivery::DeadLetter;

/// More than this many are counted as this many.
const COUNT_AT_MOST: i64 = 100_000;

/// How much is still to be delivered.
#[derive(Debug, Clone, Copy)]
pub struct Backlog {
    /// How many deliveries, up to 100,000.
    pub deliveries: i64,
    /// How long the oldest has been waiting.
    pub oldest: Duration,
}

impl Db {
    /// At most `limit` dead letters of a webhook, the latest first, of events before the one named.
    pub async fn dead_letters(
        &self,
        webhook: WebhookId,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<DeadLetter>, Fault> {
        within(async {
            let rows = sqlx::query!(
                "SELECT l.event_id, l.sequence, l.attempts, l.last_outcome, l.last_status, l.died_at, o.type AS kind,
                        o.created_at
                 FROM webhook_dead_letters l JOIN outbox o ON o.sequence = l.sequence
                 WHERE l.webhook_id = $1 AND ($2::bigint IS NULL OR l.sequence < $2)
                 ORDER BY l.sequence DESC LIMIT $3",
                webhook.as_uuid(),
                before,
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            let letters = rows.into_iter().map(|row| DeadLetter {
                event: EventId::from(row.event_id),
                kind: row.kind,
                sequence: row.sequence,
                created_at: utc(row.created_at),
                attempts: row.attempts,
                outcome: row.last_outcome,
                status: row.last_status,
                died_at: utc(row.died_at),
            });
            Ok::<_, Fault>(letters.collect())
        })
        .await
    }

    /// Puts a dead letter in line again; whether there was one. It is tried as long as a new event is.
    pub async fn retry_dead_letter(&self, id: WebhookId, event: EventId, by: UserId) -> Result<bool, Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let queued = sqlx::query!(
                "WITH letter AS (
                     DELETE FROM webhook_dead_letters
                     WHERE webhook_id = $1 AND event_id = $2 AND EXISTS (SELECT FROM webhooks w WHERE w.id = $1)
                     RETURNING webhook_id, sequence
                 )
                 INSERT INTO webhook_deliveries (webhook_id, sequence, order_key, queued_at, next_attempt_at)
                 SELECT letter.webhook_id, o.sequence, o.order_key, at, at
                 FROM letter JOIN outbox o ON o.sequence = letter.sequence, now_utc() AS at",
                id.as_uuid(),
                event.as_uuid()
            )
            .execute(&mut *transaction)
            .await?;
            if queued.rows_affected() == 0 {
                return Ok(false);
            }
            note(&mut transaction, id, Some(by), "retry", None, Some(json!({ "eventId": event }))).await?;
            transaction.commit().await?;
            Ok::<_, Fault>(true)
        })
        .await
    }

    /// Gives up what has waited longer than `retry_for` for a webhook that is paused; at most `limit`, and how many.
    pub async fn bury_paused(&self, retry_for: TimeDelta, limit: i64) -> Result<u64, Fault> {
        within(async {
            let buried = sqlx::query!(
                "WITH old AS (
                     SELECT d.webhook_id, d.sequence FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
                     WHERE w.paused_at IS NOT NULL
                       AND d.queued_at <= (SELECT now_utc()) - make_interval(secs => $1)
                     LIMIT $2 FOR UPDATE OF d SKIP LOCKED
                 ), dead AS (
                     DELETE FROM webhook_deliveries d USING old
                     WHERE d.webhook_id = old.webhook_id AND d.sequence = old.sequence
                     RETURNING d.webhook_id, d.sequence, d.attempts, d.last_outcome, d.last_status
                 )
                 INSERT INTO webhook_dead_letters (webhook_id, event_id, sequence, attempts, last_outcome, last_status)
                 SELECT dead.webhook_id, o.id, dead.sequence, dead.attempts, coalesce(dead.last_outcome, 'gone'),
                        dead.last_status
                 FROM dead JOIN outbox o ON o.sequence = dead.sequence",
                retry_for.as_seconds_f64(),
                limit
            )
            .execute(&self.pool)
            .await?;
            Ok::<_, Fault>(buried.rows_affected())
        })
        .await
    }

    /// Removes what nobody needs any more, at most `limit` of each kind; whether there may be more. That is: what belongs
    /// to webhooks that are gone, dead letters after 30 days, and events a day old that no delivery needs.
    pub async fn purge_outbox(&self, limit: i64) -> Result<bool, Fault> {
        within(async {
            let purged = sqlx::query!(
                r#"WITH orphans AS (
                       DELETE FROM webhook_deliveries d USING (
                           SELECT webhook_id, sequence FROM webhook_deliveries
                           WHERE NOT EXISTS (SELECT FROM webhooks w WHERE w.id = webhook_id) LIMIT $1
                       ) AS gone
                       WHERE d.webhook_id = gone.webhook_id AND d.sequence = gone.sequence RETURNING 1
                   ), letters AS (
                       DELETE FROM webhook_dead_letters l USING (
                           SELECT webhook_id, event_id FROM webhook_dead_letters
                           WHERE died_at <= (SELECT now_utc()) - interval '30 days'
                              OR NOT EXISTS (SELECT FROM webhooks w WHERE w.id = webhook_id) LIMIT $1
                       ) AS old
                       WHERE l.webhook_id = old.webhook_id AND l.event_id = old.event_id RETURNING 1
                   ), events AS (
                       DELETE FROM outbox o USING (
                           SELECT sequence FROM outbox
                           WHERE created_at <= (SELECT now_utc()) - interval '1 day'
                             AND NOT EXISTS (SELECT FROM webhook_deliveries d WHERE d.sequence = outbox.sequence)
                             AND NOT EXISTS (SELECT FROM webhook_dead_letters l WHERE l.sequence = outbox.sequence)
                           ORDER BY created_at LIMIT $1
                       ) AS old
                       WHERE o.sequence = old.sequence RETURNING 1
                   )
                   SELECT greatest((SELECT count(*) FROM orphans), (SELECT count(*) FROM letters),
                                   (SELECT count(*) FROM events)) AS "most!""#,
                limit
            )
            .fetch_one(&self.pool)
            .await?;
            Ok::<_, Fault>(purged.most >= limit)
        })
        .await
    }

    /// How much is still to be delivered, to all webhooks that there are.
    pub async fn webhook_backlog(&self) -> Result<Backlog, Fault> {
        within(async {
            let row = sqlx::query!(
                r#"SELECT (SELECT count(*) FROM (SELECT FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
                                                 LIMIT $1) AS counted) AS "deliveries!",
                          (SELECT extract(epoch FROM now_utc() - d.queued_at)::float8
                           FROM webhook_deliveries d JOIN webhooks w ON w.id = d.webhook_id
                           ORDER BY d.sequence LIMIT 1) AS oldest_seconds"#,
                COUNT_AT_MOST
            )
            .fetch_one(&self.pool)
            .await?;
            let oldest = Duration::try_from_secs_f64(row.oldest_seconds.unwrap_or(0.0).max(0.0))
                .map_err(|error| unreadable("time of an event", &error))?;
            Ok::<_, Fault>(Backlog { deliveries: row.deliveries, oldest })
        })
        .await
    }
}
