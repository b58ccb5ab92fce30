//! Moving attempts: each step is one transaction, taken only from the state that it is meant for.

use chrono::{DateTime, TimeDelta, Utc};
use common::ids::{ConcertId, ProviderPaymentId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::reservations::status;
use super::super::{Db, unreadable, utc, within};
use super::lock_attempt;
use crate::domain::Fault;
use crate::domain::provider_payment::{Attempt, Handed, PaymentState, concerts_of};
use crate::domain::reservation::{ReservationStatus, SeatLock};

/// What came of completing an attempt.
#[derive(Debug)]
pub enum Completed {
    /// The seats are the user's.
    Sold(Handed),
    /// A hold has ended: nothing is to be taken. For which concerts it was.
    TooLate(Vec<ConcertId>),
    /// Somebody else has decided already.
    Before,
}

/// A reservation of an attempt, its row locked.
struct Part {
    lock: SeatLock,
    status: ReservationStatus,
    kept_until: DateTime<Utc>,
    now: DateTime<Utc>,
}

impl Db {
    /// The provider has set the money aside: sells the seats, where all of them still are held for this attempt. Payments,
    /// ledger, reservations, seats and the attempt change together; `next_look` from now it is to have been captured.
    pub async fn complete_attempt(
        &self,
        id: ProviderPaymentId,
        reference: Option<&str>,
        next_look: TimeDelta,
    ) -> Result<Completed, Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let attempt = lock_attempt(&mut transaction, id).await?;
            if attempt.state != PaymentState::Created {
                return Ok(Completed::Before);
            }
            let parts = lock_parts(&mut transaction, &attempt).await?;
            let is_held = |part: &Part| part.status == ReservationStatus::Pending && part.kept_until > part.now;
            let completed = if !parts.is_empty() && parts.iter().all(is_held) {
                sell(&mut transaction, id, reference, parts.len(), next_look).await?;
                let locks = parts.iter().map(|part| part.lock).collect();
                Completed::Sold(Handed { user: attempt.user, locks })
            } else {
                fail(&mut transaction, id, PaymentState::VoidDue, Some(next_look)).await?;
                Completed::TooLate(concerts_of(parts.iter().map(|part| &part.lock)))
            };
            transaction.commit().await?;
            Ok(completed)
        })
        .await
    }

    /// Nothing comes of an undecided attempt: it is declined, or what may be set aside for it is to be voided (`next_look`
    /// from now at the latest). The holds are as they were. For which concerts it was; `None` where it had been decided.
    pub async fn fail_attempt(
        &self,
        id: ProviderPaymentId,
        void_within: Option<TimeDelta>,
    ) -> Result<Option<Vec<ConcertId>>, Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let attempt = lock_attempt(&mut transaction, id).await?;
            if attempt.state != PaymentState::Created {
                return Ok(None);
            }
            let parts = lock_parts(&mut transaction, &attempt).await?;
            let to = if void_within.is_some() { PaymentState::VoidDue } else { PaymentState::Declined };
            fail(&mut transaction, id, to, void_within).await?;
            transaction.commit().await?;
            Ok(Some(concerts_of(parts.iter().map(|part| &part.lock))))
        })
        .await
    }

    /// The money of sold seats can't be had: takes the seats back and writes the books back. `None` where somebody else
    /// has decided already.
    pub async fn revoke_attempt(&self, id: ProviderPaymentId, next_look: TimeDelta) -> Result<Option<Handed>, Fault> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let attempt = lock_attempt(&mut transaction, id).await?;
            if attempt.state != PaymentState::Authorised {
                return Ok(None);
            }
            let parts = lock_parts(&mut transaction, &attempt).await?;
            take_back(&mut transaction, id, parts.len(), next_look).await?;
            transaction.commit().await?;
            // A sold seat has no lock.
            let locks = parts.iter().map(|part| SeatLock { fence: 0, ..part.lock }).collect();
            Ok(Some(Handed { user: attempt.user, locks }))
        })
        .await
    }

    /// Notes that an attempt has come to its end at the provider: captured, or nothing set aside any more. Whether it was
    /// on the way there.
    pub async fn end_attempt(&self, id: ProviderPaymentId, end: PaymentState) -> Result<bool, Fault> {
        let from = match end {
            PaymentState::Captured => PaymentState::Authorised,
            PaymentState::Voided => PaymentState::VoidDue,
            other => return Err(Fault::Internal(format!("{} is no end that is noted", other.as_str()))),
        };
        within(async {
            let ended = sqlx::query!(
                "UPDATE provider_payments SET state = $3, state_since = now_utc(), next_look_at = NULL
                 WHERE id = $1 AND state = $2",
                id.as_uuid(),
                from.as_str(),
                end.as_str()
            );
            Ok(ended.execute(&self.pool).await?.rows_affected() == 1)
        })
        .await
    }
}

