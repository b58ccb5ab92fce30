//! Two gateways behind nginx, with a PostgreSQL and a Redis of their own, and what a test does with them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use chrono::{TimeDelta, Utc};
use common::ids::{ConcertId, UserId};
use common::tokens::{Role, Session, SessionKeys};
use e2e::site::{Answer, Visitor};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction};
use stack::onsale::{Onsale, OnsaleOptions, no_rate_limits};
use stack::redis::Redis;
use stack::wait::PATIENCE;

/// How many gateways there are.
pub(crate) const GATEWAYS: usize = 2;
/// People who join at the same time.
const JOINS_AT_ONCE: usize = 64;
const STEP: Duration = Duration::from_millis(25);

/// The servers.
pub(crate) struct Site {
    pub(crate) onsale: Onsale,
    pool: PgPool,
    sessions: SessionKeys,
    /// One client per gateway, then one of nginx.
    clients: Vec<Visitor>,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// A gateway, by its number from 0.
    Gateway(usize),
    /// nginx, in front of both.
    Nginx,
}

/// Both gateways.
pub(crate) const BOTH: [Through; GATEWAYS] = [Through::Gateway(0), Through::Gateway(1)];

impl Site {
    /// Starts everything on this Redis. The gateways reach it by `redis_urls`, or by its own URL where that has none.
    pub(crate) async fn start(redis: &Redis, redis_urls: &[String], settings: &[(&str, &str)]) -> Result<Self> {
        let [mut gateway_env, _] = no_rate_limits();
        gateway_env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let onsale = Onsale::start(&OnsaleOptions {
            gateways: GATEWAYS,
            demo: false,
            redis_url: Some(redis.url()),
            gateway_redis_urls: redis_urls.to_vec(),
            gateway_env,
            ..OnsaleOptions::default()
        })?;
        let urls = onsale.gateways().iter().map(stack::onsale::Service::url).chain([onsale.url()]);
        Ok(Self {
            clients: urls.map(|url| Visitor::new(&url)).collect::<Result<_>>()?,
            sessions: SessionKeys::new(&[onsale.setup().secrets.get("SESSION_SECRET")?])
                .context("the session's secret")?,
            pool: PgPool::connect(&onsale.setup().database_url).await?,
            onsale,
        })
    }

    /// A new concert on sale, and so many people with accounts.
    pub(crate) async fn concert(&self, people: usize) -> Result<(Room<'_>, Vec<UserId>)> {
        let id = ConcertId::generate();
        let users: Vec<UserId> = (0..people).map(|_| UserId::generate()).collect();
        let concert = format!(
            "INSERT INTO concerts (id, name, venue, concert_date) VALUES ('{id}', 'c', 'v', now_utc()::date + 30);
             INSERT INTO seats (id, concert_id, section, seat_number, price)
             SELECT gen_random_uuid(), '{id}', 'A', n, 1000 FROM generate_series(1, 10) AS n;"
        );
        sqlx::raw_sql(AssertSqlSafe(concert)).execute(&self.pool).await?;
        sqlx::query(
            "INSERT INTO users (id, username, email) SELECT id, 'u', id || '@example.test' FROM UNNEST($1::uuid[]) id",
        )
        .bind(users.iter().map(|user| user.as_uuid()).collect::<Vec<_>>())
        .execute(&self.pool)
        .await?;
        Ok((Room { site: self, id }, users))
    }

    /// Keeps the gateways from recording anybody until the returned transaction ends; the record can still be read.
    pub(crate) async fn hold_record(&self) -> Result<Transaction<'static, Postgres>> {
        let mut transaction = self.pool.begin().await?;
        sqlx::raw_sql("LOCK TABLE queue IN EXCLUSIVE MODE").execute(&mut *transaction).await?;
        Ok(transaction)
    }

    fn client(&self, through: Through) -> Visitor {
        let at = match through {
            Through::Gateway(number) => number,
            Through::Nginx => GATEWAYS,
        };
        self.clients[at].clone()
    }

    fn session(&self, user: UserId) -> String {
        let issued_at = Utc::now();
        let expires_at = issued_at + TimeDelta::hours(1);
        self.sessions.sign(&Session { id: None, user, role: Role::User, issued_at, expires_at })
    }
}

/// The waiting room of one concert.
#[derive(Clone, Copy)]
pub(crate) struct Room<'a> {
    pub(crate) site: &'a Site,
    id: ConcertId,
}

