//! The record of what administrators did.

use chrono::{DateTime, Utc};
use common::ids::{ConcertId, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::PgConnection;

use super::Refused;
use crate::domain::Fault;
use crate::domain::effect::EffectError;
use crate::domain::managed::AdminRefusal;
use crate::store::postgres::{Db, unreadable, utc, within};

/// One change: who, when, from what to what.
#[derive(Debug)]
pub struct AdminChange {
    /// Its number; later ones have higher ones.
    pub id: i64,
    /// Of which concert.
    pub concert: ConcertId,
    /// When.
    pub at: DateTime<Utc>,
    /// By whom.
    pub by: UserId,
    /// What was done.
    pub action: String,
    /// What it was like, as JSON.
    pub before: Option<Box<RawValue>>,
    /// What it was made, as JSON.
    pub after: Option<Box<RawValue>>,
}

/// Notes a change, in the change's own transaction. Whoever is no administrator any more has changed nothing: a session
/// says what its owner was when it began.
pub(super) async fn note(
    connection: &mut PgConnection,
    by: UserId,
    concert: ConcertId,
    action: &str,
    before: Option<&(impl Serialize + Sync)>,
    after: &(impl Serialize + Sync),
) -> Result<(), Refused> {
    // As text: PostgreSQL keeps a number's digits, where a JSON value of ours would make a float of it.
    let before = before.map(serde_json::to_string).transpose().map_err(|error| unreadable("change", &error))?;
    let after = serde_json::to_string(after).map_err(|error| unreadable("change", &error))?;
    let noted = sqlx::query!(
        "INSERT INTO admin_changes (concert_id, changed_by, action, before, after)
         SELECT $1, id, $3, $4::text::jsonb, $5::text::jsonb FROM users WHERE id = $2 AND role = 'admin'",
        concert.as_uuid(),
        by.as_uuid(),
        action,
        before,
        after
    )
    .execute(connection)
    .await?;
    (noted.rows_affected() == 1).then_some(()).ok_or(EffectError::Refused(AdminRefusal::NotAdministrator))
}

impl Db {
    /// At most `limit` changes, of one concert or of all, the latest first, earlier than the one named.
    pub async fn admin_changes(
        &self,
        concert: Option<ConcertId>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<AdminChange>, Fault> {
        let rows = within(async {
            // Two statements: one that asks for either would use the index of neither.
            Ok::<_, Fault>(match concert {
                Some(concert) => {
                    sqlx::query_as!(
                        ChangeRow,
                        "SELECT id, concert_id, changed_at, changed_by, action, before::text, after::text
                         FROM admin_changes WHERE concert_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
                        concert.as_uuid(),
                        before.unwrap_or(i64::MAX),
                        limit
                    )
                    .fetch_all(&self.pool)
                    .await?
                }
                None => {
                    sqlx::query_as!(
                        ChangeRow,
                        "SELECT id, concert_id, changed_at, changed_by, action, before::text, after::text
                         FROM admin_changes WHERE id < $1 ORDER BY id DESC LIMIT $2",
                        before.unwrap_or(i64::MAX),
                        limit
                    )
                    .fetch_all(&self.pool)
                    .await?
                }
            })
        })
        .await?;
        rows.into_iter().map(AdminChange::try_from).collect()
    }
}

struct ChangeRow {
    id: i64,
    concert_id: uuid::Uuid,
    changed_at: chrono::NaiveDateTime,
    changed_by: uuid::Uuid,
    action: String,
    before: Option<String>,
    after: Option<String>,
}

impl TryFrom<ChangeRow> for AdminChange {
    type Error = Fault;

    fn try_from(row: ChangeRow) -> Result<Self, Fault> {
        let raw = |json: Option<String>| {
            json.map(RawValue::from_string).transpose().map_err(|error| unreadable("change", &error))
        };
        Ok(Self {
            id: row.id,
            concert: row.concert_id.into(),
            at: utc(row.changed_at),
            by: row.changed_by.into(),
            action: row.action,
            before: raw(row.before)?,
            after: raw(row.after)?,
        })
    }
}
