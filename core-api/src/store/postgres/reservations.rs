//! Reservations: holding, settling, reading, canceling.
//!
//! Locks are always taken in the order reservations (by id), user, seats, so that no two transactions wait for each
//! other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, NaiveDateTime, Utc};
use common::ids::{ConcertId, ReservationId, SeatId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::errors::violated;
use super::idempotency::conclude;
use super::{Db, money, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::reservation::{Held, HeldSeat, Order, Reservation, ReservationStatus, ReserveRefusal};

/// Seats that are locked in Redis, about to become reservations.
#[derive(Debug, Clone)]
pub struct NewHold {
    /// Whose and which.
    pub order: Order,
    /// The id that each seat's reservation gets, in the order of the seats.
    pub ids: Vec<ReservationId>,
    /// The locks' fence number.
    pub fence: i64,
}

/// The rules of holding.
#[derive(Debug, Clone, Copy)]
pub struct HoldRules {
    /// How long a reservation can be paid for.
    pub hold_seconds: u32,
    /// By how much that can be extended, once; 0 is never.
    pub extend_seconds: u32,
    /// How many live seats a user may have of a concert that has no limit of its own.
    pub seats_per_user: u32,
}

/// A reservation as the transaction that makes it sees it.
pub(super) struct HeldRow {
    id: Uuid,
    seat_id: Uuid,
    amount: rust_decimal::Decimal,
    reserved_at: NaiveDateTime,
    payment_deadline: NaiveDateTime,
}

impl Db {
    /// Writes the reservations of a hold: all or none. This is where a seat is sold at most once, whatever Redis said.
    /// After a fault nothing was written; where that can't be known the error is `Unsettled`.
    pub async fn hold(
        &self,
        hold: &NewHold,
        rules: HoldRules,
        record: &Record<Held>,
    ) -> Result<Done<Held>, EffectError<ReserveRefusal>> {
        let committing = AtomicBool::new(false);
        let written = within(async {
            if record.claim.is_none() {
                // One statement is a transaction of its own.
                let mut connection = self.pool.acquire().await?;
                committing.store(true, Ordering::Relaxed);
                let rows = hold_seats(&mut connection, hold, rules, For::Everybody).await?;
                return conclude(&mut connection, record, held(hold, rows)?).await;
            }
            let mut transaction = self.pool.begin().await?;
            let rows = hold_seats(&mut transaction, hold, rules, For::Everybody).await?;
            let done = conclude(&mut transaction, record, held(hold, rows)?).await?;
            committing.store(true, Ordering::Relaxed);
            transaction.commit().await?;
            Ok(done)
        });
        written.await.map_err(|error| match error {
            EffectError::Fault(fault) if committing.load(Ordering::Relaxed) => EffectError::Unsettled(fault),
            error => error,
        })
    }

    /// What became of a hold whose transaction was not seen to end: its reservations if it was committed, `None` if
    /// it was not and never will be. Waits, a bounded time, for that transaction to end.
    pub async fn settle(&self, hold: &NewHold) -> Result<Option<Held>, Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            lock_user_of_concert(&mut transaction, &hold.order).await?;
            let ids: Vec<Uuid> = hold.ids.iter().map(|id| id.as_uuid()).collect();
            let rows = sqlx::query_as!(
                HeldRow,
                "SELECT id, seat_id, amount, reserved_at, payment_deadline FROM reservations WHERE id = ANY($1)",
                &ids
            )
            .fetch_all(&mut *transaction)
            .await?;
            transaction.rollback().await?;
            if rows.is_empty() { Ok(None) } else { held(hold, rows).map(Some) }
        })
        .await
    }

    /// Whether a user holds seats of a concert that can still be paid for.
    pub async fn has_pending(&self, user: UserId, concert: ConcertId) -> Result<bool, Fault> {
        within(async {
            let pending = sqlx::query_scalar!(
                r#"SELECT EXISTS (
                       SELECT FROM reservations WHERE user_id = $1 AND concert_id = $2 AND status = 'pending'
                          AND payment_deadline > (SELECT now_utc())) AS "pending!""#,
                user.as_uuid(),
                concert.as_uuid()
            );
            Ok::<_, Fault>(pending.fetch_one(&self.pool).await?)
        })
        .await
    }

    /// One of a user's reservations.
    pub async fn reservation(&self, user: UserId, id: ReservationId) -> Result<Option<Reservation>, Fault> {
        within(async {
            sqlx::query_as!(
                ReservationRow,
                r#"SELECT r.id, r.concert_id, r.seat_id, r.status, r.amount, r.reserved_at, r.payment_deadline,
                          r.completed_at, r.extended_at, s.section, s.seat_number, s.price, now_utc() AS "read_at!"
                   FROM reservations r JOIN seats s ON s.id = r.seat_id
                   WHERE r.id = $1 AND r.user_id = $2"#,
                id.as_uuid(),
                user.as_uuid()
            )
            .fetch_optional(&self.pool)
            .await?
            .map(Reservation::try_from)
            .transpose()
        })
        .await
    }

    /// At most `limit` of a user's reservations, the newest first, older than the one named.
    pub async fn reservations(
        &self,
        user: UserId,
        before: Option<ReservationId>,
        limit: i64,
    ) -> Result<Vec<Reservation>, Fault> {
        within(async {
            sqlx::query_as!(
                ReservationRow,
                r#"SELECT r.id, r.concert_id, r.seat_id, r.status, r.amount, r.reserved_at, r.payment_deadline,
                          r.completed_at, r.extended_at, s.section, s.seat_number, s.price, now_utc() AS "read_at!"
                   FROM reservations r JOIN seats s ON s.id = r.seat_id
                   WHERE r.user_id = $1 AND ($2::uuid IS NULL OR r.id < $2)
                   ORDER BY r.id DESC LIMIT $3"#,
                user.as_uuid(),
                before.map(ReservationId::as_uuid),
                limit
            )
            .fetch_all(&self.pool)
            .await?
            .into_iter()
            .map(Reservation::try_from)
            .collect()
        })
        .await
    }
}

