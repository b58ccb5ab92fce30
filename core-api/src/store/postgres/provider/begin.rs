//! The beginning of an attempt: written before the provider is asked.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use common::ids::{PaymentId, ProviderPaymentId, ReservationId, UserId};
use common::money::Money;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::super::errors::violated;
use super::super::payments::{Locked, lock_reservations};
use super::super::{Db, unreadable, utc, within};
use super::AttemptRow;
use crate::domain::Fault;
use crate::domain::effect::{Claim, EffectError};
use crate::domain::payment::{LockedReservation, PayRefusal, payable};
use crate::domain::provider_payment::{Attempt, AttemptPart, METHOD, PaymentState};
use crate::domain::reservation::SeatLock;

/// How many of a user's attempts may come to nothing within an hour. Whoever needs more is trying out cards; the
/// provider, and those whose cards they are, would have the damage.
const MAX_FAILED: i64 = 20;

/// What is to be paid through a provider.
#[derive(Debug)]
pub struct NewAttempt<'a> {
    /// Whose.
    pub user: UserId,
    /// For what; none of them twice.
    pub reservations: &'a [ReservationId],
    /// Through which provider.
    pub provider: &'a str,
    /// The client's key, where the request had one.
    pub claim: Option<&'a Claim>,
    /// How long the hold waits for a decision.
    pub grace: TimeDelta,
    /// When the reconciler looks first: by then whoever began it is done with it, or dead.
    pub first_look: TimeDelta,
}

/// What became of it.
#[derive(Debug)]
pub enum Begun {
    /// It is written; the provider can be asked.
    Attempt {
        /// The attempt.
        attempt: Attempt,
        /// Its payments, in the order they were asked for.
        parts: Vec<AttemptPart>,
        /// Locks that are to last until the decision, longer than they would without.
        keep: Vec<SeatLock>,
    },
    /// There is nothing to pay, so no provider is needed.
    Free,
}

impl Db {
    /// Begins an attempt for a user's reservations, all or none, decided under the locks of their rows. From here on no
    /// other payment of theirs begins, and the sweeper leaves them alone until the decision is due.
    pub async fn begin_attempt(&self, new: &NewAttempt<'_>) -> Result<Begun, EffectError<PayRefusal>> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            if let Some(claim) = new.claim {
                own(&mut transaction, claim).await?;
            }
            let locked = lock_reservations(&mut transaction, new.user, new.reservations).await?;
            // Asked once everything is locked.
            let now = sqlx::query_scalar!(r#"SELECT now_utc() AS "now!""#).fetch_one(&mut *transaction).await?;
            let now = utc(now);
            let facts: Vec<LockedReservation> = locked.values().map(|locked| locked.reservation).collect();
            let amount = payable(new.reservations.len(), &facts, now).map_err(EffectError::Refused)?;
            if amount.is_zero() {
                return Ok(Begun::Free);
            }
            check_failed(&mut transaction, new.user).await?;
            let begun = write(&mut transaction, new, &locked, amount, now).await?;
            transaction.commit().await?;
            Ok(begun)
        })
        .await
    }

    /// The latest attempt under a client's key for exactly these reservations, made while a key lives.
    pub async fn attempt_of_key(&self, claim: &Claim, wanted: &[ReservationId]) -> Result<Option<Attempt>, Fault> {
        within(async {
            let row = sqlx::query_as!(
                AttemptRow,
                r#"SELECT id, user_id, amount, state, created_at, state_since, decide_until, now_utc() AS "now!"
                   FROM provider_payments
                   WHERE user_id = $1 AND idempotency_key = $2 AND created_at > now_utc() - interval '24 hours'
                   ORDER BY id DESC LIMIT 1"#,
                claim.user.as_uuid(),
                claim.key.as_str()
            );
            let Some(row) = row.fetch_optional(&self.pool).await? else { return Ok(None) };
            let attempt = Attempt::try_from(row)?;
            let parts = self.attempt_parts(attempt.id).await?;
            let is_same = parts.iter().map(|part| part.reservation).eq(wanted.iter().copied());
            Ok(is_same.then_some(attempt))
        })
        .await
    }
}

