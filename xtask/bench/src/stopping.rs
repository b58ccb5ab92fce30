//! Ctrl-C: what is being measured then is none.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Listens from now on, to the end.
pub(crate) fn listen() {
    tokio::spawn(async {
        if tokio::signal::ctrl_c().await.is_ok() {
            ASKED.store(true, Ordering::Relaxed);
        }
    });
}

/// Fails once somebody wants it to stop.
pub(crate) fn check() -> Result<()> {
    ensure!(!is_asked(), "stopped by Ctrl-C");
    Ok(())
}

pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
