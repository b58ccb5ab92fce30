//! Reservations that have ended.

use std::time::Duration;

use common::ids::ReservationId;

use super::{Db, within};
use crate::domain::Fault;
use crate::domain::reservation::SeatLock;

impl Db {
    /// The locks of reservations that have ended, given back or not paid for, unless their deadline, or that of a
    /// payment that was under way and outlasted it by `grace` at most, is longer ago than `since`; of more than `limit`
    /// those with the latest deadlines.
    pub async fn ended(
        &self,
        since: Duration,
        grace: Duration,
        limit: i64,
    ) -> Result<Vec<(ReservationId, SeatLock)>, Fault> {
        within(async {
            let rows = sqlx::query!(
                r#"SELECT id, concert_id, seat_id, user_id, hold_fence AS "hold_fence!" FROM reservations
                   WHERE status = 'canceled' AND hold_fence IS NOT NULL
                     -- The index knows of deadlines only.
                     AND payment_deadline > (SELECT now_utc()) - make_interval(secs => $3)
                     AND greatest(payment_deadline, paying_until) > (SELECT now_utc()) - make_interval(secs => $1)
                   ORDER BY payment_deadline DESC LIMIT $2"#,
                since.as_secs_f64(),
                limit,
                (since + grace).as_secs_f64()
            )
            .fetch_all(&self.pool)
            .await?;
            let ended = rows.into_iter().map(|row| {
                let (concert, seat, user) = (row.concert_id.into(), row.seat_id.into(), row.user_id.into());
                (row.id.into(), SeatLock { concert, seat, user, fence: row.hold_fence })
            });
            Ok(ended.collect())
        })
        .await
    }
}
