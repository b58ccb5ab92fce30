//! The log of ended sessions, which gateways follow: they have no other way to know.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use lua::sessions::{LOG, REFLECTED, SessionScripts, entry};
use lua::{Redis, RedisSettings};

use crate::domain::Fault;
use crate::domain::session::EndedSession;

/// How much longer than a token entries are kept: clocks differ, and one that was put back late has less time left.
const SPARE: TimeDelta = TimeDelta::minutes(10);

/// The log's writer.
#[derive(Debug, Clone)]
pub struct EndedLog {
    redis: Redis,
    scripts: Arc<SessionScripts>,
    keep: TimeDelta,
}

impl EndedLog {
    /// Prepares the connection; entries are kept as long as a token lasts.
    pub fn new(settings: &RedisSettings, token_ttl: TimeDelta) -> Result<Self, Fault> {
        Ok(Self { redis: Redis::new(settings)?, scripts: Arc::default(), keep: token_ttl + SPARE })
    }

    /// Up to when, by the database's clock, the log has all that the database has; `None` for a log that is new or that
    /// Redis has lost.
    pub async fn reflected(&self) -> Result<Option<DateTime<Utc>>, Fault> {
        let reflected: Option<i64> = self.redis.run(redis::cmd("GET").arg(REFLECTED).to_owned()).await?;
        Ok(reflected.and_then(DateTime::from_timestamp_millis))
    }

    /// Adds sessions, at most a few thousand; where these are the last, says up to when the log has all.
    pub async fn add(&self, ended: &[EndedSession], reflected: Option<DateTime<Utc>>) -> Result<(), Fault> {
        let mut call = self.scripts.end.call().key(LOG).key(REFLECTED);
        call = call.arg(self.keep.num_milliseconds()).arg(reflected.map_or(0, |time| time.timestamp_millis()));
        for session in ended {
            call = call.arg(entry(&session.id.compact(), session.tokens_until.timestamp()));
        }
        call.run::<i64>(&self.redis).await?;
        Ok(())
    }
}
