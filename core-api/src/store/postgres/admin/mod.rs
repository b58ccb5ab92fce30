//! What administrators do to concerts and seats. Each change and its record are one transaction.
//!
//! Changes of one concert come one after the other: each begins with a lock on the concert's row, which holds of its
//! seats do not take.

mod branding;
mod concerts;
mod held_back;
mod prices;
mod record;
mod sales;

pub use record::AdminChange;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use common::ids::ConcertId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::utc;
use crate::domain::Fault;
use crate::domain::effect::EffectError;
use crate::domain::managed::{AdminRefusal, ConcertFacts, ManagedConcert, SeatCounts};

type Refused = EffectError<AdminRefusal>;

/// A concert and its counts, as it stands in the database.
struct ManagedRow {
    id: Uuid,
    name: String,
    venue: String,
    concert_date: NaiveDate,
    announced_at: Option<NaiveDateTime>,
    sale_opens_at: Option<NaiveDateTime>,
    sale_closed_at: Option<NaiveDateTime>,
    seats_per_user: Option<i32>,
    total: i64,
    available: i64,
    held: i64,
    sold: i64,
    held_back: i64,
    now: NaiveDateTime,
}

impl From<ManagedRow> for ManagedConcert {
    fn from(row: ManagedRow) -> Self {
        Self {
            id: row.id.into(),
            facts: ConcertFacts {
                name: row.name,
                venue: row.venue,
                date: row.concert_date,
                announced_at: row.announced_at.map(utc),
                sale_opens_at: row.sale_opens_at.map(utc),
                sale_closes_at: row.sale_closed_at.map(utc),
                // A CHECK keeps it between 1 and 20.
                seats_per_user: row.seats_per_user.and_then(|limit| u32::try_from(limit).ok()),
            },
            seats: SeatCounts {
                total: row.total,
                available: row.available,
                held: row.held,
                sold: row.sold,
                held_back: row.held_back,
            },
            read_at: utc(row.now),
        }
    }
}

/// A concert with its counts.
async fn managed(connection: &mut PgConnection, concert: ConcertId) -> Result<Option<ManagedConcert>, Fault> {
    let row = sqlx::query_as!(
        ManagedRow,
        r#"SELECT c.id, c.name, c.venue, c.concert_date, c.announced_at, c.sale_opens_at, c.sale_closed_at,
                  c.seats_per_user, s.total AS "total!", s.available AS "available!", s.held AS "held!",
                  s.sold AS "sold!", s.held_back AS "held_back!", now_utc() AS "now!"
           FROM concerts c
           CROSS JOIN LATERAL (
               SELECT count(*) AS total,
                      count(*) FILTER (WHERE status = 'available') AS available,
                      count(*) FILTER (WHERE status = 'reserved_temp') AS held,
                      count(*) FILTER (WHERE status = 'reserved_final') AS sold,
                      count(*) FILTER (WHERE status = 'held_back') AS held_back
               FROM seats WHERE concert_id = c.id) s
           WHERE c.id = $1"#,
        concert.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(ManagedConcert::from))
}

/// Locks a concert against other changes by administrators; the time once that is done.
async fn lock_concert(connection: &mut PgConnection, concert: ConcertId) -> Result<DateTime<Utc>, Refused> {
    let locked = sqlx::query_scalar!("SELECT id FROM concerts WHERE id = $1 FOR NO KEY UPDATE", concert.as_uuid())
        .fetch_optional(&mut *connection)
        .await?;
    if locked.is_none() {
        return Err(EffectError::Refused(AdminRefusal::UnknownConcert));
    }
    Ok(utc(sqlx::query_scalar!(r#"SELECT now_utc() AS "now!""#).fetch_one(connection).await?))
}
