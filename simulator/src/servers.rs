//! The simulated Redis servers of a world: two databases of one real server, of which one is the master. A call runs at
//! once and blocks, so that virtual time stands still meanwhile.

use std::collections::BTreeMap;

use anyhow::Context as _;
use common::ids::ConcertId;
use gateway::store::RoomKeys;
use redis::{Cmd, Connection, ConnectionLike as _, Pipeline, RedisError, RedisResult, Value};

use crate::clock::VirtualClock;
use crate::scripts::{NOW_KEY, SERVER_KEY, Scripts};

/// The real server that all worlds of this process use.
#[derive(Debug)]
pub(crate) struct RealServer {
    redis: stack::redis::Redis,
}

/// Databases of the real server: two for each world at a time.
const DATABASES: usize = 64;

impl RealServer {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// Redis is not installed, or does not start.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let more = ["--databases".to_owned(), DATABASES.to_string()].to_vec();
        let options = stack::redis::RedisOptions { more, ..Default::default() };
        Ok(Self { redis: stack::redis::Redis::start(&options)? })
    }

    /// Two empty databases for the world of this slot.
    ///
    /// # Errors
    ///
    /// The real server does not answer.
    pub(crate) fn servers(&self, slot: usize, scripts: &Scripts, clock: VirtualClock) -> anyhow::Result<Servers> {
        let client = redis::Client::open(self.redis.url())?;
        let open = |at: usize| -> anyhow::Result<Server> {
            let mut connection = client.get_connection()?;
            let database = (2 * slot + at) % DATABASES;
            redis::cmd("SELECT").arg(database).exec(&mut connection)?;
            redis::cmd("FLUSHDB").exec(&mut connection)?;
            Ok(Server { connection, database, clock_ms: 0, is_up: true, run: 0, expiries: BTreeMap::new(), calls: 0 })
        };
        let mut servers = Servers { clock, all: [open(0)?, open(1)?], master: 0 };
        for source in scripts.sources() {
            redis::cmd("SCRIPT").arg("LOAD").arg(source).exec(&mut servers.all[0].connection)?;
        }
        Ok(servers)
    }
}

struct Server {
    connection: Connection,
    database: usize,
    /// By how much its clock differs from the world's.
    clock_ms: i64,
    is_up: bool,
    /// How often it was restarted: each time it is another process.
    run: u64,
    /// When keys expire, in ms of the world's time: the real server's clock must not decide it.
    expiries: BTreeMap<Vec<u8>, i64>,
    /// Calls that write, so far.
    calls: u64,
}

/// A world's Redis.
pub(crate) struct Servers {
    clock: VirtualClock,
    all: [Server; 2],
    master: usize,
}

impl std::fmt::Debug for Servers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Servers").field("master", &self.master).finish_non_exhaustive()
    }
}

impl Servers {
    /// Which server is the master.
    pub(crate) fn master(&self) -> usize {
        self.master
    }

    /// The time of a server's clock, in ms of Unix time.
    pub(crate) fn now_ms(&self, server: usize) -> i64 {
        self.clock.now_ms() + self.all[server].clock_ms
    }

    /// Sets a server's clock.
    pub(crate) fn set_clock(&mut self, server: usize, by_ms: i64) {
        self.all[server].clock_ms += by_ms;
    }

    /// By how much a server's clock differs from the world's, in ms.
    pub(crate) fn clock_ms(&self, server: usize) -> i64 {
        self.all[server].clock_ms
    }

    /// Stops or starts a server.
    pub(crate) fn set_up(&mut self, server: usize, is_up: bool) {
        self.all[server].is_up = is_up;
    }

    /// Calls that wrote to the master so far.
    pub(crate) fn calls(&self) -> u64 {
        self.all[self.master].calls
    }

    /// Counts a call that wrote.
    pub(crate) fn note_write(&mut self, server: usize) {
        self.all[server].calls += 1;
    }

    /// Empties the master.
    pub(crate) fn wipe(&mut self) -> anyhow::Result<()> {
        let server = &mut self.all[self.master];
        server.expiries.clear();
        redis::cmd("FLUSHDB").exec(&mut server.connection).context("FLUSHDB")
    }

