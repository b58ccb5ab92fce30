//! Letting tickets in, each once.

use common::ids::{ConcertId, ReservationId, UserId};
use common::tokens::EntryTicket;
use sqlx::PgConnection;

use super::errors::violated;
use super::idempotency::conclude;
use super::reservations::status;
use super::tickets::seat;
use super::{Db, utc, within};
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::reservation::ReservationStatus;
use crate::domain::ticket::{CheckIn, CheckInRefusal, TicketSeat, UndoRefusal, UndoneCheckIn};

impl Db {
    /// Lets a ticket in, whose code was found to be ours. It is decided under its reservation's lock, which a refund
    /// takes as well: a ticket that is given back lets nobody in, one that was let in is not given back.
    /// `check_ins_standing_reservation_id_key` is what lets it in once.
    pub async fn check_in(
        &self,
        ticket: &EntryTicket,
        by: UserId,
        record: &Record<CheckIn>,
    ) -> Result<Done<CheckIn>, EffectError<CheckInRefusal>> {
        let id = ticket.reservation;
        within(async {
            let mut transaction = self.pool.begin().await?;
            let seat = lock_ticket(&mut transaction, ticket).await?;
            let inserted = sqlx::query_scalar!(
                "INSERT INTO check_ins (reservation_id, checked_in_by) VALUES ($1, $2)
                 ON CONFLICT (reservation_id) WHERE undone_at IS NULL DO NOTHING RETURNING checked_in_at",
                id.as_uuid(),
                by.as_uuid()
            )
            .fetch_optional(&mut *transaction)
            .await
            .map_err(|error| match violated(&error) {
                Some("check_ins_checked_in_by_fkey") => EffectError::Refused(CheckInRefusal::UnknownUser),
                _ => error.into(),
            })?;
            let Some(at) = inserted.map(utc) else { return Err(standing(&mut transaction, id).await) };
            let check_in = CheckIn { reservation: id, concert: ticket.concert, seat, at };
            let done = conclude(&mut transaction, record, check_in).await?;
            transaction.commit().await?;
            Ok(done)
        })
        .await
    }

    /// Takes a check-in back, so that its ticket lets in again. Where that was done before, this changes nothing and
    /// tells the same.
    pub async fn undo_check_in(
        &self,
        id: ReservationId,
        by: UserId,
    ) -> Result<UndoneCheckIn, EffectError<UndoRefusal>> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            // Check-ins and refunds wait for the same row.
            sqlx::query!("SELECT id FROM reservations WHERE id = $1 FOR UPDATE", id.as_uuid())
                .fetch_optional(&mut *transaction)
                .await?;
            sqlx::query!(
                "UPDATE check_ins SET undone_at = now_utc(), undone_by = $2
                 WHERE reservation_id = $1 AND undone_at IS NULL",
                id.as_uuid(),
                by.as_uuid()
            )
            .execute(&mut *transaction)
            .await
            .map_err(|error| match violated(&error) {
                Some("check_ins_undone_by_fkey") => EffectError::Refused(UndoRefusal::UnknownUser),
                _ => error.into(),
            })?;
            let row = sqlx::query!(
                r#"SELECT checked_in_at, checked_in_by, undone_at AS "undone_at!", undone_by AS "undone_by!"
                   FROM check_ins WHERE reservation_id = $1 ORDER BY id DESC LIMIT 1"#,
                id.as_uuid()
            )
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(EffectError::Refused(UndoRefusal::NeverCheckedIn))?;
            transaction.commit().await?;
            Ok(UndoneCheckIn {
                checked_in_at: utc(row.checked_in_at),
                checked_in_by: row.checked_in_by.into(),
                undone_at: utc(row.undone_at),
                undone_by: row.undone_by.into(),
            })
        })
        .await
    }
}

/// Locks the reservation of a ticket that is good; its seat.
async fn lock_ticket(
    connection: &mut PgConnection,
    ticket: &EntryTicket,
) -> Result<TicketSeat, EffectError<CheckInRefusal>> {
    let row = sqlx::query!(
        r#"SELECT r.status, r.concert_id, s.section, s.seat_number,
                  EXISTS (SELECT FROM payments p JOIN provider_payments a ON a.id = p.provider_payment_id
                          WHERE p.reservation_id = r.id AND a.state = 'authorised') AS "is_unsettled!"
           FROM reservations r JOIN seats s ON s.id = r.seat_id
           WHERE r.id = $1 FOR UPDATE OF r"#,
        ticket.reservation.as_uuid()
    )
    .fetch_optional(connection)
    .await?
    .filter(|row| ConcertId::from(row.concert_id) == ticket.concert)
    .ok_or(EffectError::Refused(CheckInRefusal::Unknown))?;
    match status(&row.status)? {
        // The money may still not be had, so no ticket was given out.
        ReservationStatus::Completed if row.is_unsettled => Err(EffectError::Refused(CheckInRefusal::Unknown)),
        ReservationStatus::Completed => Ok(seat(row.section, row.seat_number)?),
        ReservationStatus::Canceled => Err(EffectError::Refused(CheckInRefusal::Revoked)),
        // Signed by us all the same: another installation has the same keys.
        ReservationStatus::Pending => Err(EffectError::Refused(CheckInRefusal::Unknown)),
    }
}

/// Why a ticket whose reservation is locked could not be let in: the check-in that stands.
async fn standing(connection: &mut PgConnection, id: ReservationId) -> EffectError<CheckInRefusal> {
    let row = sqlx::query!(
        "SELECT checked_in_at, checked_in_by FROM check_ins WHERE reservation_id = $1 AND undone_at IS NULL",
        id.as_uuid()
    )
    .fetch_one(connection)
    .await;
    match row {
        Ok(row) => EffectError::Refused(CheckInRefusal::AlreadyCheckedIn {
            at: utc(row.checked_in_at),
            by: row.checked_in_by.into(),
        }),
        Err(error) => error.into(),
    }
}
