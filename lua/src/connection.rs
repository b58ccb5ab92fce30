//! One shared, multiplexed connection to Redis, alone or a cluster.
//!
//! It is not a pool: commands of all requests travel pipelined over one connection, which is what group-committed
//! scripts want. It connects lazily and again by itself, so that a process starts, and goes on, whatever Redis does.

use std::str::FromStr;
use std::time::Duration;

use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};

/// How Redis is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One server.
    Standalone,
    /// Redis Cluster: all keys of one concert share a hash tag, so every script stays on one shard.
    Cluster,
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "standalone" => Ok(Self::Standalone),
            "cluster" => Ok(Self::Cluster),
            _ => Err(()),
        }
    }
}

/// Where Redis is and how long it may take.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://host:port`; in cluster mode any of the nodes.
    pub urls: Vec<String>,
    /// One server or a cluster.
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
    connection: Connection,
    call_timeout: Duration,
}

#[derive(Clone)]
enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("call_timeout", &self.call_timeout).finish_non_exhaustive()
    }
}

impl Redis {
    /// Prepares the connection; it is made when first used. Fails on an URL that is none.
    pub fn new(settings: &RedisSettings) -> Result<Self, StoreError> {
        let timeout = settings.call_timeout;
        let connection = match settings.mode {
            Mode::Standalone => {
                let url = settings.urls.first().map(String::as_str).unwrap_or_default();
                // A call fails within its own time; the next one tries to connect again.
                let config = ConnectionManagerConfig::new()
                    .set_connection_timeout(Some(timeout))
                    .set_response_timeout(Some(timeout))
                    .set_number_of_retries(0);
                Connection::Single(ConnectionManager::new_lazy_with_config(redis::Client::open(url)?, config)?)
            }
            Mode::Cluster => {
                let client = ClusterClient::builder(settings.urls.clone())
                    .connection_timeout(timeout)
                    .response_timeout(timeout)
                    .retries(2)
                    .build()?;
                Connection::Cluster(client.get_pending_async_connection_with_config(ClusterConfig::new()))
            }
        };
        Ok(Self { connection, call_timeout: timeout })
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
        match tokio::time::timeout(self.call_timeout, call).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(StoreError::Timeout(self.call_timeout)),
        }
    }
}

impl ConnectionLike for Redis {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match &mut self.connection {
            Connection::Single(connection) => connection.req_packed_command(cmd),
            Connection::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match &mut self.connection {
            Connection::Single(connection) => connection.req_packed_commands(pipeline, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match &self.connection {
            Connection::Single(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}
