//! Doing something again and again until the process stops.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::Fault;

/// The longest pause after failures.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Runs `round` again and again: at once while it says that there is more to do, after `pause` when there is not, and
/// after ever longer pauses, up to ten seconds, while it fails. Returns once the process stops, between two rounds.
pub(super) async fn repeat<F: Future<Output = Result<bool, Fault>>>(
    name: &'static str,
    pause: Duration,
    stopping: CancellationToken,
    mut round: impl FnMut() -> F,
) {
    let mut failures: u32 = 0;
    while !stopping.is_cancelled() {
        let wait = match round().await {
            Ok(more) => {
                if failures > 0 {
                    tracing::info!(task = name, failures, "works again");
                }
                failures = 0;
                if more { Duration::ZERO } else { pause }
            }
            Err(fault) => {
                // Once an outage, not once a round.
                if failures == 0 {
                    tracing::warn!(task = name, %fault, "failed, will be tried again");
                }
                failures = failures.saturating_add(1);
                pause_after(failures, pause)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopping.cancelled() => {}
        }
    }
}

/// Twice as long after each failure.
fn pause_after(failures: u32, pause: Duration) -> Duration {
    pause.saturating_mul(1_u32.checked_shl(failures.min(16)).unwrap_or(u32::MAX)).min(MAX_PAUSE.max(pause))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        let pause = Duration::from_millis(500);
        assert_eq!(pause_after(1, pause), Duration::from_secs(1));
        assert_eq!(pause_after(2, pause), Duration::from_secs(2));
        assert_eq!(pause_after(u32::MAX, pause), MAX_PAUSE);
        assert_eq!(pause_after(3, Duration::from_mins(1)), Duration::from_mins(1));
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_through_failures_and_ends_when_asked() {
        let (stopping, rounds) = (CancellationToken::new(), AtomicU32::new(0));
        repeat("test", Duration::from_millis(1), stopping.clone(), || async {
            match rounds.fetch_add(1, Ordering::Relaxed) {
                0..10 => Err(Fault::Unavailable("away".to_owned())),
                10..20 => Ok(true),
                _ => {
                    stopping.cancel();
                    Ok(false)
                }
            }
        })
        .await;
        assert_eq!(rounds.into_inner(), 21);
    }
}
