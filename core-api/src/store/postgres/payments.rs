//! Paying from the balance.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use common::ids::{PaymentId, ReservationId, UserId};
use common::money::Money;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::idempotency::conclude;
use super::reservations::status;
use super::{Db, money, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::payment::{Bill, LockedReservation, Paid, PaidReservation, PayRefusal, decide};
use crate::domain::reservation::SeatLock;

/// How a payment is made, as the database names it.
pub(super) const METHOD: &str = "balance";

/// A reservation whose row is locked, with what paying for it needs to know.
pub(super) struct Locked {
    pub(super) reservation: LockedReservation,
    pub(super) lock: SeatLock,
}

impl Db {
    /// Pays for a user's reservations, all or none, decided under the locks of their rows and the user's.
    pub async fn pay(
        &self,
        user: UserId,
        reservations: &[ReservationId],
        record: &Record<Paid>,
    ) -> Result<Done<Paid>, EffectError<PayRefusal>> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let locked = lock_reservations(&mut transaction, user, reservations).await?;
            let (balance, now) =
                lock_balance(&mut transaction, user).await?.ok_or(EffectError::Refused(PayRefusal::UnknownUser))?;
            let facts: Vec<LockedReservation> = locked.values().map(|locked| locked.reservation).collect();
            let bill = decide(reservations.len(), &facts, balance, now).map_err(EffectError::Refused)?;
            let paid = paid(bill, reservations, &locked)?;
            write(&mut transaction, user, &paid, now).await?;
            let done = conclude(&mut transaction, record, paid).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }
}

/// Locks the user's own among `reservations`, in the order of their ids.
pub(super) async fn lock_reservations(
    connection: &mut PgConnection,
    user: UserId,
    reservations: &[ReservationId],
) -> Result<HashMap<ReservationId, Locked>, Fault> {
    let ids: Vec<Uuid> = reservations.iter().map(|id| id.as_uuid()).collect();
    let rows = sqlx::query!(
        "SELECT id, concert_id, seat_id, status, amount, payment_deadline, paying_until, hold_fence FROM reservations
         WHERE id = ANY($1) AND user_id = $2 ORDER BY id FOR UPDATE",
        &ids,
        user.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let id = ReservationId::from(row.id);
            let reservation = LockedReservation {
                id,
                status: status(&row.status)?,
                amount: money(row.amount)?,
                deadline: utc(row.payment_deadline),
                paying_until: row.paying_until.map(utc),
            };
            // A reservation without a fence has no lock; 0 is nobody's fence, so nothing is released for it.
            let fence = row.hold_fence.unwrap_or(0);
            let lock = SeatLock { concert: row.concert_id.into(), seat: row.seat_id.into(), user, fence };
            Ok((id, Locked { reservation, lock }))
        })
        .collect()
}

/// Locks the user's balance; the balance, and the time once everything was locked.
async fn lock_balance(connection: &mut PgConnection, user: UserId) -> Result<Option<(Money, DateTime<Utc>)>, Fault> {
    // The time is asked of what has been locked, so that it is told after the wait for the lock.
    let row = sqlx::query!(
        r#"WITH locked AS MATERIALIZED (SELECT balance FROM users WHERE id = $1 FOR NO KEY UPDATE)
           SELECT balance, now_utc() AS "now!" FROM locked"#,
        user.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((money(row.balance)?, utc(row.now)))).transpose()
}

fn paid(bill: Bill, wanted: &[ReservationId], locked: &HashMap<ReservationId, Locked>) -> Result<Paid, Fault> {
    let payments = wanted
        .iter()
        .map(|id| {
            let locked = locked.get(id).ok_or_else(|| unreadable("payment", id))?;
            Ok(PaidReservation {
                payment: PaymentId::generate(),
                reservation: *id,
                amount: locked.reservation.amount,
                lock: locked.lock,
            })
        })
        .collect::<Result<_, Fault>>()?;
    Ok(Paid { bill, payments })
}

/// Debit, ledger, payments, reservations and seats in one statement.
async fn write(connection: &mut PgConnection, user: UserId, paid: &Paid, now: DateTime<Utc>) -> Result<(), Fault> {
    let each = |id: fn(&PaidReservation) -> Uuid| paid.payments.iter().map(id).collect::<Vec<Uuid>>();
    let amounts: Vec<Decimal> = paid.payments.iter().map(|payment| payment.amount.as_decimal()).collect();
    let transfers: Vec<Uuid> = paid.payments.iter().map(|_| Uuid::now_v7()).collect();
    let written = sqlx::query!(
        r#"WITH paid AS (
               SELECT * FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::numeric[], $7::uuid[])
                   AS paid (payment_id, reservation_id, seat_id, amount, transfer_id)
           ), debited AS (
               UPDATE users SET balance = $2 WHERE id = $1
           ), entries AS (
               -- Nothing moves where nothing is to be paid.
               INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind, reservation_id)
               SELECT transfer_id, account, CASE account WHEN 'user' THEN $1::uuid END, sign * amount, 'payment',
                      reservation_id
               FROM paid, (VALUES ('user', -1), ('sales', 1)) AS side (account, sign)
               WHERE amount > 0
           ), payments_made AS (
               INSERT INTO payments (id, reservation_id, user_id, amount, payment_status, payment_method)
               SELECT payment_id, reservation_id, $1, amount, 'success', $8 FROM paid
           ), completed AS (
               UPDATE reservations r SET status = 'completed', completed_at = $9
               FROM paid WHERE r.id = paid.reservation_id RETURNING r.id
           ), sold AS (
               UPDATE seats s SET status = 'reserved_final'
               FROM paid WHERE s.id = paid.seat_id AND s.status = 'reserved_temp' RETURNING s.id
           )
           SELECT (SELECT count(*) FROM completed) AS "completed!", (SELECT count(*) FROM sold) AS "sold!""#,
        user.as_uuid(),
        paid.bill.balance.as_decimal(),
        &each(|payment| payment.payment.as_uuid()),
        &each(|payment| payment.reservation.as_uuid()),
        &each(|payment| payment.lock.seat.as_uuid()),
        &amounts,
        &transfers,
        METHOD,
        now.naive_utc()
    )
    .fetch_one(connection)
    .await?;
    let count = i64::try_from(paid.payments.len()).unwrap_or(i64::MAX);
    if written.completed == count && written.sold == count {
        Ok(())
    } else {
        // The transaction is given up: a live reservation and its seat always agree, or we have a fault.
        Err(unreadable("seat", &"its status is not that of its reservation"))
    }
}
