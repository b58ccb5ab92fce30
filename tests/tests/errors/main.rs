//! Every failure that `api-spec.yaml` documents of an operation is provoked, of the running site, and is answered as
//! documented; what is answered where nothing documents it fails as well. So a failure that can't happen does not stay
//! in the description, and one that can does not stay out of it.

mod any;
mod buying;
mod ledger;
mod managing;
mod narrow;
mod outages;
mod raw;
mod request;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use e2e::spec::Spec;
use sqlx::{Connection as _, PgConnection};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::postgres::{Database, Postgres, PostgresOptions};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

use ledger::Ledger;
use narrow::Narrow;
use request::{WEBHOOK_SECRET, World, name};

/// A site that has everything, on servers of its own, which are stopped in the end.
struct Whole {
    onsale: Onsale,
    redis: Redis,
    database: Database,
    postgres: Postgres,
}

impl Whole {
    fn start() -> Result<Self> {
        let redis = Redis::start(&RedisOptions::default())?;
        let postgres = Postgres::start(&PostgresOptions::default())?;
        let database = postgres.server().fresh_database("empty", |_| Ok(()))?;
        let gateway_env = [
            ("QUEUE_DATABASE_URL", database.gateway_url()),
            // It is the same few who do all of this.
            ("JOINS_PER_MINUTE_PER_USER", "0".to_owned()),
            ("POLLS_PER_MINUTE_PER_USER", "0".to_owned()),
            ("RESERVATIONS_PER_MINUTE_PER_USER", "0".to_owned()),
            ("UNVERIFIED_PER_MINUTE_PER_ADDRESS", "0".to_owned()),
        ];
        let core_api_env = [
            ("PAYMENT_WEBHOOK_SECRETS", WEBHOOK_SECRET.to_owned()),
            ("WEBHOOK_SECRET_KEYS", "what-keeps-the-secrets-of-these-tests".to_owned()),
            ("LOGINS_PER_MINUTE_PER_ACCOUNT", "0".to_owned()),
        ];
        let onsale = Onsale::start(&OnsaleOptions {
            redis_url: Some(redis.url()),
            database_url: Some(database.url()),
            sandbox_provider: true,
            gateway_env: gateway_env.map(|(name, value)| (name.to_owned(), value)).into(),
            core_api_env: core_api_env.map(|(name, value)| (name.to_owned(), value)).into(),
            ..OnsaleOptions::default()
        })?;
        Ok(Self { onsale, redis, database, postgres })
    }

    async fn provoke(&self, spec: &Spec, ledger: &Ledger) -> Result<()> {
        let mut world = World::of(spec, ledger, self.onsale.url()).await?;
        let mut database = PgConnection::connect(&self.database.url()).await?;
        get_in(&mut world).await?;
        let timeouts = any::provoke_timeouts(&world, self.onsale.gateways()[0].address());
        let in_order = async {
            any::provoke(&world).await?;
            let code = buying::provoke(&world, &mut database).await?;
            managing::provoke(&world, &mut database).await?;
            Ok::<_, anyhow::Error>(code)
        };
        let ((), code) = tokio::try_join!(Box::pin(timeouts), Box::pin(in_order))?;
        world.ids.insert("code", code);
        Box::pin(managing::repeat(&world, &mut database)).await?;
        Box::pin(outages::provoke(&world, &self.onsale, (&self.postgres, &self.redis), database)).await
    }
}

/// Gets the world's user into a concert, where they hold a seat.
async fn get_in(world: &mut World<'_>) -> Result<()> {
    let concert = buying::concert_in(world, 90).await?;
    ensure!(world.user.be_admitted(&concert.id, PATIENCE).await?, "sold out");
    let reservation = buying::hold(&world.user, &concert, 0).await?;
    let seat = concert.seats.get(1).context("a concert of one seat")?.clone();
    world.ids.extend(BTreeMap::from([("concertId", concert.id), ("reservationId", reservation), ("seatId", seat)]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_failure_is_provoked_and_none_is_answered_that_is_not_documented() -> Result<()> {
    let spec = Spec::load()?;
    let ledger = Ledger::read(&spec)?;
    let starting = (tokio::task::spawn_blocking(Whole::start), tokio::task::spawn_blocking(Narrow::start));
    let (whole, narrow) = (starting.0.await??, starting.1.await??);
    let done = tokio::join!(Box::pin(whole.provoke(&spec, &ledger)), Box::pin(narrow.provoke(&spec, &ledger)));
    for stopped in [done.0, done.1] {
        if let Err(error) = stopped {
            ledger.fault(format!("the test could not go on: {error:#}"));
        }
    }
    ledger.finish()
}

/// What this test relies on: a failure that is told of nowhere, or provoked by nobody, is one that it tells.
#[test]
fn what_is_not_provoked_and_what_is_not_documented_is_told() -> Result<()> {
    let spec = Spec::load()?;
    let ledger = Ledger::read(&spec)?;
    let told = ledger.finish().err().context("nothing was provoked")?.to_string();
    let operations = spec.operations()?;
    ensure!(operations.iter().all(|one| told.contains(&format!("{} is documented with", name(one)))), "{told}");
    let answer = e2e::site::Answer {
        status: http::StatusCode::OK,
        headers: http::HeaderMap::new(),
        body: serde_json::json!({ "error": "seat_taken" }),
    };
    ledger.note("getBalance", "seat_taken", &answer);
    ledger.note("reserve", "seat_taken", &answer);
    let told = ledger.finish().err().context("nothing was provoked")?.to_string();
    for fault in ["getBalance is not documented with seat_taken", "reserve seat_taken: it should be 409"] {
        ensure!(told.contains(fault), "{told}");
    }
    Ok(())
}
