//! Where a connection leads, and how it is made: a server, a cluster, or the master that sentinels name.

use std::io;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline, RedisConnectionInfo,
    RedisError, RedisFuture, RedisResult, Value,
};
use tokio::sync::Mutex;

use crate::connection::{Mode, RedisSettings, SentinelSettings};

/// How long one try to connect may take, whoever hangs on the way to it: sentinels, the node that they name, nodes of a
/// cluster.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long each of those may take at most.
const NODE_CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a cluster's node is asked again that has sent a call elsewhere, was lost, or is not ready: once for a slot
/// that has moved, once more for one that is moving.
const CLUSTER_RETRIES: u32 = 2;
/// How long before that, in ms; the library would wait for longer than a call may take.
const CLUSTER_RETRY_MIN_MS: u64 = 10;
const CLUSTER_RETRY_MAX_MS: u64 = 100;

/// Where a connection leads.
pub(crate) enum Endpoint {
    /// One server.
    Server(Client, AsyncConnectionConfig),
    /// Any of a cluster's nodes: each knows the others.
    Cluster(ClusterClient),
    /// Sentinels. Asked by one at a time: they are asked over connections that are kept.
    Sentinels(Box<Mutex<SentinelClient>>, AsyncConnectionConfig, i64),
}

impl Endpoint {
    /// Fails on an URL that is none.
    pub(crate) fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let timeout = settings.call_timeout;
        // A call's own time is measured around it.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(timeout.min(NODE_CONNECT_TIMEOUT)))
            .set_response_timeout(None);
        match &settings.mode {
            Mode::Standalone => {
                let url = settings.urls.first().map(String::as_str).unwrap_or_default();
                Ok(Self::Server(Client::open(url)?, config))
            }
            Mode::Cluster => cluster(&settings.urls, timeout).map(Self::Cluster),
            Mode::Sentinel(sentinel) => {
                let (client, db) = sentinels(&settings.urls, sentinel)?;
                Ok(Self::Sentinels(Box::new(Mutex::new(client)), config, db))
            }
        }
    }

    /// Connects, to a master where there are several servers. To replace a connection, a cluster's has to reach all
    /// masters: the one that it would replace may reach as many.
    pub(crate) async fn connect(&self, replaces: bool) -> RedisResult<Connection> {
        let connecting = async {
            let connection = self.connect_patiently().await?;
            match &connection {
                Connection::Cluster(cluster) if replaces => check_masters(cluster.clone()).await?,
                _ => {}
            }
            Ok(connection)
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn connect_patiently(&self) -> RedisResult<Connection> {
        match self {
            Self::Server(client, config) => {
                client.get_multiplexed_async_connection_with_config(config).await.map(Connection::Node)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
            Self::Sentinels(client, config, _) => {
                client.lock().await.get_async_connection_with_config(config).await.map(Connection::Node)
            }
        }
    }

    /// The database that connections use.
    pub(crate) fn db(&self) -> i64 {
        match self {
            Self::Server(client, _) => client.get_connection_info().redis_settings().db(),
            Self::Cluster(_) => 0,
            Self::Sentinels(_, _, db) => *db,
        }
    }
}

fn cluster(urls: &[String], call_timeout: Duration) -> RedisResult<ClusterClient> {
    ClusterClient::builder(urls.to_vec())
        .connection_timeout(call_timeout.min(NODE_CONNECT_TIMEOUT))
        // Also for the library's own questions, which would otherwise wait for a node that hangs for ever.
        .response_timeout(call_timeout)
        .overall_response_timeout(None)
        .retries(CLUSTER_RETRIES)
        .min_retry_wait(CLUSTER_RETRY_MIN_MS)
        .max_retry_wait(CLUSTER_RETRY_MAX_MS)
        .build()
}

fn timed_out() -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, "connecting took too long").into()
}

/// Fails unless every master that serves slots answers.
async fn check_masters(mut cluster: ClusterConnection) -> RedisResult<()> {
    let all = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
    // Without a policy for many answers they come as a map with an entry for each master that could be asked.
    let answers = cluster.route_command(redis::cmd("PING"), all).await?;
    let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut cluster).await?;
    let masters = info.lines().find_map(|line| line.strip_prefix("cluster_size:")?.trim().parse().ok());
    if masters == answers.as_map_iter().map(Iterator::count) {
        return Ok(());
    }
    Err((ErrorKind::ClusterConnectionNotFound, "not all masters answer").into())
}

/// The sentinels, and the database of the nodes that they watch.
fn sentinels(urls: &[String], settings: &SentinelSettings) -> RedisResult<(SentinelClient, i64)> {
    let infos: Vec<ConnectionInfo> =
        urls.iter().map(|url| url.as_str().into_connection_info()).collect::<RedisResult<_>>()?;
    let nodes = infos.first().map(|first| first.redis_settings().clone()).unwrap_or_default();
    let db = nodes.db();
    let own = settings.password.iter().fold(RedisConnectionInfo::default(), RedisConnectionInfo::set_password);
    let sentinels: Vec<ConnectionInfo> = infos.into_iter().map(|info| info.set_redis_settings(own.clone())).collect();
    let client = SentinelClient::build(
        sentinels,
        settings.master.clone(),
        Some(SentinelNodeConnectionInfo::default().set_redis_connection_info(nodes)),
        SentinelServerType::Master,
    )?;
    Ok((client, db))
}

/// A connection that was made. Cloning it shares it.
#[derive(Clone)]
pub(crate) enum Connection {
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub(crate) fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Node(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    pub(crate) fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Node(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }
}
