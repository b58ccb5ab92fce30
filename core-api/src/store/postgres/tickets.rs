//! Reading tickets.

use chrono::NaiveDateTime;
use common::ids::{ConcertId, ReservationId, UserId};
use uuid::Uuid;

use super::reservations::status;
use super::{Db, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::effect::EffectError;
use crate::domain::reservation::ReservationStatus;
use crate::domain::ticket::{IssuedTicket, NoTicket, Ticket, TicketSeat};

impl Db {
    /// The ticket of one of a user's reservations.
    pub async fn ticket(&self, user: UserId, id: ReservationId) -> Result<Ticket, EffectError<NoTicket>> {
        within(async {
            let row = sqlx::query!(
                r#"SELECT r.status, r.completed_at, r.concert_id, c.name, c.concert_date, c.venue, s.section,
                          s.seat_number,
                          (SELECT k.checked_in_at FROM check_ins k
                           WHERE k.reservation_id = r.id AND k.undone_at IS NULL) AS checked_in_at,
                          EXISTS (SELECT FROM payments p
                                  WHERE p.reservation_id = r.id AND p.refunded_at IS NOT NULL) AS "is_refunded!",
                          EXISTS (SELECT FROM payments p JOIN provider_payments a ON a.id = p.provider_payment_id
                                  WHERE p.reservation_id = r.id AND a.state = 'authorised') AS "is_unsettled!"
                   FROM reservations r JOIN concerts c ON c.id = r.concert_id JOIN seats s ON s.id = r.seat_id
                   WHERE r.id = $1 AND r.user_id = $2"#,
                id.as_uuid(),
                user.as_uuid()
            )
            .fetch_optional(&self.pool)
            .await?
            .ok_or(EffectError::Refused(NoTicket::Unknown))?;
            let issued_at = match (status(&row.status)?, row.completed_at) {
                // Should the money not be had, the seat is taken back: nobody may have gone in by then.
                (ReservationStatus::Completed, _) if row.is_unsettled => {
                    return Err(EffectError::Refused(NoTicket::NotPaid));
                }
                (ReservationStatus::Completed, Some(completed_at)) => utc(completed_at),
                (ReservationStatus::Completed, None) => return Err(unreadable("completed reservation", &id).into()),
                (ReservationStatus::Pending, _) => return Err(EffectError::Refused(NoTicket::NotPaid)),
                (ReservationStatus::Canceled, _) if row.is_refunded => {
                    return Err(EffectError::Refused(NoTicket::Revoked));
                }
                (ReservationStatus::Canceled, _) => return Err(EffectError::Refused(NoTicket::Expired)),
            };
            Ok(Ticket {
                reservation: id,
                concert: row.concert_id.into(),
                concert_name: row.name,
                concert_date: row.concert_date,
                venue: row.venue,
                seat: seat(row.section, row.seat_number)?,
                issued_at,
                checked_in_at: row.checked_in_at.map(utc),
            })
        })
        .await
    }

    /// At most `limit` of a concert's tickets, those that were given back as well, in the order of their reservations
    /// from behind the one named.
    pub async fn issued_tickets(
        &self,
        concert: ConcertId,
        behind: Option<ReservationId>,
        limit: i64,
    ) -> Result<Vec<IssuedTicket>, Fault> {
        within(async {
            let rows = sqlx::query_as!(
                IssuedRow,
                r#"SELECT r.id, s.section, s.seat_number, coalesce(r.completed_at, p.created_at) AS "issued_at!",
                          p.refunded_at, k.checked_in_at AS "checked_in_at?", k.checked_in_by AS "checked_in_by?"
                   FROM reservations r
                   JOIN seats s ON s.id = r.seat_id
                   JOIN payments p ON p.reservation_id = r.id AND p.payment_status = 'success'
                   LEFT JOIN provider_payments a ON a.id = p.provider_payment_id
                   LEFT JOIN check_ins k ON k.reservation_id = r.id AND k.undone_at IS NULL
                   WHERE r.concert_id = $1 AND r.id > $2 AND (r.status = 'completed' OR p.refunded_at IS NOT NULL)
                     AND a.state IS DISTINCT FROM 'authorised'
                   ORDER BY r.id LIMIT $3"#,
                concert.as_uuid(),
                behind.map_or(Uuid::nil(), ReservationId::as_uuid),
                limit
            )
            .fetch_all(&self.pool)
            .await?;
            rows.into_iter().map(IssuedTicket::try_from).collect()
        })
        .await
    }
}

struct IssuedRow {
    id: Uuid,
    section: String,
    seat_number: i32,
    issued_at: NaiveDateTime,
    refunded_at: Option<NaiveDateTime>,
    checked_in_at: Option<NaiveDateTime>,
    checked_in_by: Option<Uuid>,
}

impl TryFrom<IssuedRow> for IssuedTicket {
    type Error = Fault;

    fn try_from(row: IssuedRow) -> Result<Self, Fault> {
        Ok(Self {
            reservation: row.id.into(),
            seat: seat(row.section, row.seat_number)?,
            issued_at: utc(row.issued_at),
            revoked_at: row.refunded_at.map(utc),
            checked_in: row.checked_in_at.map(utc).zip(row.checked_in_by.map(UserId::from)),
        })
    }
}

/// A seat as it stands in the database.
pub(super) fn seat(section: String, number: i32) -> Result<TicketSeat, Fault> {
    let number = i64::from(number).try_into().map_err(|_| unreadable("seat number", &number))?;
    Ok(TicketSeat { section, number })
}
