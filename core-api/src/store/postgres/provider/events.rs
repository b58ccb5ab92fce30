//! What providers have told: each event once.

use chrono::TimeDelta;
use common::ids::ProviderPaymentId;

use super::super::{Db, within};
use super::decide::seconds;
use super::state;
use crate::domain::Fault;
use crate::domain::provider_payment::PaymentState;

impl Db {
    /// Notes an event; `false` where it was noted before.
    pub async fn note_event(
        &self,
        provider: &str,
        event: &str,
        payment: ProviderPaymentId,
        told: &str,
    ) -> Result<bool, Fault> {
        within(async {
            let noted = sqlx::query!(
                "INSERT INTO provider_events (provider, event_id, provider_payment_id, state) VALUES ($1, $2, $3, $4)
                 ON CONFLICT ON CONSTRAINT provider_events_pkey DO NOTHING",
                provider,
                event,
                payment.as_uuid(),
                told
            );
            Ok(noted.execute(&self.pool).await?.rows_affected() == 1)
        })
        .await
    }

    /// How far an attempt at a provider has come here; `None` where there is no such one.
    pub async fn attempt_state(
        &self,
        provider: &str,
        payment: ProviderPaymentId,
    ) -> Result<Option<PaymentState>, Fault> {
        within(async {
            let found = sqlx::query_scalar!(
                "SELECT state FROM provider_payments WHERE id = $1 AND provider = $2",
                payment.as_uuid(),
                provider
            );
            found.fetch_optional(&self.pool).await?.map(|text| state(&text)).transpose()
        })
        .await
    }

    /// Has an attempt looked at within so long: sooner than it would be, never later.
    pub async fn look_within(&self, payment: ProviderPaymentId, soon: TimeDelta) -> Result<(), Fault> {
        within(async {
            sqlx::query!(
                "UPDATE provider_payments
                 SET next_look_at = least(next_look_at, now_utc() + make_interval(secs => $2))
                 WHERE id = $1 AND next_look_at IS NOT NULL",
                payment.as_uuid(),
                seconds(soon)
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    /// Forgets at most `limit` events that are older than any signature is believed; how many.
    pub async fn purge_events(&self, limit: i64) -> Result<u64, Fault> {
        within(async {
            let purged = sqlx::query!(
                "DELETE FROM provider_events e
                 USING (SELECT provider, event_id FROM provider_events
                        WHERE received_at <= (SELECT now_utc()) - interval '1 day'
                        ORDER BY received_at LIMIT $1 FOR UPDATE SKIP LOCKED) old
                 WHERE e.provider = old.provider AND e.event_id = old.event_id",
                limit
            );
            Ok(purged.execute(&self.pool).await?.rows_affected())
        })
        .await
    }
}
