//! A private gateway and core-api with a Redis and a database of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use common::ids::UserId;
use common::tokens::{PassSigner, SessionKeys, TicketKeys};
use gateway::domain::RoomDefaults;
use gateway::store::{QueueStore, RoomContext};
use lua::{Mode, Redis as Client, RedisSettings};
use sqlx::PgPool;
use stack::nginx::Nginx;
use stack::onsale::{RedisMode, Secrets, Service, Setup, nginx_values, no_rate_limits};
use stack::plain_nginx::PlainNginx;
use stack::postgres::{Postgres, PostgresOptions};
use stack::redis::{Redis, RedisOptions};
use stack::scratch::Scratch;
use uuid::Uuid;

use crate::concerts;
use crate::cpu::{self, GENERATOR, SERVERS};

/// How fast the rooms of a site that nobody leaves admit: hardly at all.
pub(crate) const STILL: RoomDefaults = RoomDefaults {
    admit_per_second: 0.01,
    burst: 1,
    max_active: 1_000_000,
    session: Duration::from_hours(2),
    claim: Duration::from_mins(10),
};

/// Whose admission takes no time.
pub(crate) const OPEN: RoomDefaults = RoomDefaults { admit_per_second: 100_000.0, burst: 1_000_000, ..STILL };

/// What a [`Site`] runs on.
#[derive(Debug)]
pub(crate) struct Site {
    // Dropped in this order.
    gateway: Option<Service>,
    core_api: Service,
    pub(crate) setup: Setup,
    pub(crate) pool: PgPool,
    pub(crate) redis: Redis,
    pub(crate) postgres: Postgres,
    scratch: Scratch,
}

impl Site {
    /// Starts a database with the concerts, a Redis and a core-api that has the whole machine.
    pub(crate) async fn start(rooms: &RoomDefaults) -> Result<Self> {
        Self::start_with(rooms, BTreeMap::new()).await
    }

    async fn start_with(rooms: &RoomDefaults, core_api_env: BTreeMap<String, String>) -> Result<Self> {
        let scratch = Scratch::new("bench")?;
        let postgres = Postgres::start(&PostgresOptions { durable: true, ..PostgresOptions::default() })?;
        let redis = Redis::start(&RedisOptions::default())?;
        let setup = Setup { core_api_env, ..setup(&scratch, &postgres, &redis, rooms)? };
        setup.migrate()?;
        let pool = PgPool::connect(&setup.database_url).await?;
        concerts::create(&pool).await?;
        let core_api = setup.start_core_api("core-api", None)?;
        Ok(Self { gateway: None, core_api, setup, pool, redis, postgres, scratch })
    }

    /// The same with a gateway, both services for a core each.
    pub(crate) async fn start_with_gateway(rooms: &RoomDefaults) -> Result<Self> {
        let mut site = Self::start_with(rooms, [one_worker()].into()).await?;
        site.start_gateway()?;
        Ok(site)
    }

    /// Starts the gateway, where it was to come later than the rooms.
    pub(crate) fn start_gateway(&mut self) -> Result<()> {
        self.gateway = Some(self.setup.start_gateway("gateway", None, &[self.core_api.url()])?);
        Ok(())
    }

    /// The gateway and nothing else on the core of what is measured.
    pub(crate) fn pin_gateway(&self) -> Result<()> {
        let around = [self.core_api.process().pid(), self.redis.process().pid(), self.postgres.process().pid()];
        for pid in around {
            cpu::pin(pid, GENERATOR)?;
        }
        cpu::pin(self.gateway()?.process().pid(), SERVERS)
    }

    pub(crate) fn gateway(&self) -> Result<&Service> {
        self.gateway.as_ref().context("no gateway was started")
    }

    pub(crate) fn core_api(&self) -> &Service {
        &self.core_api
    }

    /// The project's nginx before the gateway, cache and all.
    pub(crate) fn start_nginx(&self) -> Result<Nginx> {
        let prefix = self.scratch.path().join("nginx");
        let values = nginx_values(&[self.gateway()?.address()], &prefix, &self.scratch.path().join("access.log"));
        Nginx::start_project(&prefix, &values)
    }

    /// An nginx that answers every request with what `location` says, from one worker on the core of what is measured.
    pub(crate) fn ceiling(location: &str) -> Result<PlainNginx> {
        let nginx = PlainNginx::start_ceiling(location)?;
        cpu::pin(nginx.nginx().process().pid(), SERVERS)?;
        Ok(nginx)
    }

    /// The rooms, as the gateway has them.
    pub(crate) fn queue(&self) -> Result<QueueStore> {
        Ok(QueueStore::new(self.redis_client()?))
    }

