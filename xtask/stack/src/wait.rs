//! Waiting for a condition, always with a deadline.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a test waits for a state that another task or process reaches.
///
/// It is far beyond what a machine needs that is busy with other work. Only a test that fails waits this long, so no
/// test sets a tighter limit of its own, and none asserts speed.
pub const PATIENCE: Duration = Duration::from_mins(2);

const STEP: Duration = Duration::from_millis(15);

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Makes every wait that is under way or still to come fail at once, except those for a
/// process's end: for a program that was told to stop while it was still starting things.
pub fn cancel() {
    CANCELLED.store(true, Ordering::SeqCst);
}

/// Whether [`cancel`] was called.
pub fn is_cancelled() -> bool {
    CANCELLED.load(Ordering::SeqCst)
}

/// Asks `probe` every few milliseconds until it answers `Some`. An error from it ends the wait;
/// so does `timeout`, with an error that names `what`.
pub fn until<T>(what: &str, timeout: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if is_cancelled() {
            bail!("stopped while waiting for {what}");
        }
        if Instant::now() >= deadline {
            bail!("{what}: not within {timeout:?}");
        }
        std::thread::sleep(STEP);
    }
}

/// Like [`until`], for what must be waited for even after [`cancel`]. Answers whether `done`
/// became true in time.
pub(crate) fn quietly(timeout: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(STEP);
    }
}
