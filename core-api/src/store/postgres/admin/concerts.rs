//! Making concerts and changing them.

use common::ids::{ConcertId, UserId};
use common::money::Money;
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgConnection;

use super::prices::{GIVE_WAY, PriceOf, prices, set_prices};
use super::record::note;
use super::{ManagedRow, Refused, lock_concert, managed};
use crate::domain::Fault;
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::managed::{AdminRefusal, Change, ConcertFacts, ManagedConcert};
use crate::domain::plan::{MAX_SECTIONS, PlannedSection};
use crate::store::postgres::errors::violated;
use crate::store::postgres::idempotency::conclude;
use crate::store::postgres::{Db, within};

/// What is kept of sections that were made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SectionsMade<'a> {
    #[serde(flatten)]
    facts: Option<&'a ConcertFacts>,
    sections: Vec<SectionMade<'a>>,
}

#[derive(Serialize)]
struct SectionMade<'a> {
    name: &'a str,
    seats: u8,
    price: Money,
}

impl<'a> SectionsMade<'a> {
    fn of(facts: Option<&'a ConcertFacts>, sections: &'a [PlannedSection]) -> Self {
        let made = |section: &'a PlannedSection| SectionMade {
            name: &section.name,
            seats: section.seats,
            price: section.price,
        };
        Self { facts, sections: sections.iter().map(made).collect() }
    }
}

/// What is kept of a change, before or after it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    #[serde(flatten)]
    facts: ConcertFacts,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    prices: Vec<PriceOf>,
}

impl Db {
    /// A page of all concerts by date, also of those that are not announced; and how many there are.
    pub async fn managed_concerts(&self, skipped: i64, limit: i64) -> Result<(Vec<ManagedConcert>, i64), Fault> {
        within(async {
            let rows = sqlx::query_as!(
                ManagedRow,
                r#"SELECT c.id, c.name, c.venue, c.concert_date, c.announced_at, c.sale_opens_at, c.sale_closed_at,
                          c.seats_per_user, s.total AS "total!", s.available AS "available!", s.held AS "held!",
                          s.sold AS "sold!", s.held_back AS "held_back!", now_utc() AS "now!"
                   FROM (SELECT * FROM concerts ORDER BY concert_date, id LIMIT $2 OFFSET $1) c
                   CROSS JOIN LATERAL (
                       SELECT count(*) AS total,
                              count(*) FILTER (WHERE status = 'available') AS available,
                              count(*) FILTER (WHERE status = 'reserved_temp') AS held,
                              count(*) FILTER (WHERE status = 'reserved_final') AS sold,
                              count(*) FILTER (WHERE status = 'held_back') AS held_back
                       FROM seats WHERE concert_id = c.id) s
                   ORDER BY c.concert_date, c.id"#,
                skipped,
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            let total =
                sqlx::query_scalar!(r#"SELECT count(*) AS "total!" FROM concerts"#).fetch_one(&self.pool).await?;
            Ok((rows.into_iter().map(ManagedConcert::from).collect(), total))
        })
        .await
    }

    /// A concert, also one that is not announced.
    pub async fn managed_concert(&self, concert: ConcertId) -> Result<Option<ManagedConcert>, Fault> {
        within(async { managed(&mut *self.pool.acquire().await?, concert).await }).await
    }

    /// Makes a concert with its seats.
    pub async fn create_concert(
        &self,
        by: UserId,
        facts: &ConcertFacts,
        sections: &[PlannedSection],
        record: &Record<ManagedConcert>,
    ) -> Result<Done<ManagedConcert>, Refused> {
        within(async {
            let concert = ConcertId::generate();
            let mut transaction = self.pool.begin().await?;
            sqlx::query!(
                "INSERT INTO concerts (id, name, venue, concert_date, announced_at, sale_opens_at, sale_closed_at,
                                       seats_per_user)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                concert.as_uuid(),
                facts.name,
                facts.venue,
                facts.date,
                facts.announced_at.map(|at| at.naive_utc()),
                facts.sale_opens_at.map(|at| at.naive_utc()),
                facts.sale_closes_at.map(|at| at.naive_utc()),
                facts.seats_per_user.and_then(|limit| i32::try_from(limit).ok())
            )
            .execute(&mut *transaction)
            .await?;
            make_seats(&mut transaction, concert, sections).await?;
            let made = SectionsMade::of(Some(facts), sections);
            note(&mut transaction, by, concert, "create", None::<&()>, &made).await?;
            let created = existing(&mut transaction, concert).await?;
            let done = conclude(&mut transaction, record, created).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }

    /// Adds sections to a concert, all or none.
    pub async fn add_sections(
        &self,
        by: UserId,
        concert: ConcertId,
        sections: &[PlannedSection],
        record: &Record<ManagedConcert>,
    ) -> Result<Done<ManagedConcert>, Refused> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            lock_concert(&mut transaction, concert).await?;
            check_new(&mut transaction, concert, sections).await?;
            make_seats(&mut transaction, concert, sections).await?;
            let made = SectionsMade::of(None, sections);
            note(&mut transaction, by, concert, "add_sections", None::<&()>, &made).await?;
            let extended = existing(&mut transaction, concert).await?;
            let done = conclude(&mut transaction, record, extended).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }

    /// Changes a concert. What changes nothing leaves no record.
    pub async fn change_concert(
        &self,
        by: UserId,
        concert: ConcertId,
        change: &Change,
    ) -> Result<ManagedConcert, Refused> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            sqlx::query(GIVE_WAY).execute(&mut *transaction).await?;
            let now = lock_concert(&mut transaction, concert).await?;
            let found = existing(&mut transaction, concert).await?;
            let after = change.apply(&found.facts, now).map_err(EffectError::Refused)?;
            let before =
                State { facts: found.facts.clone(), prices: prices(&mut transaction, concert, change.prices()).await? };
            set_prices(&mut transaction, concert, change.prices()).await?;
            let after = State { prices: prices(&mut transaction, concert, change.prices()).await?, facts: after };
            if before.facts == after.facts && before.prices == after.prices {
                return Ok(found);
            }
            update(&mut transaction, concert, &after.facts).await?;
            note(&mut transaction, by, concert, change.action(), Some(&before), &after).await?;
            let changed = existing(&mut transaction, concert).await?;
            transaction.commit().await?;
            Ok(changed)
        })
        .await
    }
}

