//! Private Redis servers: alone, as a cluster, or watched by sentinels.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Launch, Process};
use crate::scratch::Scratch;
use crate::{ports, programs, resp, wait};

pub use crate::redis_cluster::RedisCluster;
pub use crate::redis_sentinel::{RedisSentinel, RedisSentinelOptions, SENTINEL_MASTER};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How a [`Redis`] runs. The default is a test's: a free port, a temporary folder, nothing
/// written to disk.
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// The folder of its data and its log file `redis.log`; a temporary one if none.
    pub dir: Option<PathBuf>,
    /// The log file, if it is not to be `redis.log` in `dir`.
    pub log: Option<PathBuf>,
    /// The port on 127.0.0.1; a free one if none.
    pub port: Option<u16>,
    /// Whether data survives a restart (append-only file).
    pub appendonly: bool,
    /// More of `redis-server`'s arguments, such as `["--maxmemory", "64mb"]`.
    pub more: Vec<String>,
}

/// A Redis server on 127.0.0.1. Dropping it stops it.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
    // After the process: fields are dropped in order.
    _scratch: Option<Scratch>,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub fn start(options: &RedisOptions) -> Result<Self> {
        let program = programs::find("redis-server").context("redis-server is not installed (or not in PATH)")?;
        let scratch = match options.dir {
            Some(_) => None,
            None => Some(Scratch::new("redis")?),
        };
        let dir = match (&options.dir, &scratch) {
            (Some(dir), _) => dir.as_path(),
            (None, Some(scratch)) => scratch.path(),
            (None, None) => bail!("no folder for Redis"),
        };
        std::fs::create_dir_all(dir)?;
        let (process, port) = ports::with_port(options.port, |port| {
            let process = launch(&program, dir, port, options).start()?;
            wait_until_ready(&process, port, None)?;
            Ok((process, port))
        })?;
        Ok(Self { process, port, _scratch: scratch })
    }

    /// `redis://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server process, to kill, pause or resume.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it in good order.
    pub fn stop(&self) {
        self.process.terminate(STOP_TIMEOUT);
    }

    /// Stops it if it runs, and starts it again with the same port and data folder. With
    /// `appendonly` its data is back, otherwise it is empty.
    pub fn restart(&self) -> Result<()> {
        self.stop();
        self.process.restart()?;
        wait_until_ready(&self.process, self.port, None)
    }

    /// Sends one command and answers its flat reply as text, such as `command(&["DBSIZE"])`. An
    /// error reply is an error.
    pub fn command(&self, words: &[&str]) -> Result<String> {
        resp::command(self.port, words)
    }

    /// What it takes itself for: `master` or `slave`; nothing when it does not answer.
    pub fn role(&self) -> String {
        self.replication("role").unwrap_or_default()
    }

    /// Whether it is a replica that has all of its master's data.
    pub(crate) fn is_replica_in_sync(&self) -> bool {
        self.replication("master_link_status").is_some_and(|status| status == "up")
    }

    /// How many replicas in sync a master sees.
    pub(crate) fn online_replicas(&self) -> usize {
        let info = self.command(&["INFO", "replication"]).unwrap_or_default();
        info.lines().filter(|line| line.starts_with("slave") && line.contains("state=online")).count()
    }

    fn replication(&self, field: &str) -> Option<String> {
        let info = self.command(&["INFO", "replication"]).ok()?;
        info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
    }
}

fn launch(program: &Path, dir: &Path, port: u16, options: &RedisOptions) -> Launch {
    let log = options.log.clone().unwrap_or_else(|| dir.join("redis.log"));
    let appendonly = if options.appendonly { "yes" } else { "no" };
    Launch::new("redis", program, log)
        .args(["--port", &port.to_string()])
        .args(["--bind", "127.0.0.1", "--daemonize", "no", "--save", ""])
        .args(["--appendonly", appendonly])
        .args([OsStr::new("--dir"), dir.as_os_str()])
        // For faults in tests: DEBUG SLEEP, DEBUG JMAP. Loopback only, like the server.
        .args(["--enable-debug-command", "local"])
        .args(&options.more)
}

/// Waits until this very process answers on the port: another server there must not pass for it.
pub(crate) fn wait_until_ready(process: &Process, port: u16, password: Option<&str>) -> Result<()> {
    let own = format!("process_id:{}", process.pid());
    wait::until("redis to answer", START_TIMEOUT, || {
        process.ensure_running()?;
        let Ok(info) = resp::command_as(port, password, &["INFO", "server"]) else {
            return Ok(None);
        };
        // While it loads its data it answers INFO, but -LOADING to everything else.
        let answers = resp::command_as(port, password, &["PING"]).is_ok();
        Ok((answers && info.lines().any(|line| line == own)).then_some(()))
    })
}
