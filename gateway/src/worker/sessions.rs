//! Keeps up with which sessions have been ended.

use std::time::Duration;

use common::clock::SharedClock;
use common::tokens::EndedSessions;
use tokio_util::sync::CancellationToken;

use crate::store::EndedLog;

/// How often: an ended session opens nothing any more a second after it was ended, core-api's own pause included.
const PAUSE: Duration = Duration::from_millis(500);

/// Follows the log until the process stops. While Redis is away what is known stays: to refuse everybody would be worse
/// than to let in, as far as the queue, who signed out a moment ago; core-api asks `PostgreSQL`.
pub(crate) async fn follow_ended_sessions(
    mut log: EndedLog,
    ended: EndedSessions,
    clock: SharedClock,
    stopping: CancellationToken,
) {
    let mut failing = false;
    while !stopping.is_cancelled() {
        let more = match log.read().await {
            Ok((found, more)) => {
                failing = false;
                ended.note(found, clock.now());
                more
            }
            Err(error) => {
                // Once an outage, not once a try.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the log of ended sessions can't be read");
                }
                false
            }
        };
        let pause = if more { Duration::ZERO } else { PAUSE };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => {}
        }
    }
}
