//! What the reconciler has to look at.

use chrono::TimeDelta;
use common::ids::ProviderPaymentId;
use uuid::Uuid;

use super::super::{Db, within};
use super::AttemptRow;
use super::decide::seconds;
use crate::domain::Fault;
use crate::domain::provider_payment::Attempt;

/// What is not at its end yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unsettled {
    /// How long the oldest of it has been as it is, in seconds; 0 where there is none.
    pub oldest_seconds: f64,
}

impl Db {
    /// At most `limit` attempts at `provider` whose time to be looked at has come, the longest due first, each with how often it was
    /// looked at. Nobody else is given them for `lease`, so that they are looked at again should this process die.
    pub async fn attempts_due(
        &self,
        provider: &str,
        limit: i64,
        lease: TimeDelta,
    ) -> Result<Vec<(Attempt, u32)>, Fault> {
        struct Row {
            id: Uuid,
            looks: i32,
        }
        within(async {
            let due = sqlx::query_as!(
                Row,
                "UPDATE provider_payments p
                 SET next_look_at = now_utc() + make_interval(secs => $2), looks = least(p.looks, 1000) + 1
                 FROM (SELECT id FROM provider_payments WHERE next_look_at <= (SELECT now_utc()) AND provider = $3
                       ORDER BY next_look_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED) due
                 WHERE p.id = due.id RETURNING p.id, p.looks",
                limit,
                seconds(lease),
                provider
            )
            .fetch_all(&self.pool)
            .await?;
            let ids: Vec<Uuid> = due.iter().map(|row| row.id).collect();
            let rows = sqlx::query_as!(
                AttemptRow,
                r#"SELECT id, user_id, amount, state, created_at, state_since, decide_until, now_utc() AS "now!"
                   FROM provider_payments WHERE id = ANY($1) ORDER BY id"#,
                &ids
            )
            .fetch_all(&self.pool)
            .await?;
            let looks = |id: Uuid| due.iter().find(|row| row.id == id).map_or(1, |row| row.looks);
            rows.into_iter()
                .map(|row| {
                    let looks = u32::try_from(looks(row.id)).unwrap_or(1);
                    Ok((Attempt::try_from(row)?, looks))
                })
                .collect()
        })
        .await
    }

    /// Has an attempt looked at `after` so long, unless it is at its end.
    pub async fn look_again(&self, id: ProviderPaymentId, after: TimeDelta) -> Result<(), Fault> {
        within(async {
            sqlx::query!(
                "UPDATE provider_payments SET next_look_at = now_utc() + make_interval(secs => $2)
                 WHERE id = $1 AND next_look_at IS NOT NULL",
                id.as_uuid(),
                seconds(after)
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    /// Everything that a provider is still to settle.
    pub async fn unsettled(&self) -> Result<Unsettled, Fault> {
        within(async {
            let oldest = sqlx::query_scalar!(
                r#"SELECT extract(epoch FROM now_utc() - least(
                       (SELECT min(state_since) FROM provider_payments WHERE next_look_at IS NOT NULL),
                       (SELECT min(created_at) FROM provider_refunds WHERE next_look_at IS NOT NULL)))::float8"#
            )
            .fetch_one(&self.pool)
            .await?;
            Ok(Unsettled { oldest_seconds: oldest.unwrap_or(0.0).max(0.0) })
        })
        .await
    }
}
