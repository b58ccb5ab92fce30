//! Webhooks: making, reading, changing and removing them, each change with its record in the same transaction.

use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use common::changes::Change;
use common::ids::{UserId, WebhookId};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Db, utc, within};
use crate::domain::Fault;
use crate::domain::webhook::{MAX_WEBHOOKS, NewWebhook, Webhook};

/// How often it is looked whether the transactions from before a webhook have ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

struct WebhookRow {
    id: Uuid,
    url: String,
    events: Option<Vec<String>>,
    paused_at: Option<NaiveDateTime>,
    previous_until: Option<NaiveDateTime>,
    created_by: Uuid,
    created_at: NaiveDateTime,
}

impl From<WebhookRow> for Webhook {
    fn from(row: WebhookRow) -> Self {
        Self {
            id: row.id.into(),
            url: row.url,
            events: row.events,
            paused_at: row.paused_at.map(utc),
            previous_until: row.previous_until.map(utc),
            created_by: row.created_by.into(),
            created_at: utc(row.created_at),
        }
    }
}

impl Db {
    /// Makes a webhook; `None` where there are as many as may be. Returns once every transaction that began to change
    /// something without knowing of it has ended: what is committed after this is told.
    pub async fn create_webhook(&self, new: &NewWebhook, by: UserId) -> Result<Option<Webhook>, Fault> {
        let created: Option<Webhook> = within(async {
            let mut transaction = self.pool.begin().await?;
            // Counted by one at a time.
            sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended('webhooks', 0))")
                .execute(&mut *transaction)
                .await?;
            let row = sqlx::query_as!(
                WebhookRow,
                "INSERT INTO webhooks (id, url, events, sealed_secret, created_by)
                 SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM webhooks) < $6
                 RETURNING id, url, events, paused_at, previous_until, created_by, created_at",
                new.id.as_uuid(),
                new.url,
                new.events.as_deref(),
                new.sealed_secret,
                by.as_uuid(),
                MAX_WEBHOOKS
            )
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(row) = row else { return Ok(None) };
            let after = json!({ "url": new.url, "events": new.events });
            note(&mut transaction, new.id, Some(by), "create", None, Some(after)).await?;
            transaction.commit().await?;
            Ok::<_, Fault>(Some(row.into()))
        })
        .await?;
        if created.is_some() {
            within(self.writers_ended()).await?;
        }
        Ok(created)
    }

    /// Waits for the transactions that are changing now what events tell of. Those that begin later see what has been
    /// committed by now: a trigger reads with a snapshot of its own.
    async fn writers_ended(&self) -> Result<(), Fault> {
        let writers = sqlx::query_scalar!(
            r#"SELECT DISTINCT virtualtransaction AS "virtualtransaction!" FROM pg_locks
               WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                 AND relation IN ('reservations'::regclass, 'payments'::regclass, 'seats'::regclass,
                                  'provider_payments'::regclass)"#
        )
        .fetch_all(&self.pool)
        .await?;
        loop {
            let left = sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT FROM pg_locks WHERE virtualtransaction = ANY($1)) AS "left!""#,
                &writers
            )
            .fetch_one(&self.pool)
            .await?;
            if !left {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// At most `limit` webhooks, the newest first, older than the one named.
    pub async fn webhooks(&self, before: Option<WebhookId>, limit: i64) -> Result<Vec<Webhook>, Fault> {
        within(async {
            let rows = sqlx::query_as!(
                WebhookRow,
                "SELECT id, url, events, paused_at, previous_until, created_by, created_at FROM webhooks
                 WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2",
                before.map(WebhookId::as_uuid),
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            Ok::<_, Fault>(rows.into_iter().map(Into::into).collect())
        })
        .await
    }

    /// Whether there is such a webhook.
    pub async fn has_webhook(&self, id: WebhookId) -> Result<bool, Fault> {
        within(async {
            let found =
                sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM webhooks WHERE id = $1) AS "found!""#, id.as_uuid());
            Ok::<_, Fault>(found.fetch_one(&self.pool).await?)
        })
        .await
    }

    /// Removes a webhook; whether there was one. What was to be delivered to it is not, from now on.
    pub async fn delete_webhook(&self, id: WebhookId, by: UserId) -> Result<bool, Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let removed = sqlx::query!("DELETE FROM webhooks WHERE id = $1 RETURNING url, events", id.as_uuid())
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(removed) = removed else { return Ok(false) };
            let before = json!({ "url": removed.url, "events": removed.events });
            note(&mut transaction, id, Some(by), "delete", Some(before), None).await?;
            transaction.commit().await?;
            Ok::<_, Fault>(true)
        })
        .await
    }

    /// Changes a webhook's secret; the one before is good for `overlap` still.
    pub async fn rotate_webhook(
        &self,
        id: WebhookId,
        sealed: &[u8],
        overlap: TimeDelta,
        by: UserId,
    ) -> Result<Option<Webhook>, Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let row = sqlx::query_as!(
                WebhookRow,
                "UPDATE webhooks
                 SET previous_sealed_secret = sealed_secret, sealed_secret = $2,
                     previous_until = now_utc() + make_interval(secs => $3)
                 WHERE id = $1
                 RETURNING id, url, events, paused_at, previous_until, created_by, created_at",
                id.as_uuid(),
                sealed,
                overlap.as_seconds_f64()
            )
            .fetch_optional(&mut *transaction)
            .await?;
            let Some(row) = row else { return Ok(None) };
            note(&mut transaction, id, Some(by), "rotate", None, None).await?;
            transaction.commit().await?;
            Ok::<_, Fault>(Some(row.into()))
        })
        .await
    }

    /// Delivers to a webhook again that was paused; doing it again changes nothing.
    pub async fn resume_webhook(&self, id: WebhookId, by: UserId) -> Result<Option<Webhook>, Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let paused = sqlx::query_scalar!("SELECT paused_at FROM webhooks WHERE id = $1 FOR UPDATE", id.as_uuid())
                .fetch_optional(&mut *transaction)
                .await?;
            let Some(paused) = paused else { return Ok(None) };
            let row = sqlx::query_as!(
                WebhookRow,
                "UPDATE webhooks SET paused_at = NULL WHERE id = $1
                 RETURNING id, url, events, paused_at, previous_until, created_by, created_at",
                id.as_uuid()
            )
            .fetch_one(&mut *transaction)
            .await?;
            if paused.is_some() {
                note(&mut transaction, id, Some(by), "resume", None, None).await?;
            }
            transaction.commit().await?;
            Ok::<_, Fault>(Some(row.into()))
        })
        .await
    }

    /// At most `limit` changes of a webhook, removed ones' too, the latest first, earlier than the one named.
    pub async fn webhook_changes(&self, id: WebhookId, before: Option<i64>, limit: i64) -> Result<Vec<Change>, Fault> {
        within(async {
            let rows = sqlx::query!(
                "SELECT id, changed_at, changed_by, action, before, after FROM webhook_changes
                 WHERE webhook_id = $1 AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
                id.as_uuid(),
                before,
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            let changes = rows.into_iter().map(|row| Change {
                id: row.id,
                at: utc(row.changed_at),
                by: row.changed_by.map(UserId::from),
                action: row.action,
                before: row.before,
                after: row.after,
            });
            Ok::<_, Fault>(changes.collect())
        })
        .await
    }
}

/// Writes down what was done to a webhook.
pub(super) async fn note(
    connection: &mut PgConnection,
    id: WebhookId,
    by: Option<UserId>,
    action: &str,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO webhook_changes (webhook_id, changed_by, action, before, after) VALUES ($1, $2, $3, $4, $5)",
        id.as_uuid(),
        by.map(UserId::as_uuid),
        action,
        before,
        after
    )
    .execute(connection)
    .await?;
    Ok(())
}
