//! How long to wait before a request is sent again.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// A longer wait than this isn't obeyed: the visitor comes back earlier, and is told again.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(1);
/// The first wait after a failure that came with no advice; it doubles from there.
const BACKOFF_FIRST: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What `Retry-After` (RFC 9110, 10.2.3) says: seconds, or a date. `None` if it is neither.
pub(crate) fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    // A date in the past means "now".
    Some((date.with_timezone(&Utc) - now).to_std().unwrap_or_default())
}

/// The wait before the next attempt, `attempt` of them having failed (1 after the first).
///
/// `spread` (0 to 1) is the visitor's luck: up to half of the wait on top, as clients that were all
/// turned away in the same moment must not all return in the same moment.
pub(crate) fn wait_before_retry(advice: Option<Duration>, attempt: u32, spread: f64) -> Duration {
    let wait = match advice {
        Some(advice) => advice.min(RETRY_AFTER_MAX),
        None => BACKOFF_FIRST.saturating_mul(1 << attempt.saturating_sub(1).min(10)).min(BACKOFF_MAX),
    };
    // "0 seconds" is no invitation to a busy loop.
    let wait = wait.max(Duration::from_millis(50));
    wait + wait.mul_f64(spread.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = DateTime::parse_from_rfc3339("2026-01-05T10:00:00Z").unwrap().to_utc();
        let parse = |value| parse_retry_after(value, now);
        assert_eq!(parse("3"), Some(Duration::from_secs(3)));
        assert_eq!(parse(" 0 "), Some(Duration::ZERO));
        assert_eq!(parse("Mon, 05 Jan 2026 10:00:07 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(parse("Mon, 05 Jan 2026 09:59:00 GMT"), Some(Duration::ZERO));
        for bad in ["", "-1", "1.5", "soon", "99999999999999999999999"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn advice_is_obeyed_but_not_for_ever() {
        assert_eq!(wait_before_retry(Some(Duration::from_secs(2)), 1, 0.0), Duration::from_secs(2));
        assert_eq!(wait_before_retry(Some(Duration::from_secs(2)), 1, 1.0), Duration::from_secs(3));
        assert_eq!(wait_before_retry(Some(Duration::from_hours(24)), 1, 0.0), RETRY_AFTER_MAX);
        assert!(wait_before_retry(Some(Duration::ZERO), 1, 0.0) > Duration::ZERO);
    }

    #[test]
    fn without_advice_the_wait_doubles_up_to_a_limit() {
        let waits: Vec<_> = (1..=7).map(|n| wait_before_retry(None, n, 0.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(wait_before_retry(None, u32::MAX, 0.0), BACKOFF_MAX);
    }
}
