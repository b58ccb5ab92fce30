//! Accounts that are there before anybody comes, with money and sessions: what is measured is the sale, and not the
//! hashing of a hundred thousand passwords.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use common::ids::UserId;
use common::tokens::{Role, Session, SessionKeys};
use rust_decimal::Decimal;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use uuid::Uuid;

/// How many accounts one transaction makes.
const BATCH: u32 = 5_000;
/// How long the database may take for one of them.
const BATCH_TIMEOUT: Duration = Duration::from_mins(1);
/// The part of an id that numbers the accounts of a run.
const NUMBER_BITS: u128 = 0xffff_ffff;

/// Makes sessions that the stack takes for its own.
#[derive(Debug)]
pub(super) struct SessionMaker {
    keys: SessionKeys,
    end_at: DateTime<Utc>,
}

impl SessionMaker {
    pub(super) fn new(keys: SessionKeys) -> Self {
        // Longer than any run.
        Self { keys, end_at: Utc::now() + TimeDelta::days(2) }
    }

    /// A session like those that logging in gives.
    pub(super) fn session(&self, user: UserId, role: Role) -> String {
        self.keys.sign(&Session { id: None, user, role, issued_at: Utc::now(), expires_at: self.end_at })
    }
}

/// The accounts of a run. An account is its number: a visitor keeps nothing else of it.
#[derive(Debug)]
pub(crate) struct Accounts {
    sessions: SessionMaker,
    /// The id of number 0.
    first: u128,
}

impl Accounts {
    /// Ids that no other run has; nothing is in the database yet.
    pub(super) fn new(sessions: SessionMaker) -> Self {
        Self { sessions, first: Uuid::now_v7().as_u128() & !NUMBER_BITS }
    }

    pub(super) fn user(&self, number: u32) -> UserId {
        Uuid::from_u128(self.first | u128::from(number)).into()
    }

    pub(super) fn session(&self, number: u32) -> String {
        self.sessions.session(self.user(number), Role::User)
    }

    /// Makes the first `count` accounts with so much money on each; `made` is told how many there are.
    pub(super) async fn make(
        &self,
        database: &mut PgConnection,
        count: u32,
        balance: Decimal,
        made: impl Fn(u32),
    ) -> Result<()> {
        for first in (0..count).step_by(usize::try_from(BATCH)?) {
            let numbers: Vec<u32> = (first..count.min(first + BATCH)).collect();
            tokio::time::timeout(BATCH_TIMEOUT, self.make_batch(database, &numbers, balance))
                .await
                .context("PostgreSQL takes too long to make accounts")??;
            made(first + u32::try_from(numbers.len())?);
        }
        // Plans of a minute ago are those of a small table.
        database.execute("ANALYZE users, ledger_entries").await?;
        Ok(())
    }

    /// Their money comes from `cash`, a transfer for each, as all money that is put on a balance.
    async fn make_batch(&self, database: &mut PgConnection, numbers: &[u32], balance: Decimal) -> Result<()> {
        let users: Vec<Uuid> = numbers.iter().map(|number| self.user(*number).as_uuid()).collect();
        let mut transaction = database.begin().await?;
        sqlx::query(
            "INSERT INTO users (id, username, email, balance)
             SELECT id, 'load test', format('load-%s@load.example', id), $2 FROM unnest($1::uuid[]) AS made(id)",
        )
        .bind(&users)
        .bind(balance)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "WITH transfer AS MATERIALIZED (
                 SELECT gen_random_uuid() AS id, made.id AS user_id FROM unnest($1::uuid[]) AS made(id))
             INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind)
             SELECT id, 'cash', NULL, - $2::numeric, 'charge' FROM transfer WHERE $2::numeric > 0
             UNION ALL
             SELECT id, 'user', user_id, $2::numeric, 'charge' FROM transfer WHERE $2::numeric > 0",
        )
        .bind(&users)
        .bind(balance)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_runs_never_meet_and_their_sessions_are_theirs() {
        let accounts = || {
            let keys = SessionKeys::new(&["a-secret-of-the-test-that-is-long-enough"]).unwrap();
            Accounts::new(SessionMaker::new(keys))
        };
        let (one, other) = (accounts(), accounts());
        assert_ne!(one.user(0), one.user(1));
        assert_ne!(one.user(7), other.user(7));
        let session = one.sessions.keys.verify(&one.session(7), Utc::now()).unwrap();
        assert_eq!((session.user, session.role), (one.user(7), Role::User));
    }
}
