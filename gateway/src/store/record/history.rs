//! What operators look up: a visitor's events, and who changed what.

use chrono::{DateTime, Utc};
use common::changes::Change;
use common::ids::{ConcertId, UserId};

use super::{Record, RecordError, int, number, utc, within};

/// One event of a visitor's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitorEvent {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What.
    pub event: String,
    /// At which position, 0 where it is not known.
    pub position: u32,
    /// What else was noted.
    pub detail: Option<String>,
}

/// A visitor as last recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisitorRow {
    /// Their position.
    pub position: u32,
    /// Where they are.
    pub status: String,
    /// The wait they were told at joining.
    pub wait_time: Option<String>,
    /// When they were admitted last.
    pub admitted_at: Option<DateTime<Utc>>,
    /// When that admission ends or ended.
    pub lease_ends_at: Option<DateTime<Utc>>,
}

impl Record {
    /// A visitor's row; `None` where there is none.
    pub async fn visitor(&self, concert: ConcertId, user: UserId) -> Result<Option<VisitorRow>, RecordError> {
        within(async {
            let row = sqlx::query!(
                "SELECT queue_position, status, wait_time, admitted_at, lease_ends_at FROM queue
                 WHERE concert_id = $1 AND user_id = $2",
                concert.as_uuid(),
                user.as_uuid()
            )
            .fetch_optional(&self.pool)
            .await?;
            Ok(row.map(|row| VisitorRow {
                position: number(row.queue_position),
                status: row.status,
                wait_time: row.wait_time,
                admitted_at: row.admitted_at.map(utc),
                lease_ends_at: row.lease_ends_at.map(utc),
            }))
        })
        .await
    }

    /// Whose position in a room's queue this is, by the latest life of the room that knows of it.
    pub async fn visitor_at(&self, concert: ConcertId, position: u32) -> Result<Option<UserId>, RecordError> {
        within(async {
            // An entry for a draw is no position: while both are recorded, the position counts.
            let user = sqlx::query_scalar!(
                "SELECT user_id FROM queue WHERE concert_id = $1 AND queue_position = $2
                 ORDER BY epoch DESC, status = 'entered' LIMIT 1",
                concert.as_uuid(),
                int(position)
            )
            .fetch_optional(&self.pool)
            .await?;
            Ok(user.map(Into::into))
        })
        .await
    }

    /// A visitor's latest events, the earliest of them first.
    pub async fn visitor_events(
        &self,
        concert: ConcertId,
        user: UserId,
        at_most: i64,
    ) -> Result<Vec<VisitorEvent>, RecordError> {
        within(async {
            let rows = sqlx::query!(
                "SELECT happened_at, event, queue_position, detail FROM queue_events
                 WHERE concert_id = $1 AND user_id = $2
                 ORDER BY stream_ms DESC, stream_seq DESC, number DESC LIMIT $3",
                concert.as_uuid(),
                user.as_uuid(),
                at_most
            )
            .fetch_all(&self.pool)
            .await?;
            let events = rows.into_iter().rev().map(|row| VisitorEvent {
                at: utc(row.happened_at),
                event: row.event,
                position: row.queue_position.map_or(0, number),
                detail: row.detail,
            });
            Ok(events.collect())
        })
        .await
    }

    /// What operators did to a room before the change `before` (0: up to now), the latest first.
    pub async fn changes(&self, concert: ConcertId, before: i64, at_most: i64) -> Result<Vec<Change>, RecordError> {
        within(async {
            let rows = sqlx::query!(
                "SELECT id, changed_at, changed_by, action, before, after FROM queue_changes
                 WHERE concert_id = $1 AND ($2::bigint = 0 OR id < $2) ORDER BY id DESC LIMIT $3",
                concert.as_uuid(),
                before,
                at_most
            )
            .fetch_all(&self.pool)
            .await?;
            let changes = rows.into_iter().map(|row| Change {
                id: row.id,
                at: utc(row.changed_at),
                by: Some(row.changed_by.into()),
                action: row.action,
                before: row.before,
                after: row.after,
            });
            Ok(changes.collect())
        })
        .await
    }
}