/// From here to the end of the transaction nobody else changes what this user has of this concert, see `hold_seats`.
async fn lock_user_of_concert(transaction: &mut PgConnection, order: &Order) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", hold_lock(order))
        .execute(transaction)
        .await?;
    Ok(())
}

/// The name of that lock, as `hold_seats` makes it.
pub(super) fn hold_lock(order: &Order) -> String {
    format!("hold:{}:{}", order.concert, order.user)
}

/// For whom seats are held: one that has come free is first theirs who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Everybody,
    WhoWaits,
}

/// Holds all the seats or none. After a refusal the transaction is to be given up.
pub(super) async fn hold_seats(
    connection: &mut PgConnection,
    hold: &NewHold,
    rules: HoldRules,
    whom: For,
) -> Result<Vec<HeldRow>, EffectError<ReserveRefusal>> {
    let ids: Vec<Uuid> = hold.ids.iter().map(|id| id.as_uuid()).collect();
    let seats: Vec<Uuid> = hold.order.seats.iter().map(|seat| seat.id.as_uuid()).collect();
    let rows = sqlx::query_as!(
        HeldRow,
        r#"SELECT id AS "id!", seat_id AS "seat_id!", amount AS "amount!", reserved_at AS "reserved_at!",
                  payment_deadline AS "payment_deadline!"
           FROM hold_seats($1, $2, $3, $4, $5, $6, $7, $8)"#,
        &ids,
        &seats,
        hold.order.user.as_uuid(),
        hold.order.concert.as_uuid(),
        hold.fence,
        i32::try_from(rules.seats_per_user).unwrap_or(i32::MAX),
        f64::from(rules.hold_seconds),
        whom == For::WhoWaits
    )
    .fetch_all(connection)
    .await
    .map_err(|error| match violated(&error) {
        Some("reservations_live_seat_id_key") => EffectError::Refused(ReserveRefusal::SeatTaken),
        Some("reservations_user_id_fkey") => EffectError::Refused(ReserveRefusal::UnknownUser),
        _ => EffectError::from(error),
    })?;
    if rows.is_empty() { Err(EffectError::Refused(ReserveRefusal::SeatLimit)) } else { Ok(rows) }
}

/// The reservations in the order they were asked for.
fn held(hold: &NewHold, rows: Vec<HeldRow>) -> Result<Held, Fault> {
    let first = rows.first().ok_or_else(|| unreadable("hold", &"no rows"))?;
    let (reserved_at, expires_at) = (utc(first.reserved_at), utc(first.payment_deadline));
    let mut by_seat: HashMap<SeatId, HeldRow> = rows.into_iter().map(|row| (row.seat_id.into(), row)).collect();
    let reservations = hold
        .order
        .seats
        .iter()
        .map(|seat| {
            let row = by_seat.remove(&seat.id).ok_or_else(|| unreadable("hold", &seat.id))?;
            let amount = money(row.amount)?;
            Ok(HeldSeat { reservation: row.id.into(), seat: seat.clone(), amount })
        })
        .collect::<Result<_, Fault>>()?;
    Ok(Held { reservations, reserved_at, expires_at })
}

/// A status as it stands in the database.
pub(super) fn status(text: &str) -> Result<ReservationStatus, Fault> {
    ReservationStatus::parse(text).ok_or_else(|| unreadable("reservation status", &text))
}

struct ReservationRow {
    id: Uuid,
    concert_id: Uuid,
    seat_id: Uuid,
    status: String,
    amount: rust_decimal::Decimal,
    reserved_at: NaiveDateTime,
    payment_deadline: NaiveDateTime,
    completed_at: Option<NaiveDateTime>,
    extended_at: Option<NaiveDateTime>,
    section: String,
    seat_number: i32,
    price: rust_decimal::Decimal,
    read_at: NaiveDateTime,
}

impl TryFrom<ReservationRow> for Reservation {
    type Error = Fault;

    fn try_from(row: ReservationRow) -> Result<Self, Fault> {
        let time = |time: Option<NaiveDateTime>| -> Option<DateTime<Utc>> { time.map(utc) };
        Ok(Self {
            id: row.id.into(),
            concert: row.concert_id.into(),
            status: status(&row.status)?,
            amount: money(row.amount)?,
            seat: row.seat_id.into(),
            seat_number: i64::from(row.seat_number)
                .try_into()
                .map_err(|_| unreadable("seat number", &row.seat_number))?,
            section: row.section,
            price: money(row.price)?,
            reserved_at: utc(row.reserved_at),
            expires_at: utc(row.payment_deadline),
            completed_at: time(row.completed_at),
            extended_at: time(row.extended_at),
            read_at: utc(row.read_at),
        })
    }
}
