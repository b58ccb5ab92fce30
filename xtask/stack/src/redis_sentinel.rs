//! A master, replicas and the sentinels that replace the master when it dies.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{Launch, Process};
use crate::redis::{Redis, RedisOptions, wait_until_ready};
use crate::scratch::Scratch;
use crate::{ports, programs, resp, wait};

/// What the sentinels call the master; the services' default for `REDIS_SENTINEL_MASTER`.
pub const SENTINEL_MASTER: &str = "onsale";

const TIMEOUT: Duration = Duration::from_secs(30);
const REPLICAS: usize = 2;
const SENTINELS: usize = 3;
/// Who agrees that the master is down.
const QUORUM: usize = 2;
/// A master that is silent for so long is down.
const DOWN_AFTER_MS: u32 = 1_000;
/// How long one try to replace it may take; the next begins after twice that.
const FAILOVER_TIMEOUT_MS: u32 = 2_000;

/// What a [`RedisSentinel`] asks its clients for. The default is nothing.
#[derive(Clone, Debug, Default)]
pub struct RedisSentinelOptions {
    /// More of the data nodes' arguments, such as a user (`--user …`). Sentinels and this crate go on
    /// as the default user without a password.
    pub nodes: Vec<String>,
    /// More lines of the sentinels' configuration, such as `requirepass secret`.
    pub sentinels: Vec<String>,
}

/// A master and two replicas in sync, watched by three sentinels that know each other, all on
/// 127.0.0.1. Dropping it stops them.
#[derive(Debug)]
pub struct RedisSentinel {
    // Dropped in this order: sentinels must not see their master stop.
    sentinels: Vec<Sentinel>,
    nodes: Vec<Redis>,
}

impl RedisSentinel {
    /// Starts them and waits until a failover could follow.
    pub fn start() -> Result<Self> {
        Self::start_with(&RedisSentinelOptions::default())
    }

    /// The same with other options.
    pub fn start_with(options: &RedisSentinelOptions) -> Result<Self> {
        let master = Redis::start(&node(options, &["--repl-diskless-sync-delay", "0"]))?;
        let port = master.port().to_string();
        let replicas = (0..REPLICAS)
            .map(|_| Redis::start(&node(options, &["--replicaof", &format!("127.0.0.1 {port}")])))
            .collect::<Result<Vec<_>>>()?;
        wait::until("the replicas to be in sync", TIMEOUT, || {
            let in_sync = replicas.iter().all(Redis::is_replica_in_sync) && master.online_replicas() == REPLICAS;
            Ok(in_sync.then_some(()))
        })?;
        let sentinels =
            (0..SENTINELS).map(|_| Sentinel::start(master.port(), &options.sentinels)).collect::<Result<Vec<_>>>()?;
        let nodes = std::iter::once(master).chain(replicas).collect();
        let started = Self { sentinels, nodes };
        started.wait_until_ok()?;
        Ok(started)
    }

    /// The sentinels' URLs, comma-separated.
    pub fn urls(&self) -> String {
        let urls: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("redis://127.0.0.1:{}", sentinel.port)).collect();
        urls.join(",")
    }

    /// The data nodes; the first began as the master.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The sentinels' processes, in the order of [`urls`](Self::urls).
    pub fn sentinels(&self) -> impl Iterator<Item = &Process> {
        self.sentinels.iter().map(|sentinel| &sentinel.process)
    }

    /// Sends each sentinel a command, such as `["SENTINEL", "REMOVE", "onsale"]`.
    pub fn tell(&self, words: &[&str]) -> Result<()> {
        self.sentinels.iter().try_for_each(|sentinel| sentinel.command(words).map(drop))
    }

    /// The node that all sentinels that answer call master.
    pub fn master(&self) -> Result<&Redis> {
        let mut ports = self.views().filter_map(|view| view.port());
        let port = ports.next().context("no sentinel names a master")?;
        ensure!(ports.all(|other| other == port), "the sentinels name different masters");
        self.nodes.iter().find(|node| node.port() == port).context("the sentinels name an unknown master")
    }

    /// Kills (SIGKILL) the master, and answers which it was.
    pub fn kill_master(&self) -> Result<&Redis> {
        let master = self.master()?;
        master.process().kill();
        Ok(master)
    }

    /// Waits until all sentinels that answer name another master than `old`, and it takes itself for
    /// one; it is the one returned.
    pub fn wait_for_failover(&self, old: &Redis) -> Result<&Redis> {
        wait::until("the sentinels' failover", TIMEOUT, || {
            let named = self.master().ok().filter(|node| node.port() != old.port());
            Ok(named.filter(|node| node.role() == "master"))
        })
    }

    /// Waits until a node follows the master that the sentinels name, as one that has come back.
    pub fn wait_until_follows(&self, node: &Redis) -> Result<()> {
        wait::until("the node to follow the new master", TIMEOUT, || {
            let master = format!("master_port:{}", self.master()?.port());
            let info = node.command(&["INFO", "replication"]).unwrap_or_default();
            Ok((node.is_replica_in_sync() && info.lines().any(|line| line == master)).then_some(()))
        })
    }

    /// Waits until each sentinel sees the master up, all replicas and all other sentinels.
    fn wait_until_ok(&self) -> Result<()> {
        wait::until("the sentinels to know each other", TIMEOUT, || {
            for sentinel in &self.sentinels {
                sentinel.process.ensure_running()?;
            }
            Ok((self.views().filter(View::is_complete).count() == SENTINELS).then_some(()))
        })
    }

    /// What each sentinel that answers says of the master.
    fn views(&self) -> impl Iterator<Item = View> {
        self.sentinels.iter().filter_map(Sentinel::view)
    }
}

