//! What demo data needs beyond what the service itself does: concerts.

use common::ids::{ConcertId, UserId};
use common::money::Money;

use super::{Db, money, within};
use crate::domain::Fault;

/// A concert to be made.
#[derive(Debug, Clone)]
pub struct DemoConcert {
    /// Its id, the same on every machine.
    pub id: ConcertId,
    /// What it is called.
    pub name: &'static str,
    /// Where it is.
    pub venue: &'static str,
    /// In how many days.
    pub days_ahead: i32,
    /// In how many days its sale opens; `None`: it is open.
    pub opens_in_days: Option<i32>,
    /// How many sections; up to 26 they are letters, beyond that numbers of three digits.
    pub sections: i32,
    /// How many seats each section has, 1–50.
    pub seats_per_section: i32,
    /// What a seat of the first section costs; the last section costs half.
    pub price: Money,
}

/// A user as demo data needs it.
#[derive(Debug, Clone, Copy)]
pub struct DemoUser {
    /// Which one.
    pub id: UserId,
    /// What they can pay with.
    pub balance: Money,
}

impl Db {
    /// Makes a concert with its seats; where it is there already, moves its dates ahead once they have passed.
    pub async fn make_demo_concert(&self, concert: &DemoConcert) -> Result<(), Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            sqlx::query!(
                "INSERT INTO concerts AS c (id, name, venue, concert_date, sale_opens_at)
                 SELECT $1, $2, $3, at::date + $4::int, at + make_interval(days => $5::int) FROM now_utc() AS at
                 ON CONFLICT (id) DO UPDATE
                 SET concert_date = EXCLUDED.concert_date, sale_opens_at = EXCLUDED.sale_opens_at
                 WHERE c.concert_date <= now_utc()::date",
                concert.id.as_uuid(),
                concert.name,
                concert.venue,
                concert.days_ahead,
                concert.opens_in_days
            )
            .execute(&mut *transaction)
            .await?;
            sqlx::query!(
                "INSERT INTO seats (id, concert_id, section, seat_number, price)
                 SELECT gen_random_uuid(), $1,
                        CASE WHEN $2 <= 26 THEN chr(64 + section) ELSE lpad(section::text, 3, '0') END, number,
                        round($4::numeric * (1 - (section - 1) / (2.0 * $2)), -3)
                 FROM generate_series(1, $2::int) AS section, generate_series(1, $3::int) AS number
                 ON CONFLICT ON CONSTRAINT seats_concert_id_section_seat_number_key DO NOTHING",
                concert.id.as_uuid(),
                concert.sections,
                concert.seats_per_section,
                concert.price.as_decimal()
            )
            .execute(&mut *transaction)
            .await?;
            Ok(transaction.commit().await?)
        })
        .await
    }

    /// The user with this email.
    pub async fn demo_user(&self, email: &str) -> Result<Option<DemoUser>, Fault> {
        within(async {
            let row = sqlx::query!("SELECT id, balance FROM users WHERE email = $1", email)
                .fetch_optional(&self.pool)
                .await?;
            row.map(|row| Ok(DemoUser { id: row.id.into(), balance: money(row.balance)? })).transpose()
        })
        .await
    }
}
