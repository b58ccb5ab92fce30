//! Commands that run to their end, in front of the person at the terminal.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::process::signal_group;
use crate::{programs, wait, watchdog};

/// How often it is asked whether it has ended.
const STEP: Duration = Duration::from_millis(30);
/// How long an interrupted command may take to end by itself.
const INTERRUPT_TIMEOUT: Duration = Duration::from_secs(5);

/// A command in the foreground, with our terminal and a process group of its own that ends with
/// us.
#[derive(Debug)]
pub struct Foreground {
    child: Child,
}

impl Foreground {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.process_group(0);
        let child = programs::spawn(command)
            .with_context(|| format!("{} could not be run", command.get_program().display()))?;
        watchdog::watch_group(child.id(), "TERM");
        Ok(Self { child })
    }

    /// Its piped output.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Waits for its end. After [`wait::cancel`] it is interrupted as by Ctrl-C, and the answer is
    /// an error.
    pub fn wait(mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                watchdog::forget_group(self.child.id(), "TERM");
                return Ok(status);
            }
            if wait::is_cancelled() {
                bail!("stopped");
            }
            std::thread::sleep(STEP);
        }
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        if !ended(&mut self.child) {
            let group = self.child.id();
            signal_group(group, Signal::INT);
            wait::quietly(INTERRUPT_TIMEOUT, || ended(&mut self.child));
            signal_group(group, Signal::KILL);
            // Killed, it ends without our help.
            let _ = self.child.wait();
            watchdog::forget_group(group, "TERM");
        }
    }
}