/// Locks an attempt's reservations in the order of their ids.
async fn lock_parts(connection: &mut PgConnection, attempt: &Attempt) -> Result<Vec<Part>, Fault> {
    // The time is asked of what has been locked, so that it is told after the wait for the locks.
    let rows = sqlx::query!(
        r#"WITH locked AS MATERIALIZED (
               SELECT r.status, r.concert_id, r.seat_id, r.user_id, r.hold_fence,
                      greatest(r.payment_deadline, r.paying_until) AS kept_until
               FROM reservations r JOIN payments p ON p.reservation_id = r.id
               WHERE p.provider_payment_id = $1 ORDER BY r.id FOR NO KEY UPDATE OF r
           )
           SELECT status, concert_id, seat_id, user_id, hold_fence, kept_until AS "kept_until!", now_utc() AS "now!"
           FROM locked"#,
        attempt.id.as_uuid()
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            // A reservation without a fence has no lock; 0 is nobody's fence, so nothing is released for it.
            let (user, fence) = (UserId::from(row.user_id), row.hold_fence.unwrap_or(0));
            Ok(Part {
                lock: SeatLock { concert: row.concert_id.into(), seat: row.seat_id.into(), user, fence },
                status: status(&row.status)?,
                kept_until: utc(row.kept_until),
                now: utc(row.now),
            })
        })
        .collect()
}

/// Payments, ledger, reservations, seats and the attempt in one statement.
async fn sell(
    connection: &mut PgConnection,
    id: ProviderPaymentId,
    reference: Option<&str>,
    count: usize,
    next_look: TimeDelta,
) -> Result<(), Fault> {
    let written = sqlx::query!(
        r#"WITH at AS MATERIALIZED (SELECT now_utc() AS now), paid AS (
               UPDATE payments SET payment_status = 'success'
               WHERE provider_payment_id = $1 AND payment_status = 'pending' RETURNING reservation_id, amount
           ), entries AS (
               -- Nothing moves where nothing is to be paid.
               INSERT INTO ledger_entries (transfer_id, account, amount, kind, reservation_id)
               SELECT $2::uuid, account, sign * amount, 'payment', reservation_id
               FROM paid, (VALUES ('provider', -1), ('sales', 1)) AS side (account, sign) WHERE amount > 0
           ), completed AS (
               UPDATE reservations r SET status = 'completed', completed_at = at.now
               FROM paid, at WHERE r.id = paid.reservation_id AND r.status = 'pending' RETURNING r.seat_id
           ), sold AS (
               UPDATE seats s SET status = 'reserved_final'
               FROM completed c WHERE s.id = c.seat_id AND s.status = 'reserved_temp' RETURNING s.id
           ), moved AS (
               UPDATE provider_payments p SET state = 'authorised', reference = $3, state_since = at.now, looks = 0,
                      next_look_at = at.now + make_interval(secs => $4)
               FROM at WHERE p.id = $1 RETURNING p.id
           )
           SELECT (SELECT count(*) FROM completed) AS "completed!", (SELECT count(*) FROM sold) AS "sold!",
                  (SELECT count(*) FROM moved) AS "moved!""#,
        id.as_uuid(),
        Uuid::now_v7(),
        reference,
        seconds(next_look)
    )
    .fetch_one(connection)
    .await?;
    all_or_none(id, count, [written.completed, written.sold])
}

