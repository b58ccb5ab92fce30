//! Ctrl-C and its kin.

use anyhow::Result;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What shells report for a program ended by SIGINT.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// From now on the first SIGINT, SIGTERM or SIGHUP asks everything to stop in order
/// ([`stack::wait::is_cancelled`]); the second ends the process at once, and its children with it.
pub(crate) fn install() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for _ in &mut signals {
            if stack::wait::is_cancelled() {
                std::process::exit(EXIT_INTERRUPTED.into());
            }
            stack::wait::cancel();
        }
    });
    Ok(())
}