async fn existing(connection: &mut PgConnection, concert: ConcertId) -> Result<ManagedConcert, Refused> {
    managed(connection, concert).await?.ok_or(EffectError::Refused(AdminRefusal::UnknownConcert))
}

async fn update(connection: &mut PgConnection, concert: ConcertId, facts: &ConcertFacts) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE concerts SET name = $2, venue = $3, concert_date = $4, announced_at = $5, sale_opens_at = $6,
                             sale_closed_at = $7, seats_per_user = $8
         WHERE id = $1",
        concert.as_uuid(),
        facts.name,
        facts.venue,
        facts.date,
        facts.announced_at.map(|at| at.naive_utc()),
        facts.sale_opens_at.map(|at| at.naive_utc()),
        facts.sale_closes_at.map(|at| at.naive_utc()),
        facts.seats_per_user.and_then(|limit| i32::try_from(limit).ok())
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn make_seats(
    connection: &mut PgConnection,
    concert: ConcertId,
    sections: &[PlannedSection],
) -> Result<(), Refused> {
    let names: Vec<String> = sections.iter().map(|section| section.name.clone()).collect();
    let seats: Vec<i32> = sections.iter().map(|section| i32::from(section.seats)).collect();
    let prices: Vec<Decimal> = sections.iter().map(|section| section.price.as_decimal()).collect();
    sqlx::query!(
        "INSERT INTO seats (id, concert_id, section, seat_number, price)
         SELECT gen_random_uuid(), $1, planned.section, number, planned.price
         FROM unnest($2::text[], $3::int[], $4::numeric[]) AS planned (section, seats, price),
              generate_series(1, planned.seats) AS number",
        concert.as_uuid(),
        &names,
        &seats,
        &prices
    )
    .execute(connection)
    .await
    .map_err(|error| match violated(&error) {
        // Somebody else adds it, without the concert's lock: no code of ours.
        Some("seats_concert_id_section_seat_number_key") => {
            EffectError::Refused(AdminRefusal::SectionExists(String::new()))
        }
        _ => error.into(),
    })?;
    Ok(())
}

/// That none of these sections is there, and that with them there are not too many.
async fn check_new(
    connection: &mut PgConnection,
    concert: ConcertId,
    sections: &[PlannedSection],
) -> Result<(), Refused> {
    let there = sqlx::query_scalar!("SELECT DISTINCT section FROM seats WHERE concert_id = $1", concert.as_uuid())
        .fetch_all(connection)
        .await?;
    if let Some(section) = sections.iter().find(|section| there.contains(&section.name)) {
        return Err(EffectError::Refused(AdminRefusal::SectionExists(section.name.clone())));
    }
    if there.len().saturating_add(sections.len()) > MAX_SECTIONS {
        return Err(EffectError::Refused(AdminRefusal::TooManySections));
    }
    Ok(())
}
