//! Payments that a provider settles: their attempts, what is left to be told to the provider, and what it told us.
//!
//! Locks are taken in the order attempt, reservations (by id), seats. Whoever moves an attempt locks its row and goes on
//! only from the state that it expected: of several who see the same thing to do, one does it.

mod begin;
mod decide;
mod events;
mod looking;
mod refunds;

use chrono::NaiveDateTime;
use common::ids::ProviderPaymentId;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

pub use begin::{Begun, NewAttempt};
pub use decide::Completed;
pub use looking::Unsettled;
pub use refunds::RefundDue;

pub(super) use refunds::{refund_is_due, refund_to_provider};

use super::{Db, money, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::provider_payment::{Attempt, AttemptPart, PaymentState};

/// An attempt as it stands in its table, and the time at which it was read.
struct AttemptRow {
    id: Uuid,
    user_id: Uuid,
    amount: Decimal,
    state: String,
    created_at: NaiveDateTime,
    state_since: NaiveDateTime,
    decide_until: NaiveDateTime,
    now: NaiveDateTime,
}

impl TryFrom<AttemptRow> for Attempt {
    type Error = Fault;

    fn try_from(row: AttemptRow) -> Result<Self, Fault> {
        Ok(Self {
            id: row.id.into(),
            user: row.user_id.into(),
            amount: money(row.amount)?,
            state: state(&row.state)?,
            created_at: utc(row.created_at),
            state_since: utc(row.state_since),
            decide_until: utc(row.decide_until),
            read_at: utc(row.now),
        })
    }
}

fn state(text: &str) -> Result<PaymentState, Fault> {
    PaymentState::parse(text).ok_or_else(|| unreadable("payment state", &text))
}

impl Db {
    /// An attempt; `None` where there is no such one.
    pub async fn attempt(&self, id: ProviderPaymentId) -> Result<Option<Attempt>, Fault> {
        within(async {
            let row = sqlx::query_as!(
                AttemptRow,
                r#"SELECT id, user_id, amount, state, created_at, state_since, decide_until, now_utc() AS "now!"
                   FROM provider_payments WHERE id = $1"#,
                id.as_uuid()
            );
            row.fetch_optional(&self.pool).await?.map(Attempt::try_from).transpose()
        })
        .await
    }

    /// An attempt's payments, in the order they were asked for.
    pub async fn attempt_parts(&self, id: ProviderPaymentId) -> Result<Vec<AttemptPart>, Fault> {
        within(async {
            let rows = sqlx::query!(
                "SELECT id, reservation_id, amount FROM payments WHERE provider_payment_id = $1 ORDER BY id",
                id.as_uuid()
            )
            .fetch_all(&self.pool)
            .await?;
            rows.into_iter()
                .map(|row| {
                    let (payment, reservation) = (row.id.into(), row.reservation_id.into());
                    Ok(AttemptPart { payment, reservation, amount: money(row.amount)? })
                })
                .collect()
        })
        .await
    }
}

/// Locks an attempt's row; from here to the end of the transaction nobody else moves it.
async fn lock_attempt(connection: &mut PgConnection, id: ProviderPaymentId) -> Result<Attempt, Fault> {
    let row = sqlx::query_as!(
        AttemptRow,
        r#"SELECT id, user_id, amount, state, created_at, state_since, decide_until, now_utc() AS "now!"
           FROM provider_payments WHERE id = $1 FOR NO KEY UPDATE"#,
        id.as_uuid()
    );
    row.fetch_one(connection).await?.try_into()
}