    /// Makes the other server hold what the master holds now; it gets nothing of what comes after.
    pub(crate) fn copy_to_replica(&mut self) -> anyhow::Result<()> {
        let [first, second] = &mut self.all;
        let (from, to) = if self.master == 0 { (first, second) } else { (second, first) };
        redis::cmd("FLUSHDB").exec(&mut to.connection)?;
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut from.connection)?;
        let mut copies = redis::pipe();
        for key in &keys {
            copies.cmd("COPY").arg(key).arg(key).arg("DB").arg(to.database).ignore();
        }
        to.expiries = from.expiries.clone();
        to.calls = from.calls;
        if keys.is_empty() { Ok(()) } else { copies.exec(&mut from.connection).context("COPY") }
    }

    /// Restarts the replica: it is another process with the same data.
    pub(crate) fn restart_replica(&mut self) {
        self.all[1 - self.master].run += 1;
    }

    /// Makes the other server the master.
    pub(crate) fn promote_replica(&mut self, clock_ms: i64) {
        let old_clock_ms = self.all[self.master].clock_ms;
        self.master = 1 - self.master;
        let new = &mut self.all[self.master];
        new.clock_ms = old_clock_ms + clock_ms;
        new.is_up = true;
    }

    /// Runs a command on a server by its own clock.
    pub(crate) fn run(&mut self, server: usize, command: &Cmd) -> RedisResult<Value> {
        let now_ms = self.now_ms(server);
        let Server { connection, expiries, is_up, run, .. } = &mut self.all[server];
        if !*is_up {
            return Err(connection_refused());
        }
        let mut pipeline = redis::pipe();
        expire(expiries, now_ms, &mut pipeline);
        let run_id = format!("{server:x}{run:039x}");
        pipeline.cmd("MSET").arg(NOW_KEY).arg(now_ms.saturating_mul(1_000)).arg(SERVER_KEY).arg(run_id);
        pipeline.add_command(without_expiry(command, now_ms, expiries));
        last_reply(connection, &pipeline)
    }

    /// Reads a room as it stands on a server, by the script `sha` of the observer.
    pub(crate) fn observe(&mut self, server: usize, concert: ConcertId, sha: &str) -> RedisResult<Value> {
        let keys = RoomKeys::of(concert);
        let mut command = redis::cmd("EVALSHA");
        command.arg(sha).arg(keys.all().len()).arg(keys.all().as_slice());
        self.all[server].connection.req_command(&command).and_then(Value::extract_error)
    }

    /// Loads a script that no gateway calls.
    pub(crate) fn load(&mut self, source: &str) -> RedisResult<String> {
        redis::cmd("SCRIPT").arg("LOAD").arg(source).query(&mut self.all[0].connection)
    }
}

/// What a caller sees whose server is not there.
pub(crate) fn connection_refused() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()
}

/// What a caller sees whose connection breaks.
pub(crate) fn connection_reset() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
}

fn last_reply(connection: &mut Connection, pipeline: &Pipeline) -> RedisResult<Value> {
    let commands = pipeline.len();
    let replies = connection.req_packed_commands(&pipeline.get_packed_pipeline(), commands - 1, 1)?;
    replies.into_iter().next().unwrap_or(Value::Nil).extract_error()
}

/// Drops the keys whose time has come.
fn expire(expiries: &mut BTreeMap<Vec<u8>, i64>, now_ms: i64, pipeline: &mut Pipeline) {
    expiries.retain(|key, until_ms| {
        let stays = *until_ms > now_ms;
        if !stays {
            pipeline.cmd("DEL").arg(key);
        }
        stays
    });
}

/// The command with its expiry taken out, which is kept here instead.
fn without_expiry(command: &Cmd, now_ms: i64, expiries: &mut BTreeMap<Vec<u8>, i64>) -> Cmd {
    let words = words(command);
    let until_ms = |text: &[u8]| -> Option<i64> { Some(now_ms + std::str::from_utf8(text).ok()?.parse::<i64>().ok()?) };
    let is = |at: usize, word: &str| words.get(at).is_some_and(|given| given.eq_ignore_ascii_case(word.as_bytes()));
    if is(0, "PEXPIRE")
        && let (Some(key), Some(until_ms)) = (words.get(1), words.get(2).and_then(|ms| until_ms(ms)))
    {
        expiries.insert(key.clone(), until_ms);
        return redis::cmd("EXISTS").arg(key).to_owned();
    }
    let at = words.iter().position(|word| word.eq_ignore_ascii_case(b"PX"));
    if is(0, "SET")
        && let (Some(key), Some(at)) = (words.get(1), at)
        && let Some(until_ms) = words.get(at + 1).and_then(|ms| until_ms(ms))
    {
        // With NX the key may be another owner's, and keeps its own end.
        expiries.entry(key.clone()).or_insert(until_ms);
        let mut set = Cmd::new();
        words.iter().enumerate().filter(|(i, _)| *i != at && *i != at + 1).for_each(|(_, word)| {
            set.arg(word);
        });
        return set;
    }
    command.clone()
}

/// A command's words.
pub(crate) fn words(command: &Cmd) -> Vec<Vec<u8>> {
    let simple = command.args_iter().filter_map(|word| match word {
        redis::Arg::Simple(word) => Some(word.to_vec()),
        _ => None,
    });
    simple.collect()
}
