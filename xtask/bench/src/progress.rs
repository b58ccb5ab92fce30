//! What is going on, for who waits for it.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use indicatif::ProgressBar;

static SPINNER: OnceLock<ProgressBar> = OnceLock::new();

/// Tells which measurement is under way; on a terminal only.
pub(crate) fn say(name: &str, round: u32, rounds: u32) {
    let spinner = SPINNER.get_or_init(|| {
        if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() }
    });
    spinner.enable_steady_tick(Duration::from_millis(200));
    spinner.set_message(format!("{name}, round {} of {rounds}", round + 1));
}

/// Takes it away again.
pub(crate) fn clear() {
    if let Some(spinner) = SPINNER.get() {
        spinner.finish_and_clear();
    }
}
