//! Extending the time to pay of a reservation.

use chrono::{DateTime, TimeDelta, Utc};
use common::ids::{ReservationId, UserId};

use super::reservations::status;
use super::{Db, HoldRules, utc, within};
use crate::domain::effect::EffectError;
use crate::domain::reservation::{ExtendRefusal, Extendable, SeatLock};

/// A reservation whose time to pay was extended just now.
#[derive(Debug, Clone, Copy)]
pub struct Extended {
    /// Its seat's lock, which is to last as long.
    pub lock: SeatLock,
    /// Until when it can be paid for now.
    pub deadline: DateTime<Utc>,
    /// The database's time when that was decided.
    pub now: DateTime<Utc>,
}

impl Db {
    /// Puts off the deadline of a user's pending reservation, decided under its row's lock at the time after the wait
    /// for it. What is being paid for meanwhile is waited for and then found paid; what the sweeper has ended is found
    /// ended.
    pub async fn extend(
        &self,
        user: UserId,
        id: ReservationId,
        rules: HoldRules,
    ) -> Result<Extended, EffectError<ExtendRefusal>> {
        if rules.extend_seconds == 0 {
            return Err(EffectError::Refused(ExtendRefusal::NotOffered));
        }
        within(async {
            let mut transaction = self.pool.begin().await?;
            // The time is asked of what has been locked, so that it is told after the wait for the lock.
            let row = sqlx::query!(
                r#"WITH locked AS MATERIALIZED (
                       SELECT status, concert_id, seat_id, payment_deadline, extended_at, hold_fence FROM reservations
                       WHERE id = $1 AND user_id = $2 FOR UPDATE
                   )
                   SELECT status, concert_id, seat_id, payment_deadline, extended_at, hold_fence,
                          now_utc() AS "now!"
                   FROM locked"#,
                id.as_uuid(),
                user.as_uuid()
            )
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(EffectError::Refused(ExtendRefusal::Unknown))?;
            let now = utc(row.now);
            let found = Extendable {
                status: status(&row.status)?,
                deadline: utc(row.payment_deadline),
                is_extended: row.extended_at.is_some(),
            };
            let by = TimeDelta::seconds(rules.extend_seconds.into());
            let deadline = found.extended(by, now).map_err(EffectError::Refused)?;
            sqlx::query!(
                "UPDATE reservations SET payment_deadline = $2, extended_at = $3 WHERE id = $1",
                id.as_uuid(),
                deadline.naive_utc(),
                now.naive_utc()
            )
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            // A reservation without a fence has no lock; 0 is nobody's fence, so nothing is kept for it.
            let fence = row.hold_fence.unwrap_or(0);
            let lock = SeatLock { concert: row.concert_id.into(), seat: row.seat_id.into(), user, fence };
            Ok(Extended { lock, deadline, now })
        })
        .await
    }
}
