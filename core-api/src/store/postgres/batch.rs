//! What batches have in common: many effects in one transaction of a fixed few statements.
//!
//! A batch waits for nobody's locks: what somebody else has locked at the moment is left out, and done by itself, which
//! waits. So one user's slow transaction never holds up everybody, and a batch can't be part of a deadlock.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Db, within};
use crate::domain::Fault;
use crate::domain::effect::{Answer, Claim, Done, Record};

/// What became of one order of a batch.
#[derive(Debug)]
pub enum Verdict<T, R> {
    /// It is done.
    Done(Done<T>),
    /// It is refused; nothing of it was changed.
    Refused(R),
    /// Nothing of it was changed: it is to be done by itself.
    Alone,
}

/// Why a batch failed as a whole.
#[derive(Debug)]
pub enum BatchError {
    /// Nothing was changed, and one order may be at fault: each is to be done by itself.
    Apart(Fault),
    /// The database is away: nothing was changed.
    Fault(Fault),
    /// It went away during the commit: all of it was changed, or nothing.
    Unsettled(Fault),
}

/// What goes wrong inside the transaction.
pub(super) enum Failure {
    Sql(sqlx::Error),
    Fault(Fault),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Db {
    /// Runs `work` in a transaction and commits it. `written` is told when only the commit is left.
    pub(super) async fn in_batch<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
        written: impl FnOnce(),
    ) -> Result<T, BatchError> {
        let committing = AtomicBool::new(false);
        let done = within(async {
            let mut transaction = self.pool.begin().await?;
            let done = work(&mut transaction).await?;
            committing.store(true, Ordering::Relaxed);
            written();
            transaction.commit().await?;
            Ok(done)
        });
        done.await.map_err(|failure| {
            let is_committing = committing.load(Ordering::Relaxed);
            match failure {
                Failure::Sql(error) if is_definite(&error, is_committing) => BatchError::Apart(error.into()),
                Failure::Sql(error) if is_committing => BatchError::Unsettled(error.into()),
                Failure::Sql(error) => BatchError::Fault(error.into()),
                Failure::Fault(fault) if is_committing => BatchError::Unsettled(fault),
                Failure::Fault(fault @ Fault::Internal(_)) => BatchError::Apart(fault),
                Failure::Fault(fault @ Fault::Unavailable(_)) => BatchError::Fault(fault),
            }
        })
    }
}

/// Whether the server itself said that nothing was changed. What ends a connection during the commit may have come after
/// it.
fn is_definite(error: &sqlx::Error, committing: bool) -> bool {
    let code = error.as_database_error().and_then(|database| database.code().map(std::borrow::Cow::into_owned));
    code.is_some_and(|code| !committing || !["08", "57", "XX"].iter().any(|class| code.starts_with(class)))
}

/// The attempts of these claims that still own their keys; from here to the end of the transaction nobody takes those
/// over.
pub(super) async fn lock_claims(
    connection: &mut PgConnection,
    claims: impl Iterator<Item = &Claim> + Clone,
) -> Result<HashSet<Uuid>, Failure> {
    let users: Vec<Uuid> = claims.clone().map(|claim| claim.user.as_uuid()).collect();
    if users.is_empty() {
        return Ok(HashSet::new());
    }
    let keys: Vec<String> = claims.clone().map(|claim| claim.key.as_str().to_owned()).collect();
    let attempts: Vec<Uuid> = claims.map(|claim| claim.attempt).collect();
    let owned = sqlx::query_scalar!(
        "SELECT k.attempt FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS claim (user_id, key, attempt)
         JOIN idempotency_keys k ON k.user_id = claim.user_id AND k.key = claim.key AND k.attempt = claim.attempt
         WHERE k.state = 'in_progress' FOR UPDATE OF k SKIP LOCKED",
        &users,
        &keys,
        &attempts
    )
    .fetch_all(connection)
    .await?;
    Ok(owned.into_iter().collect())
}

/// The orders of a batch that are done, each with what it came to.
pub(super) fn done<'a, O, T, R>(
    orders: &'a [O],
    verdicts: &'a [Verdict<T, R>],
) -> impl Iterator<Item = (&'a O, &'a Done<T>)> {
    orders.iter().zip(verdicts).filter_map(|(order, verdict)| match verdict {
        Verdict::Done(done) => Some((order, done)),
        Verdict::Refused(_) | Verdict::Alone => None,
    })
}

/// What one order comes to, by `decision` over what is locked: `None` where it can't be decided from that. Whether its
/// attempt still owns its key is asked before: a superseded one takes only itself out.
pub(super) fn verdict<T, R>(
    record: &Record<T>,
    owned: &HashSet<Uuid>,
    decision: impl FnOnce() -> Option<Result<T, R>>,
) -> Verdict<T, R> {
    if record.claim.as_ref().is_some_and(|claim| !owned.contains(&claim.attempt)) {
        return Verdict::Alone;
    }
    match decision() {
        None => Verdict::Alone,
        Some(Err(refusal)) => Verdict::Refused(refusal),
        Some(Ok(outcome)) => {
            let answer = (record.render)(&outcome);
            Verdict::Done(Done { outcome, answer })
        }
    }
}

/// Answers that are to be kept under their keys, as columns.
#[derive(Default)]
pub(super) struct KeptAnswers {
    pub(super) users: Vec<Uuid>,
    pub(super) keys: Vec<String>,
    pub(super) statuses: Vec<i16>,
    pub(super) bodies: Vec<Vec<u8>>,
}

impl KeptAnswers {
    pub(super) fn add(&mut self, claim: &Claim, answer: &Answer) {
        self.users.push(claim.user.as_uuid());
        self.keys.push(claim.key.as_str().to_owned());
        self.statuses.push(i16::try_from(answer.status).unwrap_or(i16::MAX));
        self.bodies.push(answer.body.clone());
    }
}

/// Whether a statement changed as many rows as it was meant to.
pub(super) fn all(changed: i64, wanted: usize) -> bool {
    usize::try_from(changed).is_ok_and(|changed| changed == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_decides_nothing() {
        for error in [sqlx::Error::PoolTimedOut, sqlx::Error::WorkerCrashed] {
            assert!(!is_definite(&error, false) && !is_definite(&error, true));
        }
    }
}
