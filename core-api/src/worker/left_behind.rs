//! Looks for locks that a crash has left behind.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::service::{HandingOn, LeftBehind};

/// How often. A lock is taken for left behind at its second look: such a seat can be had again within twice this.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks until the process stops.
pub(crate) async fn look_for_locks(left_behind: LeftBehind, stopping: CancellationToken) {
    repeat("locks left behind", PAUSE, stopping, || async { left_behind.look().await.map(|()| false) }).await;
}

/// Looks, until the process stops, for seats that a crash has left in the middle of being handed on.
pub(crate) async fn look_for_seats(handing_on: HandingOn, stopping: CancellationToken) {
    repeat("seats being handed on", PAUSE, stopping, || async {
        handing_on.look(Instant::now()).await.map(|()| false)
    })
    .await;
}
