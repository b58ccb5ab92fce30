//! Seats and money in `PostgreSQL`.

use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use uuid::Uuid;

use super::Finding;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A check: its query answers with one row for each of the first violations, as (how many there are
/// in all, the violation in words).
struct Check {
    point: u8,
    name: &'static str,
    title: &'static str,
    sql: &'static str,
}

const CHECKS: [Check; 10] = [
    Check {
        point: 1,
        name: "seat_sold_once",
        title: "no seat has more than one live reservation",
        sql: "SELECT count(*) OVER (), format('seat %s has %s', seat_id, count(*))
              FROM reservations WHERE status IN ('pending', 'completed')
              GROUP BY seat_id HAVING count(*) > 1 LIMIT 5",
    },
    Check {
        point: 1,
        name: "sold_seat_is_reserved",
        title: "a seat is reserved_final exactly when it has one completed reservation",
        sql: "WITH completed AS (
                SELECT seat_id, count(*) AS n FROM reservations WHERE status = 'completed' GROUP BY seat_id)
              SELECT count(*) OVER (), format('seat %s is %s and has %s', s.id, s.status, coalesce(c.n, 0))
              FROM seats s LEFT JOIN completed c ON c.seat_id = s.id
              WHERE (s.status = 'reserved_final') <> (coalesce(c.n, 0) = 1) LIMIT 5",
    },
    Check {
        point: 1,
        name: "held_seat_is_reserved",
        title: "a seat is reserved_temp exactly when it has one pending reservation",
        sql: "WITH pending AS (
                SELECT seat_id, count(*) AS n FROM reservations WHERE status = 'pending' GROUP BY seat_id)
              SELECT count(*) OVER (), format('seat %s is %s and has %s', s.id, s.status, coalesce(p.n, 0))
              FROM seats s LEFT JOIN pending p ON p.seat_id = s.id
              WHERE (s.status = 'reserved_temp') <> (coalesce(p.n, 0) = 1) LIMIT 5",
    },
    Check {
        point: 1,
        name: "completed_is_paid",
        title: "a reservation is completed exactly when one success payment of its user and amount exists",
        sql: "WITH paid AS (
                SELECT reservation_id, count(*) AS n, sum(amount) AS amount, min(user_id::text) AS user_id
                FROM payments WHERE payment_status = 'success' GROUP BY reservation_id)
              SELECT count(*) OVER (), format('reservation %s is %s and has %s payments of %s in all for %s',
                r.id, r.status, coalesce(p.n, 0), coalesce(p.amount, 0), r.amount)
              FROM reservations r LEFT JOIN paid p ON p.reservation_id = r.id
              WHERE (r.status = 'completed') <> (coalesce(p.n, 0) = 1)
                 OR (r.status = 'completed' AND (p.amount <> r.amount OR p.user_id <> r.user_id::text)) LIMIT 5",
    },
    Check {
        point: 2,
        name: "transfer_is_balanced",
        title: "the entries of each transfer add up to 0",
        sql: "SELECT count(*) OVER (), format('transfer %s adds up to %s', transfer_id, sum(amount))
              FROM ledger_entries GROUP BY transfer_id HAVING sum(amount) <> 0 LIMIT 5",
    },
    Check {
        point: 2,
        name: "balance_is_ledger",
        title: "each balance is the sum of its user's entries",
        sql: "WITH entries AS (
                SELECT user_id, sum(amount) AS total FROM ledger_entries WHERE account = 'user' GROUP BY user_id)
              SELECT count(*) OVER (), format('user %s has %s, entries say %s', u.id, u.balance, coalesce(e.total, 0))
              FROM users u LEFT JOIN entries e ON e.user_id = u.id
              WHERE coalesce(u.balance, 0) <> coalesce(e.total, 0) LIMIT 5",
    },
    Check {
        point: 2,
        name: "balance_not_negative",
        title: "no balance is below zero",
        sql: "SELECT count(*) OVER (), format('user %s has %s', id, balance) FROM users WHERE balance < 0 LIMIT 5",
    },
    Check {
        point: 2,
        name: "money_is_conserved",
        title: "charges − payments + refunds = balances",
        sql: "WITH flows AS (
                SELECT coalesce(sum(amount) FILTER (WHERE kind = 'charge'), 0) AS charges,
                       coalesce(-sum(amount) FILTER (WHERE kind = 'payment'), 0) AS payments,
                       coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunds
                FROM ledger_entries WHERE account = 'user'),
              stock AS (SELECT coalesce(sum(balance), 0) AS balances FROM users)
              SELECT count(*) OVER (), format('%s - %s + %s is not %s', charges, payments, refunds, balances)
              FROM flows, stock WHERE charges - payments + refunds <> balances",
    },
    Check {
        point: 2,
        name: "payment_is_ledger",
        title: "what the ledger took for a reservation, less refunds, is its success payment",
        sql: "WITH taken AS (
                SELECT reservation_id, -sum(amount) AS amount FROM ledger_entries
                WHERE account = 'user' AND kind IN ('payment', 'refund') GROUP BY reservation_id),
              paid AS (
                SELECT reservation_id, sum(amount) AS amount FROM payments
                WHERE payment_status = 'success' GROUP BY reservation_id)
              SELECT count(*) OVER (), format('reservation %s: ledger %s, payment %s',
                coalesce(t.reservation_id, p.reservation_id), coalesce(t.amount, 0), coalesce(p.amount, 0))
              FROM taken t FULL JOIN paid p ON p.reservation_id = t.reservation_id
              WHERE coalesce(t.amount, 0) <> coalesce(p.amount, 0) LIMIT 5",
    },
    Check {
        point: 3,
        name: "position_is_unique",
        title: "no two people of a concert were given the same position",
        sql: "SELECT count(*) OVER (), format('concert %s gave %s to %s people', concert_id, queue_position, count(*))
              FROM queue GROUP BY concert_id, queue_position HAVING count(*) > 1 LIMIT 5",
    },
];

/// The names of the checks, in their order.
pub const NAMES: [&str; CHECKS.len()] = {
    let mut names = [""; CHECKS.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = CHECKS[index].name;
        index += 1;
    }
    names
};

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
    fn names_are_unique() {
        let mut names = NAMES.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHECKS.len());
    }

    #[test]
    fn a_finding_counts_all_and_shows_some() {
        let found = finding(1, "x", "x", vec![(7, "a".to_owned()), (7, "b".to_owned())]);
        assert_eq!((found.broken, found.examples.len(), found.is_broken()), (7, 2, true));
        assert!(!finding(1, "x", "x", Vec::new()).is_broken());
        assert!(!found.not_checked("why").is_broken());
    }
}
