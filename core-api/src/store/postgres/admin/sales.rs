//! What was sold, by the ledger.

use std::collections::HashMap;

use common::ids::ConcertId;
use sqlx::PgConnection;

use crate::domain::Fault;
use crate::domain::managed::SeatCounts;
use crate::domain::sales::{OrderCursor, OrderRow, SalesReport, SectionSales, SeriesPoint, Step, Sum, Takings};
use crate::store::postgres::{Db, money, utc, within};

/// How many steps a series has at most: the latest, six weeks of hours or some years of days.
const MAX_STEPS: i64 = 1_000;
/// All of a report is of one moment.
const ONE_MOMENT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

impl Db {
    /// A concert's sales; `None` where there is no such concert.
    pub async fn sales(&self, concert: ConcertId, step: Step) -> Result<Option<SalesReport>, Fault> {
        within(async {
            let mut transaction = self.pool.begin_with(ONE_MOMENT).await?;
            let read_at =
                sqlx::query_scalar!(r#"SELECT now_utc() AS "now!" FROM concerts WHERE id = $1"#, concert.as_uuid())
                    .fetch_optional(&mut *transaction)
                    .await?;
            let Some(read_at) = read_at else { return Ok(None) };
            let sections = sections(&mut transaction, concert).await?;
            let series = series(&mut transaction, concert, step).await?;
            transaction.rollback().await?;
            Ok(Some(SalesReport { read_at: utc(read_at), sections, series }))
        })
        .await
    }

    /// At most `limit` payments and refunds of a concert, in the order of their reservations, behind the one named. No
    /// connection waits for whoever reads them.
    pub async fn orders(&self, concert: ConcertId, after: OrderCursor, limit: i64) -> Result<Vec<OrderRow>, Fault> {
        within(async {
            let rows = sqlx::query!(
                r#"SELECT r.id AS reservation_id, l.id AS entry, l.created_at, l.kind, l.amount, r.user_id, s.section,
                          s.seat_number, p.id AS "payment_id?", p.payment_method AS "payment_method?"
                   FROM reservations r
                   JOIN ledger_entries l ON l.reservation_id = r.id AND l.account = 'sales'
                   JOIN seats s ON s.id = r.seat_id
                   -- Money that was set aside and could not be taken is in the ledger twice, and its payment has failed:
                   -- nobody paid after that.
                   LEFT JOIN LATERAL (SELECT id, payment_method FROM payments WHERE reservation_id = r.id
                                      ORDER BY payment_status = 'success' DESC, id DESC LIMIT 1) p ON TRUE
                   WHERE r.concert_id = $1 AND r.id >= $2 AND (r.id, l.id) > ($2, $3)
                   ORDER BY r.id, l.id LIMIT $4"#,
                concert.as_uuid(),
                after.reservation.as_uuid(),
                after.entry,
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            let orders = rows.into_iter().map(|row| OrderRow {
                cursor: OrderCursor { reservation: row.reservation_id.into(), entry: row.entry },
                at: utc(row.created_at),
                kind: row.kind,
                amount: Sum(row.amount),
                payment: row.payment_id.map(Into::into),
                method: row.payment_method,
                user: row.user_id.into(),
                section: row.section,
                seat_number: row.seat_number,
            });
            Ok(orders.collect())
        })
        .await
    }
}

/// Each section's seats and money, in the order of their names.
async fn sections(connection: &mut PgConnection, concert: ConcertId) -> Result<Vec<SectionSales>, Fault> {
    let mut takings = takings(connection, concert).await?;
    let rows = sqlx::query!(
        r#"SELECT section, min(price) AS "lowest!", max(price) AS "highest!", count(*) AS "total!",
                  count(*) FILTER (WHERE status = 'available') AS "available!",
                  count(*) FILTER (WHERE status = 'reserved_temp') AS "held!",
                  count(*) FILTER (WHERE status = 'reserved_final') AS "sold!",
                  count(*) FILTER (WHERE status = 'held_back') AS "held_back!"
           FROM seats WHERE concert_id = $1 GROUP BY section ORDER BY section COLLATE "C""#,
        concert.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    let sections = rows.into_iter().map(|row| {
        Ok(SectionSales {
            takings: takings.remove(&row.section).unwrap_or_default(),
            name: row.section,
            lowest_price: money(row.lowest)?,
            highest_price: money(row.highest)?,
            seats: SeatCounts {
                total: row.total,
                available: row.available,
                held: row.held,
                sold: row.sold,
                held_back: row.held_back,
            },
        })
    });
    sections.collect()
}

/// Each section's money; sections without any are left out.
async fn takings(connection: &mut PgConnection, concert: ConcertId) -> Result<HashMap<String, Takings>, Fault> {
    let rows = sqlx::query!(
        r#"SELECT s.section, coalesce(sum(l.amount) FILTER (WHERE l.amount > 0), 0) AS "gross!",
                  coalesce(-sum(l.amount) FILTER (WHERE l.amount < 0), 0) AS "refunds!"
           FROM reservations r
           JOIN ledger_entries l ON l.reservation_id = r.id AND l.account = 'sales'
           JOIN seats s ON s.id = r.seat_id
           WHERE r.concert_id = $1 GROUP BY s.section"#,
        concert.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.section, Takings::new(row.gross, row.refunds))).collect())
}

/// The latest steps in which money moved, in their order.
async fn series(connection: &mut PgConnection, concert: ConcertId, step: Step) -> Result<Vec<SeriesPoint>, Fault> {
    let rows = sqlx::query!(
        r#"SELECT date_trunc($2, l.created_at) AS "from!", count(*) FILTER (WHERE l.amount > 0) AS "payments!",
                  count(*) FILTER (WHERE l.amount < 0) AS "refunded!",
                  coalesce(sum(l.amount) FILTER (WHERE l.amount > 0), 0) AS "gross!",
                  coalesce(-sum(l.amount) FILTER (WHERE l.amount < 0), 0) AS "refunds!"
           FROM reservations r JOIN ledger_entries l ON l.reservation_id = r.id AND l.account = 'sales'
           WHERE r.concert_id = $1 GROUP BY 1 ORDER BY 1 DESC LIMIT $3"#,
        concert.as_uuid(),
        step.as_str(),
        MAX_STEPS
    )
    .fetch_all(connection)
    .await?;
    let points = rows.into_iter().rev().map(|row| SeriesPoint {
        from: utc(row.from),
        payments: row.payments,
        refunded: row.refunded,
        takings: Takings::new(row.gross, row.refunds),
    });
    Ok(points.collect())
}
