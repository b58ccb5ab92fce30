//! Redis as the scripts' callers see it: one shared, multiplexed connection, whatever Redis is set up like.
//!
//! It is not a pool: commands of all requests travel pipelined over one connection, which is what group-committed
//! scripts want. It connects lazily and again by itself, so that a process starts, and goes on, whatever Redis does.

use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};

use crate::endpoint::Endpoint;
use crate::link::{Doubt, Link};
use crate::metrics::{ErrorKind, expect_errors, note_error};

/// How Redis is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Standalone,
    /// Redis Cluster: all keys of one concert share a hash tag, so every script stays on one shard.
    Cluster,
    /// A master with replicas, one of which sentinels put in its place when it dies.
    Sentinel(SentinelSettings),
}

/// Whom the sentinels are asked for, and how.
#[derive(Clone, PartialEq, Eq)]
pub struct SentinelSettings {
    /// The name under which they watch the master.
    pub master: String,
    /// What they ask for themselves, where they do. The data nodes' password is in the URLs.
    pub password: Option<String>,
}

impl std::fmt::Debug for SentinelSettings {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SentinelSettings").field("master", &self.master).finish_non_exhaustive()
    }
}

/// Where Redis is and how long it may take.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://host:port`; in cluster mode any of the nodes; in sentinel mode the sentinels, the first with the user,
    /// password and database of the data nodes.
    pub urls: Vec<String>,
    /// One server, a cluster, or a master that sentinels name.
    pub mode: Mode,
    /// How long one call may take, connecting included.
    pub call_timeout: Duration,
}

impl std::fmt::Debug for RedisSettings {
    /// Without the URLs: they may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSettings")
            .field("mode", &self.mode)
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}

/// Redis could not do what was asked, and nothing is known of whether it did.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It did not answer in time.
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    /// It refused, or the connection broke.
    #[error("Redis: {0}")]
    Redis(#[from] RedisError),
}

/// A connection to Redis. Cloning it shares it.
#[derive(Clone)]
pub struct Redis {
    link: Link,
    call_timeout: Duration,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("call_timeout", &self.call_timeout).finish_non_exhaustive()
    }
}

impl Redis {
    /// Prepares the connection; it is made when first used. Fails on an URL that is none.
    pub fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        expect_errors();
        let link = Link::to(Endpoint::new(settings)?);
        Ok(Self { link, call_timeout: settings.call_timeout })
    }

    /// Whether Redis answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run(redis::cmd("PING")).await
    }

    /// Runs one command within the call timeout.
    pub async fn run<T: redis::FromRedisValue>(&self, command: Cmd) -> Result<T, StoreError> {
        let mut connection = self.clone();
        self.within_timeout(command.query_async(&mut connection)).await
    }

    /// Awaits a call, at most the call timeout.
    pub(crate) async fn within_timeout<T>(
        &self,
        call: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, StoreError> {
        let generation = self.link.generation();
        if let Ok(answer) = tokio::time::timeout(self.call_timeout, call).await {
            return answer.map_err(|error| {
                note_error(if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Error });
                error.into()
            });
        }
        // A machine that vanished, or hangs, closes no connection: its silence is all there is to see.
        self.link.doubt(generation, Doubt::Silent);
        note_error(ErrorKind::Timeout);
        Err(StoreError::Timeout(self.call_timeout))
    }
}

impl ConnectionLike for Redis {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let (generation, mut connection) = self.link.connection().await?;
            let answer = connection.req_packed_command(cmd).await;
            self.link.judge(generation, answer.as_ref().map(std::slice::from_ref));
            answer
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let (generation, mut connection) = self.link.connection().await?;
            let answers = connection.req_packed_commands(pipeline, offset, count).await;
            self.link.judge(generation, answers.as_deref());
            answers
        })
    }

    fn get_db(&self) -> i64 {
        self.link.db()
    }
}
