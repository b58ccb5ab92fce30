//! The real thing: two core-apis with a PostgreSQL and a Redis of their own, and everything a test does behind their backs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chrono::{TimeDelta, Utc};
use common::ids::{ConcertId, UserId};
use common::tokens::{Pass, PassId, PassSigner, Role, Session, SessionKeys};
use e2e::site::{Answer, Visitor};
use http::Method;
use loadtests::invariants::Database;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::postgres::{Postgres, PostgresOptions};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;
use uuid::Uuid;

use super::model::{EXTEND_SECONDS, HOLD_SECONDS, LIMIT, OFFER_SECONDS, PRICE, SEATS, USERS};

/// How many core-apis there are.
pub(crate) const APIS: usize = 2;

/// The servers.
pub(crate) struct Site {
    onsale: Onsale,
    redis: Redis,
    postgres: Postgres,
    pub(crate) pool: PgPool,
    sessions: SessionKeys,
    passes: PassSigner,
}

impl Site {
    pub(crate) async fn start() -> Result<Self> {
        let redis = Redis::start(&RedisOptions::default())?;
        let postgres = Postgres::start(&PostgresOptions::default())?;
        let settings = [
            ("HOLD_SECONDS", HOLD_SECONDS.to_string()),
            ("HOLD_EXTEND_SECONDS", EXTEND_SECONDS.to_string()),
            ("WAITLIST_OFFER_SECONDS", OFFER_SECONDS.to_string()),
            ("SEATS_PER_USER", LIMIT.to_string()),
        ];
        let onsale = Onsale::start(&OnsaleOptions {
            core_apis: APIS,
            demo: false,
            redis_url: Some(redis.url()),
            database_url: Some(postgres.url("onsale")),
            core_api_env: settings.map(|(name, value)| (name.to_owned(), value)).into(),
            ..OnsaleOptions::default()
        })?;
        let secrets = &onsale.setup().secrets;
        Ok(Self {
            sessions: SessionKeys::new(&[secrets.get("SESSION_SECRET")?]).context("the session's secret")?,
            passes: PassSigner::new(&[secrets.get("PASS_PRIVATE_KEYS")?]).context("the passes' key")?,
            pool: PgPool::connect(&postgres.url("onsale")).await?,
            onsale,
            redis,
            postgres,
        })
    }

    /// A new concert with its people.
    pub(crate) async fn concert(&self) -> Result<Concert<'_>> {
        let id = ConcertId::generate();
        let users: Vec<UserId> = (0..USERS).map(|_| UserId::generate()).collect();
        let people: Vec<String> = users.iter().map(|user| format!("('{user}', 'u', '{user}@example.com')")).collect();
        let statements = format!(
            "INSERT INTO users (id, username, email) VALUES {};
             INSERT INTO concerts (id, name, venue, concert_date) VALUES ('{id}', 'c', 'v', now_utc()::date + 30);
             INSERT INTO seats (id, concert_id, section, seat_number, price)
             SELECT gen_random_uuid(), '{id}', 'A', n, {PRICE} FROM generate_series(1, {SEATS}) AS n;",
            people.join(", ")
        );
        sqlx::raw_sql(AssertSqlSafe(statements)).execute(&self.pool).await?;
        let seats = sqlx::query_scalar("SELECT id FROM seats WHERE concert_id = $1 ORDER BY seat_number")
            .bind(id.as_uuid())
            .fetch_all(&self.pool)
            .await?;
        let concert = Concert { site: self, id, users, seats };
        // What everybody reads is a second old at most.
        eventually("the concert is known everywhere", async || {
            let known = async |api| Ok::<_, anyhow::Error>(concert.seats_at(api).await?.len() == SEATS);
            Ok((known(0).await? && known(1).await?).then_some(()))
        })
        .await?;
        Ok(concert)
    }

    /// The database's clock of decisions is so many seconds ahead of its own.
    pub(crate) async fn set_clock(&self, seconds: i64) -> Result<()> {
        let function = format!(
            "CREATE OR REPLACE FUNCTION now_utc() RETURNS TIMESTAMP LANGUAGE sql VOLATILE PARALLEL SAFE
             AS $$ SELECT clock_timestamp() AT TIME ZONE 'UTC' + interval '{seconds} seconds' $$"
        );
        sqlx::raw_sql(AssertSqlSafe(function)).execute(&self.pool).await?;
        Ok(())
    }

    /// A core-api is killed where it stands, and comes back.
    pub(crate) fn kill(&self, api: usize) -> Result<()> {
        self.onsale.core_apis()[api].process().kill();
        self.onsale.core_apis()[api].restart()
    }

    /// Only killed.
    pub(crate) fn kill_now(&self, api: usize) {
        self.onsale.core_apis()[api].process().kill();
    }

    pub(crate) fn flush_redis(&self) -> Result<()> {
        self.redis.command(&["FLUSHALL"]).map(|_| ())
    }

    /// PostgreSQL stops and comes back; until every core-api works with it again.
    pub(crate) async fn restart_postgres(&self) -> Result<()> {
        self.postgres.restart()?;
        for api in 0..APIS {
            let visitor = self.visitor(api)?;
            eventually("core-api is ready again", async || {
                Ok(visitor.get("/health/ready").await.is_ok_and(|answer| answer.status == 200).then_some(()))
            })
            .await?;
        }
        Ok(())
    }

    fn visitor(&self, api: usize) -> Result<Visitor> {
        Visitor::new(&self.onsale.core_apis()[api].url())
    }

    /// That everything holds that must always hold, once the sweepers have caught up with the clock: what earlier cases
    /// have left is late with each of its jumps.
    pub(crate) async fn check_invariants(&self) -> Result<()> {
        let late =
            "SELECT EXISTS (SELECT FROM reservations WHERE status = 'pending' AND payment_deadline <= now_utc())";
        eventually("everything is swept", async || {
            let is_late: bool = sqlx::query_scalar(late).fetch_one(&self.pool).await?;
            Ok((!is_late).then_some(()))
        })
        .await?;
        let findings = Database::connect(&self.postgres.url("onsale")).await?.check().await?;
        let broken: Vec<_> = findings.iter().filter(|finding| finding.is_broken()).collect();
        ensure!(broken.is_empty(), "{broken:?}");
        Ok(())
    }
}