/// Makes sure that a claim is still its try's, and stays so to the end of the transaction.
async fn own(connection: &mut PgConnection, claim: &Claim) -> Result<(), EffectError<PayRefusal>> {
    let owned = sqlx::query_scalar!(
        "SELECT attempt FROM idempotency_keys
         WHERE user_id = $1 AND key = $2 AND attempt = $3 AND state = 'in_progress' FOR UPDATE",
        claim.user.as_uuid(),
        claim.key.as_str(),
        claim.attempt
    );
    owned.fetch_optional(connection).await?.map(|_| ()).ok_or(EffectError::Superseded)
}

async fn check_failed(connection: &mut PgConnection, user: UserId) -> Result<(), EffectError<PayRefusal>> {
    let failed = sqlx::query_scalar!(
        r#"SELECT count(*) AS "failed!" FROM provider_payments
           WHERE user_id = $1 AND state IN ('declined', 'void_due', 'voided')
             AND created_at > (SELECT now_utc()) - interval '1 hour'"#,
        user.as_uuid()
    );
    let is_within = failed.fetch_one(connection).await? < MAX_FAILED;
    is_within.then_some(()).ok_or(EffectError::Refused(PayRefusal::TooOften))
}

async fn write(
    connection: &mut PgConnection,
    new: &NewAttempt<'_>,
    locked: &HashMap<ReservationId, Locked>,
    amount: Money,
    now: DateTime<Utc>,
) -> Result<Begun, EffectError<PayRefusal>> {
    let (id, decide_until) = (ProviderPaymentId::generate(), now + new.grace);
    let parts = parts(new.reservations, locked)?;
    let of_parts = |of: fn(&AttemptPart) -> Uuid| parts.iter().map(of).collect::<Vec<Uuid>>();
    let amounts: Vec<Decimal> = parts.iter().map(|part| part.amount.as_decimal()).collect();
    let written = sqlx::query!(
        "WITH made AS (
             INSERT INTO provider_payments
                 (id, provider, user_id, amount, idempotency_key, decide_until, next_look_at, state_since, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
         ), parts AS (
             INSERT INTO payments
                 (id, reservation_id, user_id, amount, payment_status, payment_method, provider_payment_id)
             SELECT payment_id, reservation_id, $3, amount, 'pending', $9, $1
             FROM unnest($10::uuid[], $11::uuid[], $12::numeric[]) AS part (payment_id, reservation_id, amount)
         )
         UPDATE reservations SET paying_until = $6 WHERE id = ANY($11)",
        id.as_uuid(),
        new.provider,
        new.user.as_uuid(),
        amount.as_decimal(),
        new.claim.map(|claim| claim.key.as_str()),
        decide_until.naive_utc(),
        (now + new.first_look).naive_utc(),
        now.naive_utc(),
        METHOD,
        &of_parts(|part| part.payment.as_uuid()),
        &of_parts(|part| part.reservation.as_uuid()),
        &amounts
    );
    written.execute(connection).await.map_err(|error| match violated(&error) {
        // An attempt that nobody waits for any more, but which is not at its end either.
        Some("payments_pending_reservation_id_key") => EffectError::Refused(PayRefusal::InProgress),
        Some("provider_payments_user_id_fkey") => EffectError::Refused(PayRefusal::UnknownUser),
        _ => error.into(),
    })?;
    let attempt = Attempt {
        id,
        user: new.user,
        amount,
        state: PaymentState::Created,
        created_at: now,
        state_since: now,
        decide_until,
        read_at: now,
    };
    let longer = locked.values().filter(|locked| locked.reservation.deadline < decide_until);
    Ok(Begun::Attempt { attempt, parts, keep: longer.map(|locked| locked.lock).collect() })
}

fn parts(wanted: &[ReservationId], locked: &HashMap<ReservationId, Locked>) -> Result<Vec<AttemptPart>, Fault> {
    let part = |id: &ReservationId| {
        let locked = locked.get(id).ok_or_else(|| unreadable("payment", id))?;
        Ok(AttemptPart { payment: PaymentId::generate(), reservation: *id, amount: locked.reservation.amount })
    };
    wanted.iter().map(part).collect()
}
