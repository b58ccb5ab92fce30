//! How rooms are run, and who changed it.

use common::ids::{ConcertId, UserId};
use serde_json::Value;

use super::{Record, RecordError, int, number, within};
use crate::domain::RoomSettings;

/// Settings as they are stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredSettings {
    /// Them.
    pub settings: RoomSettings,
    /// How many numbers took part in the draw, once it is made.
    pub drawn_entries: Option<u32>,
}

/// How a change of settings went.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed {
    /// These hold now.
    Yes(RoomSettings),
    /// Somebody else had changed them since they were read.
    Stale,
}

impl Record {
    /// A room's settings; `None` where nobody has set any.
    pub async fn settings(&self, concert: ConcertId) -> Result<Option<StoredSettings>, RecordError> {
        within(async {
            let row = sqlx::query!(
                "SELECT settings, drawn_entries FROM queue_settings WHERE concert_id = $1",
                concert.as_uuid()
            )
            .fetch_optional(&self.pool)
            .await?;
            row.map(|row| {
                Ok(StoredSettings { settings: read(row.settings)?, drawn_entries: row.drawn_entries.map(number) })
            })
            .transpose()
        })
        .await
    }

    /// Replaces settings of version `settings.version - 1` and notes who did it, with what `before` and `after` show of
    /// them, in one transaction.
    pub async fn change_settings(
        &self,
        concert: ConcertId,
        settings: &RoomSettings,
        by: UserId,
        action: &str,
        (before, after): (Value, Value),
    ) -> Result<Changed, RecordError> {
        let stored = serde_json::to_value(settings).map_err(|error| RecordError::Refused(error.to_string()))?;
        within(async {
            let mut transaction = self.pool.begin().await?;
            let written = sqlx::query!(
                "INSERT INTO queue_settings AS s (concert_id, version, settings) VALUES ($1, $2, $3)
                 ON CONFLICT ON CONSTRAINT queue_settings_pkey DO UPDATE SET version = $2, settings = $3
                     WHERE s.version < $2",
                concert.as_uuid(),
                int(settings.version),
                stored
            )
            .execute(&mut *transaction)
            .await?;
            if written.rows_affected() == 0 {
                return Ok(Changed::Stale);
            }
            note_change(&mut transaction, concert, by, action, Some(before), Some(after)).await?;
            transaction.commit().await?;
            Ok(Changed::Yes(settings.clone()))
        })
        .await
    }

    /// Notes what an operator did that changes no setting.
    pub async fn note_action(
        &self,
        concert: ConcertId,
        by: UserId,
        action: &str,
        after: Value,
    ) -> Result<(), RecordError> {
        within(async {
            let mut connection = self.pool.acquire().await?;
            note_change(&mut connection, concert, by, action, None, Some(after)).await
        })
        .await
    }

    /// Notes that a draw is made among `entries` numbers; how many it was made among, if it had been made before.
    pub async fn note_drawn(&self, concert: ConcertId, entries: u32) -> Result<u32, RecordError> {
        within(async {
            let drawn = sqlx::query_scalar!(
                r#"UPDATE queue_settings SET drawn_entries = coalesce(drawn_entries, $2) WHERE concert_id = $1
                   RETURNING drawn_entries AS "drawn_entries!""#,
                concert.as_uuid(),
                int(entries)
            )
            .fetch_optional(&self.pool)
            .await?;
            Ok(drawn.map_or(entries, number))
        })
        .await
    }
}

async fn note_change(
    connection: &mut sqlx::PgConnection,
    concert: ConcertId,
    by: UserId,
    action: &str,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), RecordError> {
    sqlx::query!(
        "INSERT INTO queue_changes (concert_id, changed_by, action, before, after) VALUES ($1, $2, $3, $4, $5)",
        concert.as_uuid(),
        by.as_uuid(),
        action,
        before,
        after
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn read(settings: Value) -> Result<RoomSettings, RecordError> {
    serde_json::from_value(settings).map_err(|error| RecordError::Refused(format!("unreadable settings: {error}")))
}
