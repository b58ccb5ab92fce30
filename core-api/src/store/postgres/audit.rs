//! Asking whether everything holds that must always hold.

use std::str::FromStr as _;

use anyhow::Context as _;
use invariants::{CHECKS, Check};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use super::Db;

/// What one check found.
#[derive(Debug)]
pub struct Audited {
    /// The check.
    pub check: &'static Check,
    /// How often it is broken.
    pub broken: u64,
    /// The first few of those, in words.
    pub examples: Vec<String>,
}

impl Db {
    /// Makes every check in one snapshot, so that they are right in the middle of a rush, too. Changes nothing. An error
    /// means that the checks could not be made.
    pub async fn audit(url: &str) -> anyhow::Result<Vec<Audited>> {
        // A connection of its own: a check may take longer than any statement of a request.
        let options = PgConnectOptions::from_str(url).context("DATABASE_URL can't be read")?;
        let mut connection = options
            .application_name("onsale-core-api-audit")
            .options([("timezone", "UTC"), ("statement_timeout", "5min"), ("lock_timeout", "10s")])
            .connect()
            .await
            .context("PostgreSQL can't be reached")?;
        let mut snapshot = connection.begin().await?;
        snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let mut audited = Vec::with_capacity(CHECKS.len());
        for check in &CHECKS {
            let rows: Vec<(i64, String)> =
                sqlx::query_as(check.sql).fetch_all(&mut *snapshot).await.with_context(|| check.name)?;
            let broken = rows.first().map_or(0, |(count, _)| u64::try_from(*count).unwrap_or_default());
            audited.push(Audited { check, broken, examples: rows.into_iter().map(|(_, example)| example).collect() });
        }
        snapshot.rollback().await?;
        connection.close().await?;
        Ok(audited)
    }
}
