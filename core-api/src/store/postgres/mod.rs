//! `PostgreSQL`: the truth about seats and money. One file per aggregate; each method is one transaction.

mod accounts;
mod admin;
mod audit;
mod batch;
mod catalogue;
mod check_ins;
mod demo;
mod ended;
mod errors;
mod extending;
mod hold_batch;
mod idempotency;
mod ledger;
mod payment_batch;
mod payment_records;
mod payments;
mod provider;
mod refunds;
mod reservations;
mod session_records;
mod sessions;
mod sweeping;
mod tickets;
mod waitlist;
mod webhook_deliveries;
mod webhook_upkeep;
mod webhooks;

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, NaiveDateTime, Utc};
use common::money::Money;
use rust_decimal::Decimal;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};

pub use admin::AdminChange;
pub use audit::Audited;
pub use batch::{BatchError, Verdict};
pub use demo::{DemoConcert, DemoUser};
pub use extending::Extended;
pub use hold_batch::{HoldOrder, HoldVerdict};
pub use payment_batch::{PaymentOrder, PaymentVerdict};
pub use provider::{Begun, Completed, NewAttempt, RefundDue, Unsettled};
pub use reservations::{HoldRules, NewHold};
pub use sweeping::Swept;
pub use webhook_upkeep::Backlog;

use crate::domain::Fault;

/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call takes at most, that wait included: a server that has stopped answering must not hold requests.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for the server's side of it.
const STATEMENT_TIMEOUT: &str = "4s";
/// How long a statement waits for a lock.
const LOCK_TIMEOUT: &str = "3s";
/// A transaction whose client has gone silent gives its locks back.
const IDLE_IN_TRANSACTION_TIMEOUT: &str = "10s";

/// The database.
#[derive(Debug, Clone)]
pub struct Db {
    pool: PgPool,
    pings: PgPool,
}

impl Db {
    /// Prepares a pool of at most `max_connections`; they are made when first used. Fails on an URL that is none.
    pub fn new(url: &str, max_connections: u32) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .context("DATABASE_URL can't be read")?
            .application_name("onsale-core-api")
            .options([
                // TIMESTAMP columns hold UTC whatever the server's own zone.
                ("timezone", "UTC"),
                ("statement_timeout", STATEMENT_TIMEOUT),
                ("lock_timeout", LOCK_TIMEOUT),
                ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_TIMEOUT),
            ])
            // Logged once, at the boundary, where the request is known.
            .disable_statement_logging();
        // A process whose connections are all at work is busy, not ill: asking whether PostgreSQL answers has its own.
        let pings =
            PgPoolOptions::new().max_connections(1).acquire_timeout(ACQUIRE_TIMEOUT).connect_lazy_with(options.clone());
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_lifetime(Duration::from_mins(30))
            .connect_lazy_with(options);
        Ok(Self { pool, pings })
    }

    /// Applies the migrations that are missing. Several processes may do it at once: one does, the others wait.
    pub async fn migrate(url: &str) -> anyhow::Result<()> {
        // A connection of its own: migrations may take longer than any statement of a request.
        let options = PgConnectOptions::from_str(url).context("DATABASE_URL can't be read")?;
        let mut connection = options
            .application_name("onsale-core-api-migrate")
            .options([("timezone", "UTC")])
            .connect()
            .await
            .context("PostgreSQL can't be reached")?;
        sqlx::migrate!("../migrations")
            .run_direct(None, &mut connection, false)
            .await
            .context("the migrations failed")?;
        Ok(sqlx::Connection::close(connection).await?)
    }

    /// Whether `PostgreSQL` answers.
    pub async fn ping(&self) -> Result<(), Fault> {
        within(async { Ok::<_, Fault>(sqlx::query_scalar!("SELECT 1").fetch_one(&self.pings).await.map(|_| ())?) })
            .await
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
        self.pings.close().await;
    }
}

/// Awaits a call, at most [`CALL_TIMEOUT`]. After that it is unknown what it did.
///
/// It is put on the heap before anybody waits: a call is some kilobytes, which would be part of every handler that might
/// come to make it, and be copied with it from layer to layer.
fn within<T, E: From<Fault>>(call: impl Future<Output = Result<T, E>>) -> impl Future<Output = Result<T, E>> {
    let call = Box::pin(call);
    async move {
        match tokio::time::timeout(CALL_TIMEOUT, call).await {
            Ok(result) => result,
            Err(_) => Err(Fault::Unavailable(format!("PostgreSQL did not answer within {CALL_TIMEOUT:?}")).into()),
        }
    }
}

/// A TIMESTAMP column's value.
fn utc(time: NaiveDateTime) -> DateTime<Utc> {
    time.and_utc()
}

/// A DECIMAL(10,2) column's value that a CHECK keeps from being negative.
fn money(decimal: Decimal) -> Result<Money, Fault> {
    Money::try_from(decimal).map_err(|error| unreadable("amount", &error))
}

/// What the database should never hold.
fn unreadable(what: &str, value: &dyn std::fmt::Display) -> Fault {
    Fault::Internal(format!("the database holds an unreadable {what}: {value}"))
}
