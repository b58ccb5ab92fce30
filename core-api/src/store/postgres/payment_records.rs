//! Reading payments. What a provider has set aside and not taken yet is told as pending, since it may come to nothing.

use chrono::NaiveDateTime;
use common::ids::{PaymentId, UserId};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{Db, money, utc, within};
use crate::domain::Fault;
use crate::domain::payment::PaymentRecord;

struct PaymentRow {
    id: Uuid,
    reservation_id: Uuid,
    payment_status: String,
    amount: Decimal,
    payment_method: String,
    created_at: NaiveDateTime,
    refunded_at: Option<NaiveDateTime>,
    provider_payment_id: Option<Uuid>,
    is_refund_due: bool,
}

impl TryFrom<PaymentRow> for PaymentRecord {
    type Error = Fault;

    fn try_from(row: PaymentRow) -> Result<Self, Fault> {
        Ok(Self {
            refund_settled: row.refunded_at.and(row.provider_payment_id).map(|_| !row.is_refund_due),
            id: row.id.into(),
            reservation: row.reservation_id.into(),
            status: row.payment_status,
            amount: money(row.amount)?,
            method: row.payment_method,
            created_at: utc(row.created_at),
            refunded_at: row.refunded_at.map(utc),
        })
    }
}

impl Db {
    /// One of a user's payments.
    pub async fn payment(&self, user: UserId, id: PaymentId) -> Result<Option<PaymentRecord>, Fault> {
        within(async {
            sqlx::query_as!(
                PaymentRow,
                r#"SELECT p.id, p.reservation_id, p.amount,
                          CASE WHEN a.state = 'authorised' THEN 'pending' ELSE p.payment_status END AS "payment_status!",
                          p.payment_method, p.created_at, p.refunded_at,
                          p.provider_payment_id, r.next_look_at IS NOT NULL AS "is_refund_due!"
                   FROM payments p LEFT JOIN provider_payments a ON a.id = p.provider_payment_id
                        LEFT JOIN provider_refunds r ON r.payment_id = p.id
                   WHERE p.id = $1 AND p.user_id = $2"#,
                id.as_uuid(),
                user.as_uuid()
            )
            .fetch_optional(&self.pool)
            .await?
            .map(PaymentRecord::try_from)
            .transpose()
        })
        .await
    }

    /// At most `limit` of a user's payments, the newest first, older than the one named.
    pub async fn payments(
        &self,
        user: UserId,
        before: Option<PaymentId>,
        limit: i64,
    ) -> Result<Vec<PaymentRecord>, Fault> {
        within(async {
            sqlx::query_as!(
                PaymentRow,
                r#"SELECT p.id, p.reservation_id, p.amount,
                          CASE WHEN a.state = 'authorised' THEN 'pending' ELSE p.payment_status END AS "payment_status!",
                          p.payment_method, p.created_at, p.refunded_at,
                          p.provider_payment_id, r.next_look_at IS NOT NULL AS "is_refund_due!"
                   FROM payments p LEFT JOIN provider_payments a ON a.id = p.provider_payment_id
                        LEFT JOIN provider_refunds r ON r.payment_id = p.id
                   WHERE p.user_id = $1 AND ($2::uuid IS NULL OR p.id < $2) ORDER BY p.id DESC LIMIT $3"#,
                user.as_uuid(),
                before.map(PaymentId::as_uuid),
                limit
            )
            .fetch_all(&self.pool)
            .await?
            .into_iter()
            .map(PaymentRecord::try_from)
            .collect()
        })
        .await
    }
}
