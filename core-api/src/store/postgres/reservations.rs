//! Reservations: holding, settling, reading, canceling.
//!
//! Locks are always taken in the order reservations (by id), user, seats, so that no two transactions wait for each
//! other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, NaiveDateTime, Utc};
use common::ids::{ConcertId, ReservationId, SeatId, UserId};
use sqlx::{PgConnection, Postgres, Transaction};
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
            let mut transaction = self.pool.begin().await?;
            lock_user_of_concert(&mut transaction, &hold.order).await?;
            check_limit(&mut transaction, &hold.order, rules).await?;
            let rows = insert_pending(&mut transaction, hold, rules).await?;
            if rows.len() != hold.ids.len() || !mark_reserved(&mut transaction, &hold.order, For::Everybody).await? {
                return Err(EffectError::Refused(ReserveRefusal::SeatTaken));
            }
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

/// From here to the end of the transaction nobody else changes what this user has of this concert.
pub(super) async fn lock_user_of_concert(transaction: &mut PgConnection, order: &Order) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        format!("hold:{}:{}", order.concert, order.user)
    )
    .execute(transaction)
    .await?;
    Ok(())
}

pub(super) async fn check_limit(
    transaction: &mut PgConnection,
    order: &Order,
    rules: HoldRules,
) -> Result<(), EffectError<ReserveRefusal>> {
    let row = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM reservations
                   WHERE user_id = $1 AND concert_id = $2 AND status IN ('pending', 'completed')) AS "live!",
                  (SELECT seats_per_user FROM concerts WHERE id = $2) AS seats_per_user"#,
        order.user.as_uuid(),
        order.concert.as_uuid()
    )
    .fetch_one(transaction)
    .await?;
    let limit = row.seats_per_user.map_or_else(|| i64::from(rules.seats_per_user), i64::from);
    let wanted = i64::try_from(order.seats.len()).unwrap_or(i64::MAX);
    if row.live.saturating_add(wanted) > limit {
        return Err(EffectError::Refused(ReserveRefusal::SeatLimit));
    }
    Ok(())
}

/// Rows for those seats that are free; fewer than asked for where one is not.
pub(super) async fn insert_pending(
    transaction: &mut Transaction<'_, Postgres>,
    hold: &NewHold,
    rules: HoldRules,
) -> Result<Vec<HeldRow>, EffectError<ReserveRefusal>> {
    let ids: Vec<Uuid> = hold.ids.iter().map(|id| id.as_uuid()).collect();
    let seats: Vec<Uuid> = hold.order.seats.iter().map(|seat| seat.id.as_uuid()).collect();
    sqlx::query_as!(
        HeldRow,
        "INSERT INTO reservations (id, user_id, concert_id, seat_id, amount, reserved_at, payment_deadline, hold_fence)
         SELECT wanted.id, $3, s.concert_id, s.id, s.price, at, at + make_interval(secs => $5), $6
         FROM now_utc() AS at, unnest($1::uuid[], $2::uuid[]) AS wanted (id, seat_id)
         JOIN seats s ON s.id = wanted.seat_id
         WHERE s.concert_id = $4 AND s.status = 'available'
         ORDER BY s.id
         RETURNING id, seat_id, amount, reserved_at, payment_deadline",
        &ids,
        &seats,
        hold.order.user.as_uuid(),
        hold.order.concert.as_uuid(),
        f64::from(rules.hold_seconds),
        hold.fence
    )
    .fetch_all(&mut **transaction)
    .await
    .map_err(|error| match violated(&error) {
        Some("reservations_live_seat_id_key") => EffectError::Refused(ReserveRefusal::SeatTaken),
        Some("reservations_user_id_fkey") => EffectError::Refused(ReserveRefusal::UnknownUser),
        _ => error.into(),
    })
}

/// For whom seats are marked: one that has come free is first theirs who wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Everybody,
    WhoWaits,
}

/// Whether all seats were free to be marked.
pub(super) async fn mark_reserved(
    transaction: &mut PgConnection,
    order: &Order,
    whom: For,
) -> Result<bool, sqlx::Error> {
    let seats: Vec<Uuid> = order.seats.iter().map(|seat| seat.id.as_uuid()).collect();
    let marked = sqlx::query!(
        "UPDATE seats SET status = 'reserved_temp'
         WHERE id = ANY($1) AND status = 'available' AND (NOT handing_on OR $2)",
        &seats,
        whom == For::WhoWaits
    )
    .execute(transaction)
    .await?;
    Ok(usize::try_from(marked.rows_affected()).is_ok_and(|marked| marked == seats.len()))
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
