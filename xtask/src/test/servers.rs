//! The servers that all test processes share, started when the first step needs them.

use std::cell::OnceCell;

use anyhow::{Context, Result, anyhow};
use stack::install::Tool;
use stack::postgres::{Postgres, PostgresOptions, PostgresServer};
use stack::redis::{Redis, RedisCluster, RedisOptions};
use stack::shared;

use crate::ui;

/// None of them run until asked for; all end when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Servers {
    postgres: OnceCell<Postgres>,
    redis: OnceCell<(Redis, RedisCluster)>,
}

impl Servers {
    /// PostgreSQL, installed if need be.
    pub(super) fn postgres(&self) -> Result<&PostgresServer> {
        if self.postgres.get().is_none() {
            ui::install(&[Tool::Postgres])?;
            let started = Postgres::start(&PostgresOptions::default())?;
            self.postgres.set(started).map_err(|_| anyhow!("PostgreSQL was started twice"))?;
        }
        self.postgres.get().map(Postgres::server).context("no PostgreSQL")
    }

    /// What test processes find all servers by; see [`shared`]. Everything the tests need is
    /// installed if need be.
    pub(super) fn environment(&self) -> Result<[(&'static str, String); 3]> {
        ui::install(&[Tool::Redis, Tool::Postgres, Tool::Nginx])?;
        if self.redis.get().is_none() {
            let started = (Redis::start(&RedisOptions::default())?, RedisCluster::start()?);
            self.redis.set(started).map_err(|_| anyhow!("Redis was started twice"))?;
        }
        let (redis, cluster) = self.redis.get().context("no Redis")?;
        Ok([
            (shared::REDIS_URL, redis.url()),
            (shared::REDIS_CLUSTER_URLS, cluster.urls()),
            (shared::POSTGRES_URL, self.postgres()?.admin_url("postgres")),
        ])
    }
}
