//! Looks for locks that a crash has left behind.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::service::LeftBehind;

/// How often. A lock is taken for left behind at its second look: such a seat can be had again within twice this.
const PAUSE: Duration = Duration::from_secs(2);

/// Looks until the process stops.
pub(crate) async fn look_for_locks(left_behind: LeftBehind, stopping: CancellationToken) {
    repeat("locks left behind", PAUSE, stopping, || async { left_behind.look().await.map(|()| false) }).await;
}
