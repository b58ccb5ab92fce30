//! Balances and the ledger.

use common::ids::UserId;
use common::money::Money;
use uuid::Uuid;

use super::idempotency::conclude;
use super::{Db, money, utc, within};
use crate::domain::Fault;
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::ledger::{ChargeRefusal, Entry};

impl Db {
    /// A user's balance; `None` where there is no such user.
    pub async fn balance(&self, user: UserId) -> Result<Option<Money>, Fault> {
        within(async {
            let balance = sqlx::query_scalar!("SELECT balance FROM users WHERE id = $1", user.as_uuid())
                .fetch_optional(&self.pool)
                .await?;
            balance.map(money).transpose()
        })
        .await
    }

    /// Adds `amount` to a user's balance: a transfer from `cash`. The outcome is the new balance.
    pub async fn charge(
        &self,
        user: UserId,
        amount: Money,
        record: &Record<Money>,
    ) -> Result<Done<Money>, EffectError<ChargeRefusal>> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let before =
                sqlx::query_scalar!("SELECT balance FROM users WHERE id = $1 FOR NO KEY UPDATE", user.as_uuid())
                    .fetch_optional(&mut *transaction)
                    .await?
                    .ok_or(EffectError::Refused(ChargeRefusal::UnknownUser))?;
            let after = money(before)?.checked_add(amount).ok_or(EffectError::Refused(ChargeRefusal::OverLimit))?;
            sqlx::query!(
                "WITH credited AS (UPDATE users SET balance = $2 WHERE id = $1 RETURNING id)
                 INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind)
                 SELECT $3::uuid, 'cash', NULL::uuid, - $4::numeric, 'charge' FROM credited
                 UNION ALL
                 SELECT $3::uuid, 'user', id, $4::numeric, 'charge' FROM credited",
                user.as_uuid(),
                after.as_decimal(),
                Uuid::now_v7(),
                amount.as_decimal()
            )
            .execute(&mut *transaction)
            .await?;
            let done = conclude(&mut transaction, record, after).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }

    /// At most `limit` of a user's entries, the newest first, older than the one named.
    pub async fn entries(&self, user: UserId, before: Option<i64>, limit: i64) -> Result<Vec<Entry>, Fault> {
        within(async {
            let rows = sqlx::query!(
                "SELECT id, kind, amount, reservation_id, created_at FROM ledger_entries
                 WHERE user_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
                user.as_uuid(),
                before.unwrap_or(i64::MAX),
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            Ok(rows
                .into_iter()
                .map(|row| Entry {
                    id: row.id,
                    kind: row.kind,
                    amount: row.amount,
                    reservation: row.reservation_id.map(Into::into),
                    created_at: utc(row.created_at),
                })
                .collect())
        })
        .await
    }
}
