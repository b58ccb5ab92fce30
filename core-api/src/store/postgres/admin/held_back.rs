//! Seats that are kept out of the sale.

use std::collections::{BTreeMap, HashSet};

use common::ids::{ConcertId, SeatId, UserId};
use serde::Serialize;
use sqlx::PgConnection;
use uuid::Uuid;

use super::record::note;
use super::{Refused, lock_concert};
use crate::domain::Fault;
use crate::domain::effect::EffectError;
use crate::domain::managed::{AdminRefusal, HeldBack, SeatsMeant};
use crate::domain::seat::{Seat, SeatStatus};
use crate::store::postgres::{Db, money, unreadable, within};

/// How many of the seats that can't be held back are told by name.
const MAX_NAMED: usize = 5;

/// A seat as this file needs it.
struct Found {
    id: Uuid,
    section: String,
    seat_number: i32,
    status: String,
}

/// What is kept of a change, before and after it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Count {
    held_back: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CountAndSeats<'a> {
    held_back: i64,
    /// Numbers by section.
    seats: BTreeMap<&'a str, Vec<i32>>,
}

impl Db {
    /// Keeps seats out of the sale, all or none. Those that are held or sold, or locked by somebody who is about to hold
    /// them, are not waited for but refused: two that lock many seats at once must never wait for each other.
    pub async fn hold_back(&self, by: UserId, concert: ConcertId, meant: &SeatsMeant) -> Result<HeldBack, Refused> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            lock_concert(&mut transaction, concert).await?;
            let found = find(&mut transaction, concert, meant).await?;
            let wanted: Vec<&Found> = found.iter().filter(|seat| seat.status != "held_back").collect();
            let ids: Vec<Uuid> = wanted.iter().map(|seat| seat.id).collect();
            let changed = sqlx::query_scalar!(
                "WITH free AS (
                     SELECT id FROM seats WHERE id = ANY($1) AND status = 'available' FOR NO KEY UPDATE SKIP LOCKED)
                 UPDATE seats s SET status = 'held_back' FROM free
                 WHERE s.id = free.id AND s.status = 'available' RETURNING s.id",
                &ids
            )
            .fetch_all(&mut *transaction)
            .await?;
            let changed: HashSet<Uuid> = changed.into_iter().collect();
            let taken: Vec<String> = wanted
                .iter()
                .filter(|seat| !changed.contains(&seat.id))
                .take(MAX_NAMED)
                .map(|seat| seat.name())
                .collect();
            if !taken.is_empty() {
                return Err(EffectError::Refused(AdminRefusal::SeatsTaken(taken)));
            }
            let done = conclude(&mut transaction, by, concert, "hold_back", &wanted).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }

    /// Which of these seats are held back now.
    pub async fn held_back_among(&self, concert: ConcertId, meant: &SeatsMeant) -> Result<Vec<SeatId>, Refused> {
        within(async {
            let mut connection = self.pool.acquire().await?;
            if super::managed(&mut connection, concert).await?.is_none() {
                return Err(EffectError::Refused(AdminRefusal::UnknownConcert));
            }
            let found = find(&mut connection, concert, meant).await?;
            Ok(found.into_iter().filter(|seat| seat.status == "held_back").map(|seat| seat.id.into()).collect())
        })
        .await
    }

    /// Puts seats back into the sale; those that are not held back stay as they are.
    pub async fn release_held_back(
        &self,
        by: UserId,
        concert: ConcertId,
        seats: &[SeatId],
    ) -> Result<HeldBack, Refused> {
        within(async {
            let ids: Vec<Uuid> = seats.iter().map(|seat| seat.as_uuid()).collect();
            let mut transaction = self.pool.begin().await?;
            lock_concert(&mut transaction, concert).await?;
            let released = sqlx::query_as!(
                Found,
                "UPDATE seats SET status = 'available'
                 WHERE id = ANY($1) AND concert_id = $2 AND status = 'held_back'
                 RETURNING id, section, seat_number, status",
                &ids,
                concert.as_uuid()
            )
            .fetch_all(&mut *transaction)
            .await?;
            let released: Vec<&Found> = released.iter().collect();
            let done = conclude(&mut transaction, by, concert, "release", &released).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }

    /// A page of the seats that are held back, by section and number; and how many there are. `None` where there is no
    /// such concert.
    pub async fn held_back(
        &self,
        concert: ConcertId,
        skipped: i64,
        limit: i64,
    ) -> Result<Option<(Vec<Seat>, i64)>, Fault> {
        within(async {
            let mut connection = self.pool.acquire().await?;
            let there = sqlx::query_scalar!(
                r#"SELECT (SELECT count(*) FROM seats WHERE concert_id = c.id AND status = 'held_back') AS "count!"
                   FROM concerts c WHERE id = $1"#,
                concert.as_uuid()
            )
            .fetch_optional(&mut *connection)
            .await?;
            let Some(total) = there else { return Ok(None) };
            let rows = sqlx::query!(
                r#"SELECT id, section, seat_number, price FROM seats WHERE concert_id = $1 AND status = 'held_back'
                   ORDER BY section COLLATE "C", seat_number LIMIT $3 OFFSET $2"#,
                concert.as_uuid(),
                skipped,
                limit
            )
            .fetch_all(&mut *connection)
            .await?;
            let seats = rows.into_iter().map(|row| {
                let number = i64::from(row.seat_number).try_into();
                Ok(Seat {
                    id: row.id.into(),
                    number: number.map_err(|_| unreadable("seat number", &row.seat_number))?,
                    section: row.section,
                    price: money(row.price)?,
                    status: SeatStatus::HeldBack,
                })
            });
            Ok(Some((seats.collect::<Result<_, Fault>>()?, total)))
        })
        .await
    }
}

impl Found {
    /// As people call it.
    fn name(&self) -> String {
        format!("{} {}", self.section, self.seat_number)
    }
}

/// The seats that are meant, all of which must be the concert's.
async fn find(connection: &mut PgConnection, concert: ConcertId, meant: &SeatsMeant) -> Result<Vec<Found>, Refused> {
    match meant {
        SeatsMeant::Ids(ids) => {
            let ids: HashSet<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
            let ids: Vec<Uuid> = ids.into_iter().collect();
            let found = sqlx::query_as!(
                Found,
                "SELECT id, section, seat_number, status FROM seats WHERE concert_id = $1 AND id = ANY($2)",
                concert.as_uuid(),
                &ids
            )
            .fetch_all(connection)
            .await?;
            let all = found.len() == ids.len();
            all.then_some(found).ok_or(EffectError::Refused(AdminRefusal::UnknownSeats))
        }
        SeatsMeant::Range { section, from, to } => {
            let found = sqlx::query_as!(
                Found,
                "SELECT id, section, seat_number, status FROM seats
                 WHERE concert_id = $1 AND section = $2 AND seat_number BETWEEN $3 AND $4",
                concert.as_uuid(),
                section.as_str(),
                i32::from(from.get()),
                i32::from(to.get())
            )
            .fetch_all(connection)
            .await?;
            if found.is_empty() {
                return Err(EffectError::Refused(AdminRefusal::UnknownSection(section.as_str().to_owned())));
            }
            Ok(found)
        }
    }
}

/// Keeps a record of seats whose state was changed, if any was.
async fn conclude(
    connection: &mut PgConnection,
    by: UserId,
    concert: ConcertId,
    action: &str,
    changed: &[&Found],
) -> Result<HeldBack, Refused> {
    let held_back = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM seats WHERE concert_id = $1 AND status = 'held_back'"#,
        concert.as_uuid()
    )
    .fetch_one(&mut *connection)
    .await?;
    if !changed.is_empty() {
        let number = i64::try_from(changed.len()).unwrap_or(i64::MAX);
        let before = if action == "release" { held_back + number } else { held_back - number };
        let mut seats: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for seat in changed {
            seats.entry(&seat.section).or_default().push(seat.seat_number);
        }
        for numbers in seats.values_mut() {
            numbers.sort_unstable();
        }
        let after = CountAndSeats { held_back, seats };
        note(connection, by, concert, action, Some(&Count { held_back: before }), &after).await?;
    }
    Ok(HeldBack { changed: changed.iter().map(|seat| seat.id.into()).collect(), held_back })
}
