//! Servers that all tests of a process share, and a database of one's own for each test.
//!
//! `cargo xtask test` starts the servers once and names them in the environment. Without it, as in
//! a plain `cargo test -p gateway`, each test process starts its own when the first test asks, and
//! they end with the process.
//!
//! A shared Redis holds many tests' keys at once: use ids of your own, never `FLUSHALL`.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};

use crate::postgres::{Database, Postgres, PostgresOptions, PostgresServer};
use crate::redis::{Redis, RedisCluster, RedisOptions};

/// Names a shared Redis by its URL.
pub const REDIS_URL: &str = "ONSALE_TEST_REDIS_URL";
/// Names the nodes of a shared Redis Cluster by their URLs, comma-separated.
pub const REDIS_CLUSTER_URLS: &str = "ONSALE_TEST_REDIS_CLUSTER_URLS";
/// Names a shared PostgreSQL by the URL of a role that may create databases.
pub const POSTGRES_URL: &str = "ONSALE_TEST_POSTGRES_URL";

/// The URL of the shared Redis.
///
/// # Errors
/// Redis is not installed or does not start.
pub fn redis_url() -> Result<String> {
    static SERVER: Lazy<Redis> = Lazy::new();
    given_or(REDIS_URL, || {
        let redis = SERVER.get(|| Redis::start(&RedisOptions::default()))?;
        Ok(redis.url())
    })
}

/// The URLs of the nodes of the shared Redis Cluster, comma-separated.
///
/// # Errors
/// Redis is not installed or does not start.
pub fn redis_cluster_urls() -> Result<String> {
    static CLUSTER: Lazy<RedisCluster> = Lazy::new();
    given_or(REDIS_CLUSTER_URLS, || Ok(CLUSTER.get(RedisCluster::start)?.urls()))
}

/// The shared PostgreSQL server.
///
/// # Errors
/// PostgreSQL is not installed or does not start.
pub fn postgres() -> Result<PostgresServer> {
    static OWN: Lazy<Postgres> = Lazy::new();
    static GIVEN: Lazy<PostgresServer> = Lazy::new();
    if let Ok(url) = std::env::var(POSTGRES_URL) {
        return GIVEN.get(|| PostgresServer::external(&url)).cloned();
    }
    let own = OWN.get(|| Postgres::start(&PostgresOptions::default()))?;
    Ok(own.server().clone())
}

/// A new database on the shared server that nobody else uses; dropped with the returned value.
///
/// `migrate` gets the URL of an empty database, makes the tables in it and closes its connections
/// before it returns. It runs once for all tests that give the same `template` name; all get
/// copies of what it made.
///
/// From an async test call it in `tokio::task::spawn_blocking`, or with a `migrate` that has a
/// runtime of its own.
pub fn fresh_database(template: &str, migrate: impl FnOnce(&str) -> Result<()>) -> Result<Database> {
    postgres()?.fresh_database(template, migrate)
}

/// [`fresh_database`] with the project's migrations, applied by `psql`. Callers that have sqlx's
/// own record of applied migrations to look after give their own `migrate` instead.
pub fn migrated_database() -> Result<Database> {
    let server = postgres()?;
    server.fresh_database("migrated", |url| server.apply(url, &crate::postgres::migrations()?))
}

/// All three at once.
#[derive(Debug)]
pub struct TestServers {
    /// See [`redis_url`].
    pub redis_url: String,
    /// See [`redis_cluster_urls`].
    pub redis_cluster_urls: String,
    /// See [`postgres`].
    pub postgres: PostgresServer,
}

/// All shared servers, started when first asked for.
pub fn test_servers() -> Result<TestServers> {
    Ok(TestServers { redis_url: redis_url()?, redis_cluster_urls: redis_cluster_urls()?, postgres: postgres()? })
}

fn given_or(variable: &str, start: impl FnOnce() -> Result<String>) -> Result<String> {
    std::env::var(variable).or_else(|_| start())
}

/// Starts something once and remembers a failure, so that a hundred tests do not each wait for
/// what can't start.
struct Lazy<T>(OnceLock<Result<T, String>>);

impl<T> Lazy<T> {
    const fn new() -> Self {
        Self(OnceLock::new())
    }

    fn get(&self, start: impl FnOnce() -> Result<T>) -> Result<&T> {
        self.0
            .get_or_init(|| start().map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow!("{error}"))
    }
}