/// A concert, and whoever wants its seats.
pub(crate) struct Concert<'a> {
    pub(crate) site: &'a Site,
    pub(crate) id: ConcertId,
    pub(crate) users: Vec<UserId>,
    pub(crate) seats: Vec<Uuid>,
}

impl Concert<'_> {
    /// A person at a core-api, signed in.
    fn person(&self, user: usize, api: usize) -> Result<Visitor> {
        let (issued_at, user) = (Utc::now(), self.users[user]);
        let session =
            Session { id: None, user, role: Role::User, issued_at, expires_at: issued_at + TimeDelta::hours(1) };
        let mut visitor = self.site.visitor(api)?;
        visitor.session = Some(self.site.sessions.sign(&session));
        Ok(visitor)
    }

    /// A live lease in Redis, as the gateway would keep it, and the pass that goes with it.
    fn admit(&self, user: usize) -> Result<String> {
        let (id, user) = (PassId { position: 7, nonce: 3 }, self.users[user]);
        let expires_at = Utc::now() + TimeDelta::minutes(10);
        let key = |part: &str| format!("wr:v1:{{{}}}:{part}", self.id);
        let (name, end) = (user.compact(), expires_at.timestamp_millis().to_string());
        self.site.redis.command(&["HSET", &key("room"), "epoch", "1"])?;
        self.site.redis.command(&["ZADD", &key("leases"), &end, &name])?;
        self.site.redis.command(&["HSET", &key("passes"), &name, &id.to_string()])?;
        Ok(self.site.passes.sign(&Pass { user, concert: self.id, id, expires_at }))
    }

    pub(crate) async fn hold(&self, user: usize, seats: &[usize], api: usize) -> Result<Answer> {
        let mut visitor = self.person(user, api)?;
        visitor.queue_token = Some(self.admit(user)?);
        let ids: Vec<Uuid> = seats.iter().map(|seat| self.seats[*seat]).collect();
        visitor.post("/reservation", json!({ "concertId": self.id, "seatIds": ids })).await
    }

    pub(crate) async fn pay(&self, user: usize, reservation: Uuid, api: usize) -> Result<Answer> {
        self.person(user, api)?.post("/payment", json!({ "reservationId": reservation })).await
    }

    pub(crate) async fn ask(
        &self,
        user: usize,
        api: usize,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer> {
        self.person(user, api)?.ask(method, path, body, &[]).await
    }

    pub(crate) fn waitlist(&self) -> String {
        format!("/concerts/{}/waitlist", self.id)
    }

    /// What a core-api tells of the seats, in order.
    pub(crate) async fn seats_at(&self, api: usize) -> Result<Vec<String>> {
        let list = self.site.visitor(api)?.get(&format!("/concerts/{}/seats", self.id)).await?;
        let seats = list
            .body
            .as_array()
            .map(|seats| seats.iter().map(|seat| seat["status"].as_str().unwrap_or("?").to_owned()));
        Ok(seats.map(Iterator::collect).unwrap_or_default())
    }

    /// Which seats have a lock in Redis.
    pub(crate) fn is_locked(&self, seat: usize) -> Result<bool> {
        let key = format!("hold:v1:{{{}}}:seat:{}", self.id, self.seats[seat]);
        Ok(self.site.redis.command(&["EXISTS", &key])?.trim() != "0")
    }
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe().await? {
            return Ok(value);
        }
        ensure!(Instant::now() < deadline, "{what}: not in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
