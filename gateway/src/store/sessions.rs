//! The log of ended sessions, as core-api writes it.

use common::ids::SessionId;
use lua::sessions::{LOG, OVERLAP_US, read_entry};
use lua::{Redis, StoreError};

/// Entries read at once; core-api adds fewer at a time, so that a full answer never ends where it began.
const PAGE: usize = 5_000;

/// A reader of the log.
#[derive(Debug)]
pub struct EndedLog {
    redis: Redis,
    /// From which number on is read next.
    from: i64,
}

impl EndedLog {
    /// Has read nothing yet.
    pub fn new(redis: Redis) -> Self {
        Self { redis, from: 0 }
    }

    /// What was added since the last call, and a little of what was read before; whether there may be more. Each with when
    /// the last of the session's tokens expires, in seconds of Unix time.
    pub async fn read(&mut self) -> Result<(Vec<(SessionId, i64)>, bool), StoreError> {
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(LOG).arg(self.from).arg("+inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(PAGE);
        let found: Vec<(String, f64)> = self.redis.run(command).await?;
        let more = found.len() == PAGE;
        #[expect(clippy::cast_possible_truncation, reason = "numbers are far below 2^53")]
        let last = found.last().map(|(_, number)| *number as i64);
        self.from = match last {
            Some(last) if more => last,
            Some(last) => last.saturating_sub(OVERLAP_US),
            // Not even what was read last is there: Redis has lost it, or it was too old. All of what is there is read.
            None => 0,
        };
        let entries = found.iter().filter_map(|(entry, _)| {
            let (session, until) = read_entry(entry)?;
            Some((SessionId::from_compact(session).ok()?, until))
        });
        Ok((entries.collect(), more))
    }
}
