//! Child processes that never outlive this one.
//!
//! Three nets, each for what the one before lets through: `Drop` stops a process in the ordinary
//! way; `setpriv --pdeathsig` has Linux stop it when this process dies without dropping anything;
//! and a watchdog shell ends whole groups and removes temporary folders everywhere else.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};

pub use crate::foreground::Foreground;
use crate::proc_fs::{PROC, Processes};
use crate::{programs, wait, watchdog};

/// How long a dropped process may take to end by itself.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a killed process may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// A tail is for a person's eyes; no log is read whole for it.
const TAIL_MAX_BYTES: u64 = 64 * 1024;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Launch {
    name: String,
    program: OsString,
    wrapper: Vec<OsString>,
    args: Vec<OsString>,
    env: BTreeMap<String, OsString>,
    folder: Option<PathBuf>,
    log: PathBuf,
    stop_signal: Signal,
    orphan_signal: &'static str,
}

impl Launch {
    /// `program`, called `name` in messages, with both its outputs appended to the file `log`.
    pub fn new(name: impl Into<String>, program: impl AsRef<OsStr>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.as_ref().to_owned(),
            wrapper: Vec::new(),
            args: Vec::new(),
            env: BTreeMap::new(),
            folder: None,
            log: log.into(),
            stop_signal: Signal::TERM,
            orphan_signal: "KILL",
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one environment variable. Of the parent's environment only
    /// [`programs::KEPT_VARIABLES`] are handed down.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Sets several environment variables.
    #[must_use]
    pub fn envs<N: Into<String>, V: AsRef<OsStr>>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        for (name, value) in variables {
            self = self.env(name, value);
        }
        self
    }

    /// Sets the folder it runs in.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// A command line that ends by executing the program in its own place (`unshare …`), so that
    /// the process id stays the same.
    #[must_use]
    pub fn wrapper(mut self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.wrapper = words.into_iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// The signal that asks the program to end in good order; SIGTERM unless set.
    #[must_use]
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.stop_signal = signal;
        self
    }

    /// The signal, named without `SIG`, that the program gets when this process has died; `KILL`
    /// unless set. For programs that leave something behind when they are killed.
    #[must_use]
    pub fn orphan_signal(mut self, signal: &'static str) -> Self {
        self.orphan_signal = signal;
        self
    }

    /// Starts it in a process group of its own.
    pub fn start(self) -> Result<Process> {
        let child = self.spawn()?;
        let state = State { child, status: None, changed: BTreeMap::new() };
        Ok(Process { launch: self, state: Mutex::new(state) })
    }

    fn command(&self) -> Result<Command> {
        let mut words: Vec<OsString> = self.wrapper.clone();
        if programs::has_pdeathsig() {
            // Inside the wrapper: a change of credentials would clear the setting.
            words.extend(["setpriv", "--pdeathsig", self.orphan_signal].map(OsString::from));
        }
        words.push(self.program.clone());
        words.extend(self.args.iter().cloned());

        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("{} can't be written", self.log.display()))?;
        let mut words = words.into_iter();
        let mut command = programs::command(words.next().unwrap_or_default());
        command.args(words).envs(&self.env).stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).process_group(0);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        Ok(command)
    }

    fn spawn(&self) -> Result<Child> {
        let mut command = self.command()?;
        let child = on_spawner_thread(move || programs::spawn(&mut command))
            .with_context(|| format!("{} could not be started", self.name))?;
        watchdog::watch_group(child.id(), self.orphan_signal);
        Ok(child)
    }
}

/// Runs `work` on the one thread that all children are spawned from.
///
/// Linux sends the parent-death signal when the *thread* that spawned the child ends. Test
/// threads end with their test, but a server may be shared by many tests, so all children come
/// from a thread that lives as long as the process.
fn on_spawner_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    type Job = Box<dyn FnOnce() + Send>;
    static JOBS: OnceLock<Sender<Job>> = OnceLock::new();
    let jobs = JOBS.get_or_init(|| {
        let (sender, receiver) = channel::<Job>();
        std::thread::spawn(move || receiver.into_iter().for_each(|job| job()));
        sender
    });
    let (answer, answered) = channel();
    let job = Box::new(move || {
        // Nobody waits for the answer only if the caller's thread has died.
        let _ = answer.send(work());
    });
    jobs.send(job).map_err(|_| std::io::Error::other("the spawner thread has ended"))?;
    answered.recv().map_err(std::io::Error::other)?
}

