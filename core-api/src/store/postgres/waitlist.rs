//! Who waits for seats that come free.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use common::ids::{ConcertId, ReservationId, SeatId, UserId};
use uuid::Uuid;

use super::errors::violated;
use super::reservations::{For, hold_seats};
use super::{Db, HoldRules, NewHold, utc, within};
use crate::domain::Fault;
use crate::domain::effect::EffectError;
use crate::domain::reservation::ReserveRefusal;
use crate::domain::waitlist::{JoinRefusal, OfferRefusal, Standing, WaitId, WaitState, Waiting};

/// How many wait for a concert at most: telling somebody's place counts those in front.
const MAX_WAITING: i64 = 10_000;

impl Db {
    /// Puts a user on a concert's waitlist, behind all others; who waits already, or has an offer, keeps it.
    pub async fn join_waitlist(
        &self,
        user: UserId,
        concert: ConcertId,
        section: Option<&str>,
    ) -> Result<Standing, EffectError<JoinRefusal>> {
        within(async {
            sqlx::query!(
                "INSERT INTO waitlist (user_id, concert_id, section)
                 SELECT $1, $2, $3
                 WHERE (SELECT count(*) FROM (
                            SELECT FROM waitlist
                            WHERE concert_id = $2 AND left_at IS NULL AND reservation_id IS NULL LIMIT $4) w) < $4
                   AND NOT EXISTS (
                       SELECT FROM waitlist w JOIN reservations r ON r.id = w.reservation_id
                       WHERE w.user_id = $1 AND w.concert_id = $2 AND w.left_at IS NULL AND r.status = 'pending'
                         AND greatest(r.payment_deadline, r.paying_until) > (SELECT now_utc()))
                 ON CONFLICT (user_id, concert_id) WHERE left_at IS NULL AND reservation_id IS NULL DO NOTHING",
                user.as_uuid(),
                concert.as_uuid(),
                section,
                MAX_WAITING
            )
            .execute(&self.pool)
            .await
            .map_err(|error| match violated(&error) {
                Some("waitlist_user_id_fkey") => EffectError::Refused(JoinRefusal::UnknownUser),
                _ => error.into(),
            })?;
            self.standing(user, concert).await?.ok_or(EffectError::Refused(JoinRefusal::Full))
        })
        .await
    }

    /// How a user stands on a concert's waitlist; `None` where they neither wait nor have an offer.
    pub async fn standing(&self, user: UserId, concert: ConcertId) -> Result<Option<Standing>, Fault> {
        within(async {
            let row = sqlx::query!(
                r#"SELECT w.section, w.joined_at, w.reservation_id, r.payment_deadline AS "payment_deadline?",
                          (SELECT count(*) FROM waitlist o
                           WHERE o.concert_id = w.concert_id AND o.id <= w.id AND o.left_at IS NULL
                             AND o.reservation_id IS NULL
                             AND (o.section IS NULL OR w.section IS NULL OR o.section = w.section)) AS "place!"
                   FROM waitlist w LEFT JOIN reservations r ON r.id = w.reservation_id
                   WHERE w.user_id = $1 AND w.concert_id = $2 AND w.left_at IS NULL
                     AND (w.reservation_id IS NULL
                          OR (r.status = 'pending'
                              AND greatest(r.payment_deadline, r.paying_until) > (SELECT now_utc())))
                   ORDER BY w.id DESC LIMIT 1"#,
                user.as_uuid(),
                concert.as_uuid()
            )
            .fetch_optional(&self.pool)
            .await?;
            Ok::<_, Fault>(row.map(|row| Standing {
                concert,
                section: row.section,
                joined_at: utc(row.joined_at),
                state: match (row.reservation_id, row.payment_deadline) {
                    (Some(id), Some(deadline)) => {
                        WaitState::Offered { reservation: id.into(), expires_at: utc(deadline) }
                    }
                    _ => WaitState::Waiting { place: u64::try_from(row.place).unwrap_or(0) },
                },
            }))
        })
        .await
    }

    /// Takes a user off a concert's waitlist, their pending offer included, which is told and has still to be canceled;
    /// `None` where they were not on it.
    pub async fn leave_waitlist(&self, user: UserId, concert: ConcertId) -> Result<Option<Vec<ReservationId>>, Fault> {
        within(async {
            // Twice: what became an offer while this waited for the row is seen as one by the second look only.
            for _ in 0..2 {
                let left = sqlx::query_scalar!(
                    "UPDATE waitlist w SET left_at = now_utc()
                     WHERE w.user_id = $1 AND w.concert_id = $2 AND w.left_at IS NULL
                       AND (w.reservation_id IS NULL OR EXISTS (
                                SELECT FROM reservations r WHERE r.id = w.reservation_id AND r.status = 'pending'))
                     RETURNING w.reservation_id",
                    user.as_uuid(),
                    concert.as_uuid()
                )
                .fetch_all(&self.pool)
                .await?;
                if !left.is_empty() {
                    return Ok(Some(left.into_iter().flatten().map(ReservationId::from).collect()));
                }
            }
            Ok::<_, Fault>(None)
        })
        .await
    }

    /// For which of these concerts anybody waits.
    pub async fn waited_for(&self, concerts: &[ConcertId]) -> Result<HashSet<ConcertId>, Fault> {
        within(async {
            let concerts: Vec<Uuid> = concerts.iter().map(|concert| concert.as_uuid()).collect();
            let waited_for = sqlx::query_scalar!(
                r#"SELECT asked.concert_id AS "concert_id!" FROM unnest($1::uuid[]) AS asked (concert_id)
                   WHERE EXISTS (SELECT FROM waitlist w
                                 WHERE w.concert_id = asked.concert_id AND w.left_at IS NULL
                                   AND w.reservation_id IS NULL)"#,
                &concerts
            )
            .fetch_all(&self.pool)
            .await?;
            Ok::<_, Fault>(waited_for.into_iter().map(ConcertId::from).collect())
        })
        .await
    }

