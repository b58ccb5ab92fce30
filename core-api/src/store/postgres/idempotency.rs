//! Idempotency keys. An effect's answer is kept in the effect's own transaction ([`keep`]); answers without an effect
//! are kept by themselves.

use sqlx::PgConnection;
use uuid::Uuid;

use super::errors::violated;
use super::{Db, within};
use crate::domain::Fault;
use crate::domain::effect::{Answer, Begin, Claim, Done, EffectError, Fingerprint, IdempotencyKey, Record};
use common::ids::UserId;

/// How long a key is remembered.
const KEY_LIFE_SECONDS: f64 = 24.0 * 3_600.0;
/// How long a try may be under way before its process is taken for dead. Longer than any request lives.
const TRY_LIFE_SECONDS: f64 = 30.0;
/// How often a key that vanishes between two looks is looked at again.
const BEGIN_ATTEMPTS: u8 = 3;

impl Db {
    /// Takes a key for a request, or says why it can't have it. Of several at once exactly one gets it.
    pub async fn begin(&self, user: UserId, key: &IdempotencyKey, print: Fingerprint) -> Result<Begin, Fault> {
        within(async {
            for _ in 0..BEGIN_ATTEMPTS {
                match self.take_key(user, key, print).await {
                    Ok(Some(claim)) => return Ok(Begin::Mine(claim)),
                    Ok(None) => {}
                    Err(error) if violated(&error) == Some("idempotency_keys_user_id_fkey") => {
                        return Ok(Begin::UnknownUser);
                    }
                    Err(error) => return Err(error.into()),
                }
                if let Some(begin) = self.look_at_key(user, key, print).await? {
                    return Ok(begin);
                }
            }
            Ok(Begin::InProgress)
        })
        .await
    }

    async fn take_key(
        &self,
        user: UserId,
        key: &IdempotencyKey,
        print: Fingerprint,
    ) -> Result<Option<Claim>, sqlx::Error> {
        let attempt = Uuid::now_v7();
        // New, or long over, or the same request whose process has died.
        let taken = sqlx::query_scalar!(
            "INSERT INTO idempotency_keys AS k (user_id, key, fingerprint, attempt, state, locked_until, expires_at)
             SELECT $1, $2, $3, $4, 'in_progress', at + make_interval(secs => $5), at + make_interval(secs => $6)
             FROM now_utc() AS at
             ON CONFLICT ON CONSTRAINT idempotency_keys_pkey DO UPDATE
             SET fingerprint = EXCLUDED.fingerprint, attempt = EXCLUDED.attempt, state = EXCLUDED.state,
                 response_status = NULL, response_body = NULL, locked_until = EXCLUDED.locked_until,
                 expires_at = EXCLUDED.expires_at, created_at = now_utc()
             WHERE k.expires_at <= now_utc()
                OR (k.state = 'in_progress' AND k.locked_until <= now_utc() AND k.fingerprint = EXCLUDED.fingerprint)
             RETURNING k.attempt",
            user.as_uuid(),
            key.as_str(),
            print.as_bytes(),
            attempt,
            TRY_LIFE_SECONDS,
            KEY_LIFE_SECONDS
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(taken.map(|attempt| Claim { user, key: key.clone(), attempt }))
    }

    /// What became of a key that somebody else has; `None` where it is gone by now.
    async fn look_at_key(
        &self,
        user: UserId,
        key: &IdempotencyKey,
        print: Fingerprint,
    ) -> Result<Option<Begin>, Fault> {
        let row = sqlx::query!(
            "SELECT fingerprint, response_status, response_body FROM idempotency_keys WHERE user_id = $1 AND key = $2",
            user.as_uuid(),
            key.as_str()
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| {
            if row.fingerprint != print.as_bytes() {
                return Begin::Reused;
            }
            match (row.response_status.and_then(|status| u16::try_from(status).ok()), row.response_body) {
                (Some(status), Some(body)) => Begin::Done(Answer { status, body }),
                _ => Begin::InProgress,
            }
        }))
    }

    /// Keeps the answer of a request that changed nothing. Whether the try still owned its key.
    pub async fn keep_answer(&self, claim: &Claim, answer: &Answer) -> Result<bool, Fault> {
        within(async {
            let mut connection = self.pool.acquire().await?;
            Ok(keep(&mut connection, claim, answer).await?)
        })
        .await
    }

    /// Forgets a try whose answer is not kept, so that the next one is as new. One that has an answer stays.
    pub async fn forget(&self, claim: &Claim) -> Result<(), Fault> {
        within(async {
            sqlx::query!(
                "DELETE FROM idempotency_keys
                 WHERE user_id = $1 AND key = $2 AND attempt = $3 AND state = 'in_progress'",
                claim.user.as_uuid(),
                claim.key.as_str(),
                claim.attempt
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    /// Removes at most `limit` keys whose time is over; how many.
    pub async fn purge_keys(&self, limit: i64) -> Result<u64, Fault> {
        within(async {
            let purged = sqlx::query!(
                "DELETE FROM idempotency_keys k
                 USING (SELECT user_id, key FROM idempotency_keys WHERE expires_at <= (SELECT now_utc())
                        ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) over
                 WHERE k.user_id = over.user_id AND k.key = over.key",
                limit
            )
            .execute(&self.pool)
            .await?;
            Ok(purged.rows_affected())
        })
        .await
    }
}

/// Keeps an answer under its claim; `false` where the try no longer owns the key.
async fn keep(connection: &mut PgConnection, claim: &Claim, answer: &Answer) -> Result<bool, sqlx::Error> {
    let kept = sqlx::query!(
        "UPDATE idempotency_keys SET state = 'done', response_status = $4, response_body = $5
         WHERE user_id = $1 AND key = $2 AND attempt = $3 AND state = 'in_progress'",
        claim.user.as_uuid(),
        claim.key.as_str(),
        claim.attempt,
        i16::try_from(answer.status).unwrap_or(i16::MAX),
        answer.body
    )
    .execute(connection)
    .await?;
    Ok(kept.rows_affected() == 1)
}

/// The last step of an effect's transaction: makes the answer and keeps it. Fails, and with it the transaction, where
/// another try has taken over.
pub(super) async fn conclude<T, R>(
    connection: &mut PgConnection,
    record: &Record<T>,
    outcome: T,
) -> Result<Done<T>, EffectError<R>> {
    let answer = (record.render)(&outcome);
    if let Some(claim) = &record.claim
        && !keep(connection, claim, &answer).await?
    {
        return Err(EffectError::Superseded);
    }
    Ok(Done { outcome, answer })
}
