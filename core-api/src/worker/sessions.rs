//! Tells every process which sessions have been ended, and forgets those that nobody can use any more.
//!
//! `PostgreSQL` has the truth. Each core-api reads from there itself, so that an ended session is over here whatever Redis
//! does; gateways have no eye on these tables and follow a log in Redis, which is filled from here.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use common::clock::SharedClock;
use common::ids::SessionId;
use common::tokens::EndedSessions;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::repeat::repeat;
use crate::domain::Fault;
use crate::domain::session::EndedSession;
use crate::store::postgres::Db;
use crate::store::redis::EndedLog;

/// How often: with a gateway's own pause, within a second.
const PAUSE: Duration = Duration::from_millis(250);
/// How far back is read again each time: longer than a transaction that ends a session may take to commit.
const OVERLAP: TimeDelta = TimeDelta::seconds(20);
/// How old what the log says of itself may be before that is renewed, where nothing was added.
const REFLECTED_FOR: TimeDelta = TimeDelta::seconds(5);
/// How many are read at once.
const BATCH: u16 = 1_000;
const PURGE_PAUSE: Duration = Duration::from_mins(1);
const PURGE_BATCH: u16 = 1_000;

/// Where to begin to read: all, or what may have been committed since `time`.
fn since(time: Option<DateTime<Utc>>) -> (DateTime<Utc>, SessionId) {
    (time.map_or(DateTime::UNIX_EPOCH, |time| time - OVERLAP), Uuid::nil().into())
}

/// Where to go on after a full batch; `None` after the last.
fn next(batch: &[EndedSession]) -> Option<(DateTime<Utc>, SessionId)> {
    batch.last().filter(|_| batch.len() >= usize::from(BATCH)).map(|last| (last.ended_at, last.id))
}

/// Keeps this process's own knowledge up to date until the process stops.
pub(crate) async fn know_ended_sessions(db: Db, ended: EndedSessions, clock: SharedClock, stopping: CancellationToken) {
    let known_until = std::sync::Mutex::new(None);
    let read_until = || *known_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    repeat("ended sessions", PAUSE, stopping, || async {
        let mut after = Some(since(read_until()));
        let mut first_time = None;
        while let Some(from) = after {
            let (batch, time) = db.ended_sessions(from, clock.now(), BATCH.into()).await?;
            ended.note(batch.iter().map(|session| (session.id, session.tokens_until.timestamp())), clock.now());
            first_time = first_time.or(Some(time));
            after = next(&batch);
        }
        *known_until.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = first_time;
        Ok(false)
    })
    .await;
}

/// Keeps the log in Redis up to date until the process stops. Every core-api does, and none needs another: to add what is
/// there changes nothing, and where Redis has lost something what the log says of itself is older too.
pub(crate) async fn log_ended_sessions(db: Db, log: EndedLog, clock: SharedClock, stopping: CancellationToken) {
    repeat("log of ended sessions", PAUSE, stopping, || async { fill(&db, &log, &clock).await.map(|()| false) }).await;
}

async fn fill(db: &Db, log: &EndedLog, clock: &SharedClock) -> Result<(), Fault> {
    let reflected = log.reflected().await?;
    let (mut batch, time) = db.ended_sessions(since(reflected), clock.now(), BATCH.into()).await?;
    if reflected.is_some_and(|reflected| reflected > time) {
        // Somebody else's clock was ahead: not to be believed.
        batch = db.ended_sessions(since(Some(time)), clock.now(), BATCH.into()).await?.0;
    }
    if batch.is_empty() && reflected.is_some_and(|reflected| time - reflected < REFLECTED_FOR) {
        return Ok(());
    }
    while let Some(after) = next(&batch) {
        log.add(&batch, None).await?;
        batch = db.ended_sessions(after, clock.now(), BATCH.into()).await?.0;
    }
    log.add(&batch, Some(time)).await
}

/// Purges until the process stops.
pub(crate) async fn purge_sessions(db: Db, clock: SharedClock, stopping: CancellationToken) {
    repeat("session purge", PURGE_PAUSE, stopping, || async {
        Ok(db.purge_sessions(clock.now(), PURGE_BATCH.into()).await? >= u64::from(PURGE_BATCH))
    })
    .await;
}