    /// Which of these seats are being handed on to who waits.
    pub async fn handing_on_among(&self, seats: &[SeatId]) -> Result<HashSet<SeatId>, Fault> {
        within(async {
            let seats: Vec<Uuid> = seats.iter().map(|seat| seat.as_uuid()).collect();
            let found = sqlx::query_scalar!("SELECT id FROM seats WHERE id = ANY($1) AND handing_on", &seats)
                .fetch_all(&self.pool)
                .await?;
            Ok::<_, Fault>(found.into_iter().map(SeatId::from).collect())
        })
        .await
    }

    /// Seats that are being handed on to who waits, at most `limit`.
    pub async fn handing_on(&self, limit: i64) -> Result<Vec<(ConcertId, SeatId)>, Fault> {
        within(async {
            let rows = sqlx::query!("SELECT concert_id, id FROM seats WHERE handing_on ORDER BY id LIMIT $1", limit)
                .fetch_all(&self.pool)
                .await?;
            Ok::<_, Fault>(rows.into_iter().map(|row| (row.concert_id.into(), row.id.into())).collect())
        })
        .await
    }

    /// Leaves a seat, which nobody who waits takes, to everybody.
    pub async fn leave_to_everybody(&self, seat: SeatId) -> Result<(), Fault> {
        within(async {
            sqlx::query!("UPDATE seats SET handing_on = FALSE WHERE id = $1 AND handing_on", seat.as_uuid())
                .execute(&self.pool)
                .await?;
            Ok::<_, Fault>(())
        })
        .await
    }

    /// Whose turn it is, after that wait, for a seat that is free and still sold.
    pub async fn next_waiting(
        &self,
        concert: ConcertId,
        seat: SeatId,
        after: WaitId,
    ) -> Result<Option<Waiting>, Fault> {
        within(async {
            let row = sqlx::query!(
                "SELECT w.id, w.user_id FROM waitlist w
                 JOIN concerts c ON c.id = w.concert_id
                 JOIN seats s ON s.id = $2 AND s.status = 'available' AND (w.section IS NULL OR w.section = s.section)
                 WHERE w.concert_id = $1 AND w.id > $3 AND w.left_at IS NULL AND w.reservation_id IS NULL
                   AND (c.announced_at IS NULL OR c.announced_at <= (SELECT now_utc()))
                   AND (c.sale_opens_at IS NULL OR c.sale_opens_at <= (SELECT now_utc()))
                   AND (c.sale_closed_at IS NULL OR c.sale_closed_at > (SELECT now_utc()))
                   AND c.concert_date >= (SELECT now_utc())::date
                 ORDER BY w.id LIMIT 1",
                concert.as_uuid(),
                seat.as_uuid(),
                after.0
            )
            .fetch_optional(&self.pool)
            .await?;
            Ok::<_, Fault>(row.map(|row| Waiting { id: WaitId(row.id), user: row.user_id.into() }))
        })
        .await
    }

    /// Offers somebody a seat: the pending reservation and the end of their wait, both or neither. Whoever waits in
    /// two processes' hands at once is given one seat by the first, and none by the second. After a fault nothing was
    /// written; where that can't be known the error is `Unsettled`.
    pub async fn offer(&self, hold: &NewHold, rules: HoldRules, wait: WaitId) -> Result<(), EffectError<OfferRefusal>> {
        let committing = AtomicBool::new(false);
        let written = within(async {
            let mut transaction = self.pool.begin().await?;
            hold_seats(&mut transaction, hold, rules, For::WhoWaits).await.map_err(refused)?;
            let reservation = hold.ids.first().map(|id| id.as_uuid());
            let offered = sqlx::query!(
                "UPDATE waitlist w SET reservation_id = $2
                 WHERE w.id = $1 AND w.left_at IS NULL AND w.reservation_id IS NULL
                   AND NOT EXISTS (SELECT FROM waitlist o JOIN reservations r ON r.id = o.reservation_id
                                   WHERE o.user_id = w.user_id AND o.concert_id = w.concert_id
                                     AND o.left_at IS NULL AND r.status = 'pending')",
                wait.0,
                reservation
            )
            .execute(&mut *transaction)
            .await?;
            if offered.rows_affected() != 1 {
                return Err(EffectError::Refused(OfferRefusal::NotTheirs));
            }
            committing.store(true, Ordering::Relaxed);
            transaction.commit().await?;
            Ok(())
        });
        written.await.map_err(|error| match error {
            EffectError::Fault(fault) if committing.load(Ordering::Relaxed) => EffectError::Unsettled(fault),
            error => error,
        })
    }
}

/// Why a hold that is an offer was refused.
fn refused(error: EffectError<ReserveRefusal>) -> EffectError<OfferRefusal> {
    match error {
        EffectError::Refused(ReserveRefusal::SeatTaken | ReserveRefusal::NoSeatsTogether) => {
            EffectError::Refused(OfferRefusal::SeatGone)
        }
        EffectError::Refused(ReserveRefusal::SeatLimit | ReserveRefusal::UnknownUser | ReserveRefusal::NotAdmitted) => {
            EffectError::Refused(OfferRefusal::NotTheirs)
        }
        EffectError::Superseded => EffectError::Superseded,
        EffectError::Fault(fault) => EffectError::Fault(fault),
        EffectError::Unsettled(fault) => EffectError::Unsettled(fault),
    }
}
