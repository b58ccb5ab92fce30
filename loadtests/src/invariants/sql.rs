//! Seats and money in `PostgreSQL`.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use invariants::CHECKS;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use uuid::Uuid;

use super::Finding;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that only reads.
#[derive(Debug)]
pub struct Database(PgConnection);

impl Database {
    /// Fails when nobody answers within some seconds.
    pub async fn connect(url: &str) -> Result<Self> {
        // The URL is not shown: it may hold a password.
        let connection = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect(url))
            .await
            .context("PostgreSQL (--database-url) does not answer")?
            .context("PostgreSQL (--database-url) can't be used")?;
        Ok(Self(connection))
    }

    /// Runs every check in one snapshot. An error means that a check could not run, not that it failed.
    pub async fn check(&mut self) -> Result<Vec<Finding>> {
        let mut snapshot = self.0.begin().await?;
        snapshot.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        snapshot.execute("SET LOCAL statement_timeout = '60s'").await?;
        let mut findings = Vec::with_capacity(CHECKS.len());
        for check in &CHECKS {
            let rows: Vec<(i64, String)> =
                sqlx::query_as(check.sql).fetch_all(&mut *snapshot).await.with_context(|| check.name)?;
            findings.push(finding(check.point, check.name, check.title, rows));
        }
        snapshot.rollback().await?;
        Ok(findings)
    }

    /// Whether everything that visitors were told they had bought is theirs: `reservations` are ids of
    /// answered payments.
    pub async fn check_bought(&mut self, reservations: &[Uuid]) -> Result<Finding> {
        let rows: Vec<(i64, String)> = sqlx::query_as(
            "SELECT count(*) OVER (), format('reservation %s is %s', told.id, coalesce(r.status, 'not there'))
             FROM unnest($1::uuid[]) AS told(id) LEFT JOIN reservations r ON r.id = told.id
             WHERE r.status IS DISTINCT FROM 'completed' LIMIT 5",
        )
        .bind(reservations)
        .fetch_all(&mut self.0)
        .await?;
        let title = format!("all {} tickets that visitors were told they had bought are theirs", reservations.len());
        Ok(finding(1, "bought_is_completed", &title, rows))
    }

    /// Ids of a concert's seats.
    pub async fn seats(&mut self, concert: Uuid) -> Result<Vec<Uuid>> {
        Ok(sqlx::query_scalar("SELECT id FROM seats WHERE concert_id = $1")
            .bind(concert)
            .fetch_all(&mut self.0)
            .await?)
    }

    /// Which seats of a concert are somebody's.
    pub async fn reserved(&mut self, concert: Uuid) -> Result<HashSet<Uuid>> {
        let seats: Vec<Uuid> = sqlx::query_scalar(
            "SELECT seat_id FROM reservations WHERE concert_id = $1 AND status IN ('pending', 'completed')",
        )
        .bind(concert)
        .fetch_all(&mut self.0)
        .await?;
        Ok(seats.into_iter().collect())
    }

    /// How long after its deadline each seat that was not paid for in time was held again, of deadlines since `since`;
    /// at most a hundred thousand. What was given back before its deadline does not count, nor what nobody wanted again.
    pub async fn resales(&mut self, concert: Uuid, since: DateTime<Utc>) -> Result<Vec<Duration>> {
        let millis: Vec<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM again.reserved_at - r.payment_deadline)::float8 * 1000
             FROM reservations r CROSS JOIN LATERAL (
                 SELECT min(reserved_at) AS reserved_at FROM reservations
                 WHERE seat_id = r.seat_id AND reserved_at > r.reserved_at) AS again
             WHERE r.concert_id = $1 AND r.status = 'canceled' AND r.payment_deadline >= $2
               AND again.reserved_at >= r.payment_deadline LIMIT 100000",
        )
        .bind(concert)
        .bind(since.naive_utc())
        .fetch_all(&mut self.0)
        .await?;
        Ok(millis.into_iter().map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1000.0)).collect())
    }

    /// Ids of the concerts, at most a thousand.
    pub async fn concerts(&mut self) -> Result<Vec<Uuid>> {
        Ok(sqlx::query_scalar("SELECT id FROM concerts ORDER BY id LIMIT 1000").fetch_all(&mut self.0).await?)
    }
}

fn finding(point: u8, name: &'static str, title: &str, rows: Vec<(i64, String)>) -> Finding {
    let broken = rows.first().map_or(0, |(count, _)| u64::try_from(*count).unwrap_or_default());
    Finding::new(point, name, title, broken, rows.into_iter().map(|(_, example)| example).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_counts_all_and_shows_some() {
        let found = finding(1, "x", "x", vec![(7, "a".to_owned()), (7, "b".to_owned())]);
        assert_eq!((found.broken, found.examples.len(), found.is_broken()), (7, 2, true));
        assert!(!finding(1, "x", "x", Vec::new()).is_broken());
        assert!(!found.not_checked("why").is_broken());
    }
}
