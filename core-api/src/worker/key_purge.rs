//! Forgets idempotency keys whose time is over, and what providers told long ago.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::store::postgres::Db;

/// How often.
const PAUSE: Duration = Duration::from_mins(1);
/// How many at once.
const BATCH: u64 = 1_000;

/// Purges until the process stops.
pub(crate) async fn purge_keys(db: Db, stopping: CancellationToken) {
    repeat("key purge", PAUSE, stopping, || async {
        let purged = db.purge_keys(i64::try_from(BATCH).unwrap_or(i64::MAX)).await?;
        Ok(purged == BATCH)
    })
    .await;
}

/// The same for what providers have told.
pub(crate) async fn purge_events(db: Db, stopping: CancellationToken) {
    repeat("event purge", PAUSE, stopping, || async {
        let purged = db.purge_events(i64::try_from(BATCH).unwrap_or(i64::MAX)).await?;
        Ok(purged == BATCH)
    })
    .await;
}