/// A running (or ended) child process. Dropping it stops it.
#[derive(Debug)]
pub struct Process {
    launch: Launch,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    child: Child,
    /// Set once the child was waited for; its id is nobody's or somebody else's from then on.
    status: Option<ExitStatus>,
    /// What it was restarted with, beyond what it was launched with.
    changed: BTreeMap<String, String>,
}

impl Process {
    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.launch.name
    }

    /// Its process id, which is also its process group's.
    pub fn pid(&self) -> u32 {
        self.state().child.id()
    }

    /// The file with its output.
    pub fn log(&self) -> &Path {
        &self.launch.log
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        let mut state = self.state();
        if state.status.is_none()
            && let Ok(Some(status)) = state.child.try_wait()
        {
            state.status = Some(status);
            let group = state.child.id();
            // Helpers of a crashed program (nginx's workers) would keep its port.
            signal_group(group, Signal::KILL);
            watchdog::forget_group(group, self.launch.orphan_signal);
        }
        state.status
    }

    /// Whether it has not ended. A paused process is running.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// Fails with the end of its log if it has ended.
    pub fn ensure_running(&self) -> Result<()> {
        if let Some(status) = self.exit_status() {
            bail!("{} has ended ({status}). The end of {}:\n{}", self.name(), self.log().display(), self.log_tail(20));
        }
        Ok(())
    }

    /// The last `lines` lines of its output.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.launch.log, lines).unwrap_or_default()
    }

    /// Asks it to end (SIGTERM unless launched otherwise) and kills it if it has not after
    /// `timeout`. Answers whether it ended by itself.
    pub fn terminate(&self, timeout: Duration) -> bool {
        self.signal(self.launch.stop_signal);
        // A paused process could not hear it.
        self.resume();
        let ended = wait::quietly(timeout, || !self.is_running());
        if !ended {
            self.kill();
        }
        ended
    }

    /// Kills it and its process group at once (SIGKILL), as a crash would, and waits until it is
    /// gone.
    pub fn kill(&self) {
        if self.is_running() {
            signal_group(self.pid(), Signal::KILL);
            wait::quietly(KILL_TIMEOUT, || !self.is_running());
        }
    }

    /// Sends it a signal, if it is still running.
    pub fn signal(&self, signal: Signal) {
        if self.is_running()
            && let Some(pid) = to_pid(self.pid())
        {
            // It may end between the two lines; then there is nobody to signal.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Stops it and all its descendants where they are (SIGSTOP): connections stay open and
    /// nothing answers any more.
    pub fn pause(&self) {
        self.signal_tree(Signal::STOP);
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) {
        self.signal_tree(Signal::CONT);
    }

    /// Starts the same command again. It must have ended.
    pub fn restart(&self) -> Result<()> {
        self.restart_with(&BTreeMap::new())
    }

    /// Starts the same command again with other values of some variables, which later restarts keep. It must have
    /// ended.
    pub fn restart_with(&self, variables: &BTreeMap<String, String>) -> Result<()> {
        if self.is_running() {
            bail!("{} is still running", self.name());
        }
        let mut changed = self.state().changed.clone();
        changed.extend(variables.clone());
        let child = self.launch.clone().envs(changed.clone()).spawn()?;
        *self.state() = State { child, status: None, changed };
        Ok(())
    }

    /// PostgreSQL's server processes are leaders of groups of their own, so a signal to the group
    /// would miss them.
    fn signal_tree(&self, signal: Signal) {
        self.signal(signal);
        for pid in descendants(self.pid()) {
            if let Some(pid) = to_pid(pid) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate(DROP_TIMEOUT);
    }
}

fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

pub(crate) fn signal_group(group: u32, signal: Signal) {
    if let Some(group) = to_pid(group) {
        // No such group is the usual answer after an orderly end.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}

/// The ids of all processes that descend from `root`, without itself; from `ps` where there is no `/proc`.
fn descendants(root: u32) -> Vec<u32> {
    if let Ok(processes) = Processes::read(Path::new(PROC)) {
        return processes.descendants(root);
    }
    let listing = programs::output(programs::command("ps").args(["-A", "-o", "pid=,ppid="])).unwrap_or_default();
    let parents: Vec<(u32, u32)> = listing
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// The last `lines` lines of a file.
pub fn tail(file: &Path, lines: usize) -> std::io::Result<String> {
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_MAX_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_MAX_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n"))
}
