//! What is read of sessions: a user's own, and those that were ended; and how old ones are removed.

use chrono::{DateTime, NaiveDateTime, Utc};
use common::ids::{SessionId, UserId};
use uuid::Uuid;

use super::sessions::ended;
use super::{Db, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::session::{EndedSession, SessionRecord};

/// An ended session, or none, and the time.
struct EndedRow {
    now: NaiveDateTime,
    id: Option<Uuid>,
    tokens_until: Option<NaiveDateTime>,
    ended_at: Option<NaiveDateTime>,
}

impl Db {
    /// A user's open sessions, the newest first; as many as they may have.
    pub async fn sessions(&self, user: UserId, at_most: u32) -> Result<Vec<SessionRecord>, Fault> {
        within(async {
            let rows = sqlx::query!(
                "SELECT id, created_at, refreshed_at, expires_at FROM sessions
                 WHERE user_id = $1 AND ended_at IS NULL AND expires_at > (SELECT now_utc())
                 ORDER BY created_at DESC, id DESC LIMIT $2",
                user.as_uuid(),
                i64::from(at_most)
            )
            .fetch_all(&self.pool)
            .await?;
            Ok::<_, Fault>(
                rows.into_iter()
                    .map(|row| SessionRecord {
                        id: row.id.into(),
                        created_at: utc(row.created_at),
                        refreshed_at: utc(row.refreshed_at),
                        expires_at: utc(row.expires_at),
                    })
                    .collect(),
            )
        })
        .await
    }

    /// The next sessions, by time and id, that were ended after `after` and have tokens that have not expired at `now`;
    /// and the database's time.
    pub async fn ended_sessions(
        &self,
        after: (DateTime<Utc>, SessionId),
        now: DateTime<Utc>,
        limit: i64,
    ) -> Result<(Vec<EndedSession>, DateTime<Utc>), Fault> {
        within(async {
            // One statement, since every process asks several times a second: a row at least, for the time.
            let rows = sqlx::query_as!(
                EndedRow,
                r#"SELECT n.now AS "now!", s.id AS "id?", s.tokens_until AS "tokens_until?", s.ended_at AS "ended_at?"
                   FROM (SELECT now_utc() AS now) n
                   LEFT JOIN LATERAL (
                       SELECT id, tokens_until, ended_at FROM sessions
                       WHERE ended_at IS NOT NULL AND (ended_at, id) > ($1, $2) AND tokens_until > $3
                       ORDER BY ended_at, id LIMIT $4) s ON TRUE
                   ORDER BY s.ended_at, s.id"#,
                after.0.naive_utc(),
                after.1.as_uuid(),
                now.naive_utc(),
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            let time = rows.first().map(|row| row.now).ok_or_else(|| unreadable("time", &"none"))?;
            let ended = rows.iter().filter_map(|row| Some(ended(row.id?, row.tokens_until?, row.ended_at?))).collect();
            Ok::<_, Fault>((ended, utc(time)))
        })
        .await
    }

    /// Removes up to `limit` sessions that nobody can use any more; how many.
    pub async fn purge_sessions(&self, now: DateTime<Utc>, limit: i64) -> Result<u64, Fault> {
        within(async {
            let done = sqlx::query!(
                "WITH over AS (
                     SELECT id FROM sessions
                     WHERE ended_at IS NULL AND expires_at < (SELECT now_utc()) - interval '1 day'
                     LIMIT $2 FOR UPDATE SKIP LOCKED),
                 ended AS (
                     SELECT id FROM sessions WHERE ended_at IS NOT NULL AND tokens_until < $1::timestamp - interval '1 day'
                     LIMIT $2 FOR UPDATE SKIP LOCKED)
                 DELETE FROM sessions WHERE id IN (SELECT id FROM over UNION ALL SELECT id FROM ended)",
                now.naive_utc(),
                limit
            )
            .execute(&self.pool)
            .await?;
            Ok::<_, Fault>(done.rows_affected())
        })
        .await
    }
}
