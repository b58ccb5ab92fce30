//! Concerts and seats, as they are read for everybody.

use common::ids::ConcertId;

use super::{Db, money, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::catalogue::{Concert, Snapshot};
use crate::domain::seat::{Seat, SeatStatus};

impl Db {
    /// All concerts that are announced, by date, with counts of their seats. One pass over an index of the seats: made for being read once
    /// a second, not once a request.
    pub async fn concerts(&self) -> Result<Snapshot, Fault> {
        within(async {
            let rows = sqlx::query!(
                r#"SELECT c.id, c.name, c.venue, c.concert_date, c.sale_opens_at, c.sale_closed_at,
                          c.seats_per_user,
                          coalesce(s.total, 0) AS "total!", coalesce(s.available, 0) AS "available!",
                          coalesce(s.unsold, 0) AS "unsold!", coalesce(s.sold, 0) AS "sold!"
                   FROM concerts c
                   LEFT JOIN (SELECT concert_id, count(*) AS total,
                                     count(*) FILTER (WHERE status = 'available') AS available,
                                     count(*) FILTER (WHERE status IN ('available', 'reserved_temp')) AS unsold,
                                     count(*) FILTER (WHERE status = 'reserved_final') AS sold
                              FROM seats GROUP BY concert_id) s ON s.concert_id = c.id
                   WHERE c.announced_at IS NULL OR c.announced_at <= (SELECT now_utc())
                   ORDER BY c.concert_date, c.id"#
            )
            .fetch_all(&self.pool)
            .await?;
            let now = sqlx::query_scalar!(r#"SELECT now_utc() AS "now!""#).fetch_one(&self.pool).await?;
            let concerts = rows
                .into_iter()
                .map(|row| Concert {
                    id: row.id.into(),
                    name: row.name,
                    venue: row.venue,
                    date: row.concert_date,
                    sale_opens_at: row.sale_opens_at.map(utc),
                    sale_closed_at: row.sale_closed_at.map(utc),
                    // A CHECK keeps it between 1 and 20.
                    seats_per_user: row.seats_per_user.and_then(|limit| u32::try_from(limit).ok()),
                    total_seats: row.total,
                    available_seats: row.available,
                    unsold_seats: row.unsold,
                    sold_seats: row.sold,
                })
                .collect();
            Ok(Snapshot::new(concerts, utc(now)))
        })
        .await
    }

    /// All seats of a concert, by section and number.
    pub async fn seats(&self, concert: ConcertId) -> Result<Vec<Seat>, Fault> {
        let rows = within(async {
            let rows = sqlx::query!(
                "SELECT id, section, seat_number, price, status, handing_on FROM seats WHERE concert_id = $1",
                concert.as_uuid()
            );
            Ok::<_, Fault>(rows.fetch_all(&self.pool).await?)
        })
        .await?;
        let mut seats = rows
            .into_iter()
            .map(|row| {
                Ok(Seat {
                    id: row.id.into(),
                    number: i64::from(row.seat_number)
                        .try_into()
                        .map_err(|_| unreadable("seat number", &row.seat_number))?,
                    section: row.section,
                    price: money(row.price)?,
                    // Free, but not for everybody.
                    status: if row.handing_on { SeatStatus::Reserved } else { seat_status(&row.status)? },
                })
            })
            .collect::<Result<Vec<Seat>, Fault>>()?;
        // Here, not in SQL: by bytes whatever the database's collation.
        seats.sort_unstable_by(|a, b| (&a.section, a.number).cmp(&(&b.section, b.number)));
        Ok(seats)
    }
}

fn seat_status(text: &str) -> Result<SeatStatus, Fault> {
    match text {
        "available" => Ok(SeatStatus::Available),
        "reserved_temp" => Ok(SeatStatus::Reserved),
        "reserved_final" => Ok(SeatStatus::Sold),
        "held_back" => Ok(SeatStatus::HeldBack),
        other => Err(unreadable("seat status", &other)),
    }
}