/// The same the other way round: what was sold is everybody's again, and the attempt is to be voided.
async fn take_back(
    connection: &mut PgConnection,
    id: ProviderPaymentId,
    count: usize,
    next_look: TimeDelta,
) -> Result<(), Fault> {
    let written = sqlx::query!(
        r#"WITH at AS MATERIALIZED (SELECT now_utc() AS now), failed AS (
               UPDATE payments SET payment_status = 'failed'
               WHERE provider_payment_id = $1 AND payment_status = 'success' RETURNING reservation_id, amount
           ), entries AS (
               INSERT INTO ledger_entries (transfer_id, account, amount, kind, reservation_id)
               SELECT $2::uuid, account, sign * amount, 'refund', reservation_id
               FROM failed, (VALUES ('sales', -1), ('provider', 1)) AS side (account, sign) WHERE amount > 0
           ), canceled AS (
               UPDATE reservations r SET status = 'canceled', completed_at = NULL
               FROM failed WHERE r.id = failed.reservation_id AND r.status = 'completed' RETURNING r.seat_id
           ), freed AS (
               UPDATE seats s SET status = 'available'
               FROM canceled c WHERE s.id = c.seat_id AND s.status = 'reserved_final' RETURNING s.id
           ), moved AS (
               UPDATE provider_payments p SET state = 'void_due', state_since = at.now, looks = 0,
                      next_look_at = at.now + make_interval(secs => $3)
               FROM at WHERE p.id = $1 RETURNING p.id
           )
           SELECT (SELECT count(*) FROM canceled) AS "canceled!", (SELECT count(*) FROM freed) AS "freed!",
                  (SELECT count(*) FROM moved) AS "moved!""#,
        id.as_uuid(),
        Uuid::now_v7(),
        seconds(next_look)
    )
    .fetch_one(connection)
    .await?;
    all_or_none(id, count, [written.canceled, written.freed])
}

/// Ends an undecided attempt whose reservations are locked. Those that still are held go on until their own deadline.
async fn fail(
    connection: &mut PgConnection,
    id: ProviderPaymentId,
    to: PaymentState,
    next_look: Option<TimeDelta>,
) -> Result<(), Fault> {
    sqlx::query!(
        "WITH at AS MATERIALIZED (SELECT now_utc() AS now), failed AS (
             UPDATE payments SET payment_status = 'failed'
             WHERE provider_payment_id = $1 AND payment_status = 'pending' RETURNING reservation_id
         ), released AS (
             UPDATE reservations r SET paying_until = least(r.paying_until, at.now)
             FROM failed, at WHERE r.id = failed.reservation_id AND r.status = 'pending'
         )
         UPDATE provider_payments p SET state = $2, state_since = at.now, looks = 0,
                next_look_at = at.now + make_interval(secs => $3)
         FROM at WHERE p.id = $1",
        id.as_uuid(),
        to.as_str(),
        next_look.map(seconds)
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn all_or_none(id: ProviderPaymentId, count: usize, changed: [i64; 2]) -> Result<(), Fault> {
    let all = changed.into_iter().all(|changed| usize::try_from(changed).is_ok_and(|changed| changed == count));
    // The transaction is given up: an attempt's reservations and their seats always agree, or we have a fault.
    if all { Ok(()) } else { Err(unreadable("payment", &id)) }
}

pub(super) fn seconds(delta: TimeDelta) -> f64 {
    delta.as_seconds_f64()
}
