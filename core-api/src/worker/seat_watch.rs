//! Keeps an eye on the seats that somebody watches.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::repeat::repeat;
use crate::service::SeatWatch;

/// How often. What is read is as old as a list of seats may be.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks after them until the process stops.
pub(crate) async fn watch_seats(watch: SeatWatch, stopping: CancellationToken) {
    repeat("seat watch", PAUSE, stopping, || async { watch.refresh_all().await.map(|()| false) }).await;
}
