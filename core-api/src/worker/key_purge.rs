//! Forgets idempotency keys whose time is over.

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
