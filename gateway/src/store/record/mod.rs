//! The rooms' record in `PostgreSQL`: who is where, what happened, how rooms are run. Written behind; read to put a
//! room together again, and by operators.

mod history;
mod restore;
mod settings;
mod write;

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use chrono::{DateTime, NaiveDateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool};

pub use history::{VisitorEvent, VisitorRow};
pub use restore::{LastKnown, RecordedPerson};
pub use settings::{Changed, StoredSettings};
pub use write::{Written, WrittenRow};

/// How long a call waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a call takes at most, that wait included.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// The same for the server's side of it.
const STATEMENT_TIMEOUT: &str = "8s";
const LOCK_TIMEOUT: &str = "3s";

/// The record could not do what was asked; what it did is unknown.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It can't be reached, or is too slow.
    #[error("the record can't be reached: {0}")]
    Away(String),
    /// It refused: the tables are not those that this version knows, or a bug.
    #[error("the record refused: {0}")]
    Refused(String),
}

impl From<sqlx::Error> for RecordError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            // Connection exceptions, insufficient resources, operator intervention; locks, failovers (Appendix A).
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                let passes = ["08", "53", "57", "40", "55"].iter().any(|class| code.starts_with(class));
                if passes { Self::Away(error.to_string()) } else { Self::Refused(error.to_string()) }
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Away(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// The record. Cloning it shares its connections.
#[derive(Debug, Clone)]
pub struct Record {
    pool: PgPool,
}

impl Record {
    /// Prepares a few connections; they are made when first used. Fails on an URL that is none.
    pub fn new(url: &str, max_connections: u32) -> anyhow::Result<Self> {
        let options = PgConnectOptions::from_str(url)
            .context("DATABASE_URL can't be read")?
            .application_name("onsale-gateway")
            .options([("timezone", "UTC"), ("statement_timeout", STATEMENT_TIMEOUT), ("lock_timeout", LOCK_TIMEOUT)])
            .disable_statement_logging();
        let pool = PgPoolOptions::new()
            .max_connections(max_connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_lifetime(Duration::from_mins(30))
            .connect_lazy_with(options);
        Ok(Self { pool })
    }
}

/// Awaits a call, at most [`CALL_TIMEOUT`].
async fn within<T>(call: impl Future<Output = Result<T, RecordError>>) -> Result<T, RecordError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(result) => result,
        Err(_) => Err(RecordError::Away(format!("no answer within {CALL_TIMEOUT:?}"))),
    }
}

/// A time in ms as a TIMESTAMP column holds it.
fn timestamp(ms: i64) -> NaiveDateTime {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().naive_utc()
}

/// A TIMESTAMP column's value in ms.
fn millis(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_millis()
}

/// A TIMESTAMP column's value.
fn utc(time: NaiveDateTime) -> DateTime<Utc> {
    time.and_utc()
}

/// A position as an INT column holds it.
fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// An INT column's value that is never negative.
fn number(int: i32) -> u32 {
    u32::try_from(int).unwrap_or(0)
}