fn node(options: &RedisSentinelOptions, more: &[&str]) -> RedisOptions {
    // A replica that is silent is told from one that has nothing to say by its acknowledgements.
    let own = ["--repl-ping-replica-period", "1", "--repl-timeout", "5"];
    let own = own.iter().chain(more).map(|word| (*word).to_owned());
    RedisOptions { more: own.chain(options.nodes.clone()).collect(), ..RedisOptions::default() }
}

#[derive(Debug)]
struct Sentinel {
    process: Process,
    port: u16,
    /// What its `requirepass` line says, for our own questions.
    password: Option<String>,
    // After the process: fields are dropped in order.
    _scratch: Scratch,
}

impl Sentinel {
    fn start(master: u16, more: &[String]) -> Result<Self> {
        let program = programs::find("redis-server").context("redis-server is not installed (or not in PATH)")?;
        let scratch = Scratch::new("sentinel")?;
        let password = more.iter().find_map(|line| line.strip_prefix("requirepass ")).map(str::to_owned);
        let (process, port) = ports::with_port(None, |port| {
            let file = scratch.path().join("sentinel.conf");
            std::fs::write(&file, configuration(port, master, more))?;
            let log = scratch.path().join("sentinel.log");
            let process =
                Launch::new("sentinel", &program, log).args([file.as_os_str()]).args(["--sentinel"]).start()?;
            wait_until_ready(&process, port, password.as_deref())?;
            Ok((process, port))
        })?;
        Ok(Self { process, port, password, _scratch: scratch })
    }

    fn command(&self, words: &[&str]) -> Result<String> {
        resp::command_as(self.port, self.password.as_deref(), words)
    }

    fn view(&self) -> Option<View> {
        let info = self.command(&["INFO", "sentinel"]).ok()?;
        info.lines().find_map(|line| line.strip_prefix("master0:")).map(|line| View(line.to_owned()))
    }
}

/// The sentinel keeps its state in this file, so it is its own.
fn configuration(port: u16, master: u16, more: &[String]) -> String {
    let name = SENTINEL_MASTER;
    let mut text = format!(
        "port {port}\nbind 127.0.0.1\ndaemonize no\n\
         sentinel monitor {name} 127.0.0.1 {master} {QUORUM}\n\
         sentinel down-after-milliseconds {name} {DOWN_AFTER_MS}\n\
         sentinel failover-timeout {name} {FAILOVER_TIMEOUT_MS}\n"
    );
    for line in more {
        text.extend([line, "\n"]);
    }
    text
}

/// One sentinel's `name=onsale,status=ok,address=127.0.0.1:12000,slaves=2,sentinels=3`.
struct View(String);

impl View {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    }

    fn port(&self) -> Option<u16> {
        self.field("address")?.rsplit_once(':')?.1.parse().ok()
    }

    fn is_complete(&self) -> bool {
        self.field("status") == Some("ok")
            && self.field("slaves") == Some(&REPLICAS.to_string())
            && self.field("sentinels") == Some(&SENTINELS.to_string())
    }
}
