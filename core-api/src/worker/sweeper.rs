//! The sweeper: ends reservations that were not paid for in time. It runs in every process.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::service::{Reserving, Returns};
use crate::store::postgres::Db;

/// How long after a deadline, at most, a sweep begins.
const PAUSE: Duration = Duration::from_millis(250);
/// How many reservations one sweep ends.
const BATCH: usize = 500;

/// Sweeps until the process stops.
pub(crate) async fn sweep(db: Db, returns: Returns, stopping: CancellationToken) {
    repeat("sweeper", PAUSE, stopping, || async {
        let swept = db.sweep(i64::try_from(BATCH).unwrap_or(i64::MAX)).await?;
        returns.swept(&swept).await;
        if swept.reservations > 0 {
            tracing::info!(reservations = swept.reservations, "ended what was not paid for in time");
        }
        Ok(swept.reservations == BATCH)
    })
    .await;
}

/// Releases, until the process stops, locks that could not be released in their time. Apart from the sweeper: that one
/// has to free seats in `PostgreSQL` even while Redis is away.
pub(crate) async fn release_left_over(reserving: Reserving, stopping: CancellationToken) {
    repeat("lock release", PAUSE, stopping, || async { reserving.release_left_over().await.map(|()| false) }).await;
}
