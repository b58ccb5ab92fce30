//! Ending what nobody paid for.

use std::time::Duration;

use super::{Db, within};
use crate::domain::Fault;
use crate::domain::reservation::SeatLock;

/// What one sweep ended.
#[derive(Debug, Default)]
pub struct Swept {
    /// How many reservations.
    pub reservations: usize,
    /// The locks to be released, each with how long ago its reservation's deadline was.
    pub locks: Vec<(SeatLock, Duration)>,
}

impl Db {
    /// Cancels at most `limit` pending reservations that are past their deadline, and for which no payment is under way,
    /// and frees their seats. Any number of processes may do it at once: each takes what no other has locked.
    pub async fn sweep(&self, limit: i64) -> Result<Swept, Fault> {
        within(async {
            let rows = sqlx::query!(
                r#"WITH due AS (
                     SELECT id FROM reservations
                     WHERE status = 'pending' AND payment_deadline <= (SELECT now_utc())
                       AND (paying_until IS NULL OR paying_until <= (SELECT now_utc()))
                     ORDER BY payment_deadline LIMIT $1 FOR UPDATE SKIP LOCKED
                 ), canceled AS (
                     UPDATE reservations r SET status = 'canceled' FROM due WHERE r.id = due.id
                     RETURNING r.concert_id, r.seat_id, r.user_id, r.hold_fence,
                               greatest(r.payment_deadline, r.paying_until) AS ended_at
                 ), freed AS (
                     UPDATE seats s SET status = 'available' FROM canceled c
                     WHERE s.id = c.seat_id AND s.status = 'reserved_temp'
                 )
                 SELECT concert_id, seat_id, user_id, hold_fence, ended_at AS "ended_at!", now_utc() AS "now!"
                 FROM canceled"#,
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            let reservations = rows.len();
            let locks = rows
                .into_iter()
                .filter_map(|row| {
                    let (concert, seat, user) = (row.concert_id.into(), row.seat_id.into(), row.user_id.into());
                    let late = (row.now - row.ended_at).to_std().unwrap_or_default();
                    row.hold_fence.map(|fence| (SeatLock { concert, seat, user, fence }, late))
                })
                .collect();
            Ok(Swept { reservations, locks })
        })
        .await
    }
}
