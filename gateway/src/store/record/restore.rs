//! Reading what a room has forgotten.

use common::ids::{ConcertId, UserId};

use super::{Record, RecordError, int, millis, number, within};

/// How far the record has seen a room come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastKnown {
    /// The highest number.
    pub position: u32,
    /// The latest life.
    pub epoch: u32,
}

/// A person as the record knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedPerson {
    /// Who.
    pub user: UserId,
    /// At which position; in a draw, their entry.
    pub position: u32,
    /// Where they were, as the column `status` says it.
    pub status: String,
    /// Their admission: its number, its end and its cap, in ms.
    pub admission: Option<(u16, i64, i64)>,
}

impl Record {
    /// The highest number and the latest life of a room; `None` where nothing is recorded of it.
    pub async fn last_known(&self, concert: ConcertId) -> Result<Option<LastKnown>, RecordError> {
        within(async {
            let row = sqlx::query!(
                r#"SELECT greatest((SELECT max(queue_position) FROM queue WHERE concert_id = $1),
                                   (SELECT max(queue_position) FROM (
                                        SELECT queue_position FROM queue_events WHERE concert_id = $1
                                        ORDER BY stream_ms DESC, stream_seq DESC, number DESC LIMIT 10000) latest
                                   )) AS position,
                          (SELECT max(epoch) FROM queue WHERE concert_id = $1) AS epoch"#,
                concert.as_uuid()
            )
            .fetch_one(&self.pool)
            .await?;
            let known = row.position.map(|position| LastKnown {
                position: number(position),
                epoch: row.epoch.and_then(|epoch| u32::try_from(epoch).ok()).unwrap_or(1).max(1),
            });
            Ok(known)
        })
        .await
    }

    /// The people of a room behind (`position`, `user`), in that order: who waits, who is inside, and who went within
    /// the last hours, whom a room that lost only its latest part may still take for present.
    pub async fn people(
        &self,
        concert: ConcertId,
        (position, user): (u32, UserId),
        at_most: i64,
    ) -> Result<Vec<RecordedPerson>, RecordError> {
        within(async {
            let rows = sqlx::query!(
                "SELECT user_id, queue_position, status, admission, lease_ends_at, session_ends_at FROM queue
                 WHERE concert_id = $1 AND (queue_position, user_id) > ($2, $3)
                   AND (status IN ('waiting', 'entered', 'offered', 'away', 'admitted')
                        OR updated_at > (SELECT now_utc()) - interval '2 hours')
                 ORDER BY queue_position, user_id LIMIT $4",
                concert.as_uuid(),
                int(position),
                user.as_uuid(),
                at_most
            )
            .fetch_all(&self.pool)
            .await?;
            Ok(rows
                .into_iter()
                .map(|row| RecordedPerson {
                    user: row.user_id.into(),
                    position: number(row.queue_position),
                    status: row.status,
                    admission: row.admission.and_then(|nonce| {
                        let end = millis(row.lease_ends_at?);
                        Some((u16::try_from(nonce).ok()?, end, row.session_ends_at.map_or(end, millis)))
                    }),
                })
                .collect())
        })
        .await
    }
}
