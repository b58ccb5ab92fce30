//! A script and one call of it.

use std::time::Instant;

use ::metrics::{Histogram, histogram};
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, ToRedisArgs};

use crate::connection::{Redis, StoreError};
use crate::metrics::SCRIPT_DURATION;

/// One script: its source, and how many keys it declares. More than that many are one per item of the call (`KEYS[n..]`
/// in its header).
pub struct Script {
    name: &'static str,
    source: String,
    fixed_keys: usize,
    compiled: redis::Script,
    duration: Histogram,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Script").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Script {
    /// A script by its file's name (`queue/join`), its source, and the number of keys that every call has.
    pub fn new(name: &'static str, source: &'static str, fixed_keys: usize) -> Self {
        let compiled = redis::Script::new(source);
        Self { name, source: source.to_owned(), fixed_keys, compiled, duration: duration_of(name) }
    }

    /// The same for one of a family: `prelude` goes behind the first line, which tells Redis how to run the script.
    pub fn with_prelude(name: &'static str, prelude: &str, source: &str, fixed_keys: usize) -> Self {
        let (first, rest) = source.split_once('\n').unwrap_or((source, ""));
        let source = format!("{first}\n{prelude}{rest}");
        Self { name, compiled: redis::Script::new(&source), source, fixed_keys, duration: duration_of(name) }
    }

    /// Its file's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its source, as Redis gets it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// How many keys every call has.
    pub fn fixed_keys(&self) -> usize {
        self.fixed_keys
    }

    /// Begins a call.
    pub fn call(&self) -> Call<'_> {
        Call { script: self, keys: Vec::new(), arguments: Vec::new() }
    }
}

fn duration_of(name: &'static str) -> Histogram {
    histogram!(SCRIPT_DURATION.name, "script" => name)
}

/// A call being put together.
pub struct Call<'a> {
    script: &'a Script,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl std::fmt::Debug for Call<'_> {
    /// Without its arguments, which may name persons.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("script", &self.script).finish_non_exhaustive()
    }
}

impl Call<'_> {
    /// Adds a key.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.keys.push(key.as_bytes().to_vec());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// Runs it, with its source where Redis does not know it (a new server, a restart, a failover, `SCRIPT FLUSH`).
    pub async fn run<T: FromRedisValue>(&self, redis: &Redis) -> Result<T, StoreError> {
        let begun = Instant::now();
        // On the heap, as it is larger than all else of who calls it.
        let answer = redis.within_timeout(Box::pin(self.run_on(redis.clone()))).await;
        self.script.duration.record(begun.elapsed());
        answer
    }

    async fn run_on<T: FromRedisValue>(&self, mut redis: Redis) -> Result<T, RedisError> {
        let unknown = ErrorKind::Server(ServerErrorKind::NoScript);
        match self.command("EVALSHA", self.script.compiled.get_hash()).query_async(&mut redis).await {
            // Not `SCRIPT LOAD`: in a cluster that goes to every node, and would fail for one that is down.
            Err(error) if error.kind() == unknown => {
                self.command("EVAL", &self.script.source).query_async(&mut redis).await
            }
            answer => answer,
        }
    }

    fn command(&self, verb: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}
