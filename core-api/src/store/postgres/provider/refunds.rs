//! Money that a provider is to give back.

use chrono::{DateTime, TimeDelta, Utc};
use common::ids::{PaymentId, ProviderPaymentId, ReservationId};
use common::money::Money;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::{Db, money, unreadable, within};
use super::decide::seconds;
use crate::domain::Fault;
use crate::domain::refund::RefundRefusal;
use crate::domain::reservation::CancelError;

/// A refund that the provider is still to be told of.
#[derive(Debug, Clone, Copy)]
pub struct RefundDue {
    /// Which payment of ours is given back; names the refund as well.
    pub payment: PaymentId,
    /// Of which attempt.
    pub attempt: ProviderPaymentId,
    /// How much.
    pub amount: Money,
    /// How long it has been due.
    pub age: TimeDelta,
    /// How often it was tried, this time included.
    pub looks: u32,
}

impl Db {
    /// At most `limit` refunds by `provider` whose time has come, the longest due first. Nobody else is given them for `lease`.
    pub async fn refunds_due(&self, provider: &str, limit: i64, lease: TimeDelta) -> Result<Vec<RefundDue>, Fault> {
        within(async {
            let rows = sqlx::query!(
                r#"UPDATE provider_refunds r
                   SET next_look_at = now_utc() + make_interval(secs => $2), looks = least(r.looks, 1000) + 1
                   FROM (SELECT d.payment_id
                         FROM provider_refunds d JOIN provider_payments a ON a.id = d.provider_payment_id
                         WHERE d.next_look_at <= (SELECT now_utc()) AND a.provider = $3
                         ORDER BY d.next_look_at LIMIT $1 FOR NO KEY UPDATE OF d SKIP LOCKED) due
                   WHERE r.payment_id = due.payment_id
                   RETURNING r.payment_id, r.provider_payment_id, r.amount, r.looks, r.created_at, now_utc() AS "now!""#,
                limit,
                seconds(lease),
                provider
            )
            .fetch_all(&self.pool)
            .await?;
            rows.into_iter()
                .map(|row| {
                    Ok(RefundDue {
                        payment: row.payment_id.into(),
                        attempt: row.provider_payment_id.into(),
                        amount: money(row.amount)?,
                        age: row.now - row.created_at,
                        looks: u32::try_from(row.looks).unwrap_or(1),
                    })
                })
                .collect()
        })
        .await
    }

    /// Notes that the provider has given a payment back. Whether that is news.
    pub async fn refunded(&self, payment: PaymentId) -> Result<bool, Fault> {
        within(async {
            let done = sqlx::query!(
                "UPDATE provider_refunds SET refunded_at = now_utc(), next_look_at = NULL
                 WHERE payment_id = $1 AND refunded_at IS NULL",
                payment.as_uuid()
            );
            Ok(done.execute(&self.pool).await?.rows_affected() == 1)
        })
        .await
    }

    /// Has a refund tried again `after` so long.
    pub async fn refund_again(&self, payment: PaymentId, after: TimeDelta) -> Result<(), Fault> {
        within(async {
            sqlx::query!(
                "UPDATE provider_refunds SET next_look_at = now_utc() + make_interval(secs => $2)
                 WHERE payment_id = $1 AND next_look_at IS NOT NULL",
                payment.as_uuid(),
                seconds(after)
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }
}

/// How a completed reservation, whose row is locked, was paid for, where it was through a provider. Refused where the
/// provider has not taken the money yet: what comes of that is decided within seconds.
pub(in super::super) async fn refund_is_due(
    connection: &mut PgConnection,
    reservation: ReservationId,
) -> Result<Option<(PaymentId, ProviderPaymentId)>, CancelError> {
    let row = sqlx::query!(
        r#"SELECT p.id, p.provider_payment_id AS "attempt!", a.state
           FROM payments p JOIN provider_payments a ON a.id = p.provider_payment_id
           WHERE p.reservation_id = $1 AND p.payment_status = 'success' AND p.refunded_at IS NULL"#,
        reservation.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.state != "captured" {
        return Err(CancelError::Refused(RefundRefusal::Unsettled));
    }
    Ok(Some((row.id.into(), row.attempt.into())))
}

/// Gives a completed reservation back, whose row is locked, for money that the provider is to return: the books and the
/// seat at once, the provider's part by the reconciler.
pub(in super::super) async fn refund_to_provider(
    connection: &mut PgConnection,
    reservation: ReservationId,
    (payment, attempt): (PaymentId, ProviderPaymentId),
    amount: Money,
    now: DateTime<Utc>,
) -> Result<(), CancelError> {
    let written = sqlx::query!(
        r#"WITH refunded AS (
               UPDATE payments SET refunded_at = $4
               WHERE id = $1 AND payment_status = 'success' AND refunded_at IS NULL RETURNING id
           ), due AS (
               INSERT INTO provider_refunds (payment_id, provider_payment_id, amount, next_look_at, created_at)
               SELECT $1, $2, $5::numeric, $4, $4 WHERE $5::numeric > 0
           ), entries AS (
               INSERT INTO ledger_entries (transfer_id, account, amount, kind, reservation_id)
               SELECT $6::uuid, account, sign * $5::numeric, 'refund', $3
               FROM (VALUES ('sales', -1), ('provider', 1)) AS side (account, sign) WHERE $5::numeric > 0
           ), canceled AS (
               UPDATE reservations SET status = 'canceled', completed_at = NULL WHERE id = $3 RETURNING seat_id
           ), freed AS (
               UPDATE seats s SET status = 'available' FROM canceled c
               WHERE s.id = c.seat_id AND s.status = 'reserved_final' RETURNING s.id
           )
           SELECT (SELECT count(*) FROM refunded) AS "refunded!", (SELECT count(*) FROM freed) AS "freed!""#,
        payment.as_uuid(),
        attempt.as_uuid(),
        reservation.as_uuid(),
        now.naive_utc(),
        amount.as_decimal(),
        Uuid::now_v7()
    )
    .fetch_one(connection)
    .await?;
    if written.refunded == 1 && written.freed == 1 { Ok(()) } else { Err(unreadable("payment", &reservation).into()) }
}