impl Room<'_> {
    /// The name of one of the room's keys in Redis.
    pub(crate) fn key(&self, part: &str) -> String {
        format!("wr:v1:{{{}}}:{part}", self.id)
    }

    /// A number of the room in Redis; 0 where there is none.
    pub(crate) fn number(&self, redis: &Redis, field: &str) -> Result<u64> {
        let text = redis.command(&["HGET", &self.key("room"), field])?;
        Ok(if text.is_empty() { 0 } else { text.parse()? })
    }

    /// The room's epoch and the highest position given; `None` where Redis has no room.
    pub(crate) fn highest_position(&self, redis: &Redis) -> Result<Option<(u64, u64)>> {
        let script = "local room = redis.call('HMGET', KEYS[1], 'epoch', 'seq')
                      return room[1] and room[2] and room[1] .. ' ' .. room[2] or ''";
        let text = redis.command(&["EVAL", script, "1", &self.key("room")])?;
        let numbers = text.split_once(' ').map(|(epoch, highest)| Ok((epoch.parse()?, highest.parse()?)));
        numbers.transpose()
    }

    /// A sorted set of the room in Redis: members and scores.
    pub(crate) fn set(&self, redis: &Redis, part: &str) -> Result<BTreeMap<String, f64>> {
        let script = "return table.concat(redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), ' ')";
        let text = redis.command(&["EVAL", script, "1", &self.key(part)])?;
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        words.chunks_exact(2).map(|pair| Ok((pair[0].to_owned(), pair[1].parse()?))).collect()
    }

    /// Joins, and asks again as long as the room cannot be served.
    pub(crate) async fn join(&self, through: Through, user: UserId) -> Result<Answer> {
        let mut visitor = self.site.client(through);
        visitor.session = Some(self.site.session(user));
        served(async || visitor.post("/queue/token", json!({ "concertId": self.id })).await).await
    }

    /// Has all of them join, in turn through each of `through`; the answers, in the order of `users`.
    pub(crate) async fn join_all(&self, through: &[Through], users: &[UserId]) -> Result<Vec<Answer>> {
        let joins = users.iter().zip(through.iter().cycle()).map(|(user, through)| self.join(*through, *user));
        stream::iter(joins.collect::<Vec<_>>()).buffered(JOINS_AT_ONCE).try_collect().await
    }

    /// Asks once where the bearer of a token is.
    pub(crate) async fn poll(&self, through: Through, token: &str) -> Result<Answer> {
        let mut visitor = self.site.client(through);
        visitor.queue_token = Some(token.to_owned());
        visitor.get("/queue/status").await
    }

    /// Asks where the bearer of a token is, again as long as the room cannot be served.
    pub(crate) async fn status(&self, through: Through, token: &str) -> Result<Answer> {
        served(async || self.poll(through, token).await).await
    }

    /// Polls until the bearer of a token has this status.
    pub(crate) async fn until(&self, through: Through, token: &str, wanted: &str) -> Result<Answer> {
        eventually(wanted, async || {
            let answer = self.status(through, token).await?;
            Ok((answer.body["status"] == wanted).then_some(answer))
        })
        .await
    }

    /// Leaves.
    pub(crate) async fn leave(&self, through: Through, token: &str) -> Result<()> {
        let mut visitor = self.site.client(through);
        visitor.queue_token = Some(token.to_owned());
        let answer = visitor.ask(Method::DELETE, "/queue/token", None, &[]).await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.body);
        Ok(())
    }

    /// Opens the event stream of a token's bearer.
    pub(crate) async fn events(&self, through: Through, token: &str) -> Result<reqwest::Response> {
        let url = match through {
            Through::Gateway(number) => self.site.onsale.gateways()[number].url(),
            Through::Nginx => self.site.onsale.url(),
        };
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(http.get(format!("{url}/queue/events")).header("x-queue-token", token).send().await?)
    }

    /// Waits until all that happened is recorded.
    pub(crate) async fn until_recorded(&self, redis: &Redis) -> Result<()> {
        let events = self.key("events");
        eventually("all is recorded", async || Ok((redis.command(&["XLEN", &events])? == "0").then_some(()))).await
    }

    /// Waits until the room is not being rebuilt.
    pub(crate) async fn until_rebuilt(&self, redis: &Redis) -> Result<()> {
        eventually("the room is rebuilt", async || {
            let has_begun = self.number(redis, "epoch")? > 0;
            Ok((has_begun && self.number(redis, "rebuilding")? == 0).then_some(()))
        })
        .await
    }
}

/// The answer to `ask`, once it is not "unavailable". Any other answer than 200 is an error.
async fn served(ask: impl AsyncFn() -> Result<Answer>) -> Result<Answer> {
    eventually("an answer", async || {
        let answer = ask().await?;
        match answer.status.as_u16() {
            503 => Ok(None),
            _ => answer.ok().map(Some),
        }
    })
    .await
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe().await? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("{what}: not in {PATIENCE:?}");
        }
        tokio::time::sleep(STEP).await;
    }
}

/// The position in an answer.
pub(crate) fn position(answer: &Answer) -> Result<u64> {
    answer.body["queueInfo"]["position"].as_u64().with_context(|| format!("no position in {}", answer.body))
}

/// The token in an answer: of the queue, or the admission pass.
pub(crate) fn token(answer: &Answer) -> Result<String> {
    answer.text("token")
}

/// Fails unless the answer names this status and position.
#[track_caller]
pub(crate) fn assert_stands(answer: &Answer, status: &str, at: u64) {
    let seen = (answer.body["status"].as_str(), answer.body["queueInfo"]["position"].as_u64());
    assert_eq!(seen, (Some(status), Some(at)), "{}", answer.body);
}