    /// A connection to Redis of its own.
    pub(crate) fn redis_client(&self) -> Result<Client> {
        let (urls, mode) = (vec![self.redis.url()], Mode::Standalone);
        Ok(Client::new(&RedisSettings { urls, mode, call_timeout: Duration::from_secs(10) })?)
    }

    pub(crate) fn sessions(&self) -> Result<SessionKeys> {
        Ok(SessionKeys::new(&[self.setup.secrets.get("SESSION_SECRET")?])?)
    }

    pub(crate) fn tickets(&self) -> Result<TicketKeys> {
        Ok(TicketKeys::new(&[self.setup.secrets.get("TICKET_SECRET")?])?)
    }

    pub(crate) fn passes(&self) -> Result<PassSigner> {
        let keys = self.setup.secrets.get("PASS_PRIVATE_KEYS")?;
        Ok(PassSigner::new(&keys.split(',').collect::<Vec<_>>())?)
    }

    /// Runs SQL.
    pub(crate) async fn execute(&self, sql: &str) -> Result<()> {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.pool).await?;
        Ok(())
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> Result<i64> {
        let query = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        Ok(sqlx::query_scalar(query).fetch_one(&self.pool).await?)
    }

    /// Makes rows for users, who may then hold seats.
    pub(crate) async fn add_users(&self, users: impl IntoIterator<Item = UserId>) -> Result<()> {
        let ids: Vec<Uuid> = users.into_iter().map(UserId::as_uuid).collect();
        sqlx::query(
            "INSERT INTO users (id, username, email) SELECT id, 'u', id || '@bench.example' FROM unnest($1::uuid[]) id",
        )
        .bind(&ids)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Brings the database to rest: what was written before is no part of what is measured next.
    pub(crate) async fn settle(&self) -> Result<()> {
        for table in ["users", "seats", "reservations", "payments", "ledger_entries"] {
            self.execute(&format!("VACUUM (ANALYZE) {table}")).await?;
        }
        tokio::task::block_in_place(|| self.postgres.server().admin_sql("CHECKPOINT"))?;
        Ok(())
    }

    /// A figure of Redis' `INFO`.
    pub(crate) fn redis_info(&self, section: &str, field: &str) -> Result<f64> {
        let info = self.redis.command(&["INFO", section])?;
        let value = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(value.with_context(|| format!("Redis tells no {field}"))?.trim().parse()?)
    }

    /// CPU seconds that Redis has used.
    pub(crate) fn redis_cpu(&self) -> Result<f64> {
        Ok(self.redis_info("cpu", "used_cpu_user")? + self.redis_info("cpu", "used_cpu_sys")?)
    }
}

/// A room's context as a gateway with these defaults would give it.
pub(crate) fn context(rooms: &RoomDefaults) -> RoomContext {
    RoomContext::new((*rooms).into())
}

/// For a service whose figures are those of one core.
fn one_worker() -> (String, String) {
    ("TOKIO_WORKER_THREADS".to_owned(), "1".to_owned())
}

fn setup(scratch: &Scratch, postgres: &Postgres, redis: &Redis, rooms: &RoomDefaults) -> Result<Setup> {
    let binaries = stack::profile_dir()?;
    let gateway = stack::binary("gateway")?;
    ensure!(binaries.ends_with("release"), "figures of a debug build say nothing: run `cargo xtask bench`");
    let mut gateway_env: BTreeMap<String, String> = [
        ("ADMIT_PER_SECOND", rooms.admit_per_second.to_string()),
        ("BURST", rooms.burst.to_string()),
        ("MAX_ACTIVE", rooms.max_active.to_string()),
        ("SESSION_SECONDS", rooms.session.as_secs().to_string()),
        ("CLAIM_SECONDS", rooms.claim.as_secs().to_string()),
        ("GATEWAY_MAX_STREAMS", "40000".to_owned()),
        // Nothing is recorded: that is PostgreSQL's work, and it has no core of its own here.
        ("QUEUE_DATABASE_URL", String::new()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    gateway_env.extend([one_worker()]);
    // A load test has few people who ask often.
    let [unlimited, _] = no_rate_limits();
    gateway_env.extend(unlimited);
    Ok(Setup {
        secrets: Secrets::generate(&gateway)?,
        binaries,
        logs: scratch.path().to_path_buf(),
        redis_url: redis.url(),
        redis_mode: RedisMode::default(),
        database_url: postgres.url("onsale"),
        queue_database_url: String::new(),
        public_url: "http://localhost:8080".to_owned(),
        payment_provider: None,
        gateway_env,
        core_api_env: BTreeMap::new(),
    })
}
