//! Giving reservations back: held ones as they are, paid ones for their money.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use common::ids::{ConcertId, ReservationId, UserId};
use common::money::Money;
use sqlx::PgConnection;
use uuid::Uuid;

use super::provider::{refund_is_due, refund_to_provider};
use super::reservations::status;
use super::{Db, money, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::refund::{RefundRefusal, decide, in_time};
use crate::domain::reservation::{CancelError, Canceled, Refunded, ReservationStatus, SeatLock};

impl Db {
    /// Gives a reservation back: the seat is free when this returns, and a paid one's money is with the user again.
    /// Refunds end `until` before the concert's day. Where it was given back before, this changes nothing and tells
    /// the same.
    pub async fn cancel(&self, user: UserId, id: ReservationId, until: TimeDelta) -> Result<Canceled, CancelError> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let row = sqlx::query!(
                "SELECT status, amount, concert_id, seat_id, hold_fence FROM reservations
                 WHERE id = $1 AND user_id = $2 FOR UPDATE",
                id.as_uuid(),
                user.as_uuid()
            )
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(CancelError::Unknown)?;
            let lock = |fence| SeatLock { concert: row.concert_id.into(), seat: row.seat_id.into(), user, fence };
            let lock = row.hold_fence.map(lock);
            let status = status(&row.status)?;
            let refunded = match status {
                // Its lock may have outlived it, where the process died before releasing it.
                ReservationStatus::Canceled => refunded(&mut transaction, id).await?,
                ReservationStatus::Completed => {
                    let (concert, amount) = (row.concert_id.into(), money(row.amount)?);
                    Some(refund_paid(&mut transaction, user, id, concert, amount, until).await?)
                }
                ReservationStatus::Pending => {
                    free(&mut transaction, id).await?;
                    None
                }
            };
            transaction.commit().await?;
            Ok(Canceled { lock, refunded, had_ended: status == ReservationStatus::Canceled })
        })
        .await
    }
}

/// What went back for a reservation before.
async fn refunded(connection: &mut PgConnection, id: ReservationId) -> Result<Option<Refunded>, CancelError> {
    let row = sqlx::query!(
        r#"SELECT p.amount, p.provider_payment_id, r.next_look_at IS NOT NULL AS "is_due!"
           FROM payments p LEFT JOIN provider_refunds r ON r.payment_id = p.id
           WHERE p.reservation_id = $1 AND p.refunded_at IS NOT NULL"#,
        id.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    let refunded = row.map(|row| {
        Ok::<_, Fault>(Refunded { amount: money(row.amount)?, settled: row.provider_payment_id.map(|_| !row.is_due) })
    });
    Ok(refunded.transpose()?)
}

/// Gives a completed reservation, whose row is locked, back for its money: to the balance, or through the provider by
/// which it was paid.
async fn refund_paid(
    connection: &mut PgConnection,
    user: UserId,
    id: ReservationId,
    concert: ConcertId,
    amount: Money,
    until: TimeDelta,
) -> Result<Refunded, CancelError> {
    // Asked once the reservation is locked, and so after whoever let it in.
    if is_checked_in(connection, id).await? {
        return Err(CancelError::Refused(RefundRefusal::CheckedIn));
    }
    let Some(paid) = refund_is_due(connection, id).await? else {
        refund(connection, user, id, concert, amount, until).await?;
        return Ok(Refunded { amount, settled: None });
    };
    let row =
        sqlx::query!(r#"SELECT concert_date, now_utc() AS "now!" FROM concerts WHERE id = $1"#, concert.as_uuid())
            .fetch_one(&mut *connection)
            .await?;
    let now = utc(row.now);
    in_time(row.concert_date, until, now).map_err(CancelError::Refused)?;
    refund_to_provider(connection, id, paid, amount, now).await?;
    Ok(Refunded { amount, settled: Some(amount.is_zero()) })
}

/// Ends a pending reservation.
async fn free(connection: &mut PgConnection, id: ReservationId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "WITH canceled AS (UPDATE reservations SET status = 'canceled' WHERE id = $1 RETURNING seat_id)
         UPDATE seats s SET status = 'available' FROM canceled c
         WHERE s.id = c.seat_id AND s.status = 'reserved_temp'",
        id.as_uuid()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a completed reservation whose row is locked, if the policy allows it.
async fn refund(
    connection: &mut PgConnection,
    user: UserId,
    id: ReservationId,
    concert: ConcertId,
    amount: Money,
    until: TimeDelta,
) -> Result<(), CancelError> {
    let (balance, date, now) = lock_balance(connection, user, concert).await?;
    let balance = decide(balance, amount, date, until, now).map_err(CancelError::Refused)?;
    let written = sqlx::query!(
        r#"WITH refunded AS (
               UPDATE payments SET refunded_at = $5
               WHERE reservation_id = $2 AND payment_status = 'success' AND refunded_at IS NULL RETURNING id
           ), credited AS (
               UPDATE users SET balance = $3 WHERE id = $1
           ), entries AS (
               -- Nothing moves where nothing was paid.
               INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind, reservation_id)
               SELECT $6::uuid, account, CASE account WHEN 'user' THEN $1::uuid END, sign * $4::numeric, 'refund', $2
               FROM (VALUES ('sales', -1), ('user', 1)) AS side (account, sign)
               WHERE $4::numeric > 0
           ), canceled AS (
               UPDATE reservations SET status = 'canceled', completed_at = NULL WHERE id = $2 RETURNING seat_id
           ), freed AS (
               UPDATE seats s SET status = 'available' FROM canceled c
               WHERE s.id = c.seat_id AND s.status = 'reserved_final' RETURNING s.id
           )
           SELECT (SELECT count(*) FROM refunded) AS "refunded!", (SELECT count(*) FROM freed) AS "freed!""#,
        user.as_uuid(),
        id.as_uuid(),
        balance.as_decimal(),
        amount.as_decimal(),
        now.naive_utc(),
        Uuid::now_v7()
    )
    .fetch_one(connection)
    .await?;
    if written.refunded == 1 && written.freed == 1 {
        Ok(())
    } else {
        // The transaction is given up: a paid reservation has its payment and its seat, or we have a fault.
        Err(unreadable("payment", &id).into())
    }
}

/// Whether a reservation's ticket was let in.
async fn is_checked_in(connection: &mut PgConnection, id: ReservationId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM check_ins WHERE reservation_id = $1 AND undone_at IS NULL) AS "is_checked_in!""#,
        id.as_uuid()
    )
    .fetch_one(connection)
    .await
}

/// Locks the user's balance; the balance, the concert's day, and the time once everything was locked.
async fn lock_balance(
    connection: &mut PgConnection,
    user: UserId,
    concert: ConcertId,
) -> Result<(Money, NaiveDate, DateTime<Utc>), CancelError> {
    let row = sqlx::query!(
        r#"WITH locked AS MATERIALIZED (SELECT balance FROM users WHERE id = $1 FOR NO KEY UPDATE)
           SELECT locked.balance, c.concert_date, now_utc() AS "now!" FROM locked, concerts c WHERE c.id = $2"#,
        user.as_uuid(),
        concert.as_uuid()
    )
    .fetch_optional(connection)
    .await?
    .ok_or_else(|| Fault::Internal("a paid reservation without its user or concert".to_owned()))?;
    Ok((money(row.balance)?, row.concert_date, utc(row.now)))
}
