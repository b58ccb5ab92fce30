//! The stream of events that a room's scripts write, read by whichever gateway has the turn at it.

use std::time::Duration;

use common::ids::ConcertId;
use lua::StoreError;
use redis::Value;
use redis::streams::StreamRangeReply;

use super::keys::RoomKeys;
use super::queue::QueueStore;
use crate::domain::Event;

/// Where an event stands: by the clock of Redis, and among those of the same millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// Milliseconds of Unix time.
    pub ms: i64,
    /// Which one of that millisecond.
    pub seq: i64,
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// What one call of a script did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Where it stands.
    pub id: StreamId,
    /// When it happened, in ms, by the clock that the script went by.
    pub at_ms: i64,
    /// In which life of the room.
    pub epoch: u32,
    /// What happened, in order.
    pub events: Vec<Event>,
}

impl QueueStore {
    /// The earliest batches that are not recorded yet. What can't be read is told with no events, so that it does not
    /// stop those behind it.
    pub async fn unrecorded(&self, room: &RoomKeys, at_most: usize) -> Result<Vec<Batch>, StoreError> {
        let command = redis::cmd("XRANGE").arg(room.events()).arg("-").arg("+").arg("COUNT").arg(at_most).to_owned();
        let entries: StreamRangeReply = self.redis().run(command).await?;
        Ok(entries.ids.iter().filter_map(|entry| read(&entry.id, &entry.map)).collect())
    }

    /// Drops batches that are recorded.
    pub async fn forget_recorded(&self, room: &RoomKeys, batches: &[Batch]) -> Result<(), StoreError> {
        let mut command = redis::cmd("XDEL");
        command.arg(room.events());
        for batch in batches {
            command.arg(batch.id.to_string());
        }
        if batches.is_empty() { Ok(()) } else { self.redis().run(command).await }
    }

    /// Takes the turn at some work for a room that one gateway at a time should do; `owner` keeps it as long as it asks
    /// again in time. Two may have it at once for a moment: the work must bear that.
    pub async fn take_turn(
        &self,
        concert: ConcertId,
        work: &str,
        owner: &str,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        let key = RoomKeys::turn_at(concert, work);
        let lasts_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        let set = redis::cmd("SET").arg(&key).arg(owner).arg("NX").arg("PX").arg(lasts_ms).to_owned();
        if self.redis().run::<Option<String>>(set).await?.is_some() {
            return Ok(true);
        }
        let holder: Option<String> = self.redis().run(redis::cmd("GET").arg(&key).to_owned()).await?;
        if holder.as_deref() != Some(owner) {
            return Ok(false);
        }
        self.redis().run::<i64>(redis::cmd("PEXPIRE").arg(&key).arg(lasts_ms).to_owned()).await?;
        Ok(true)
    }
}

fn read(id: &str, fields: &std::collections::HashMap<String, Value>) -> Option<Batch> {
    let (ms, seq) = id.split_once('-')?;
    let text = |name: &str| -> Option<String> { redis::from_redis_value(fields.get(name)?.clone()).ok() };
    let events = text("events").unwrap_or_default();
    let (readable, lines) = (events.lines().filter_map(Event::from_line).collect::<Vec<_>>(), events.lines().count());
    if readable.len() < lines {
        tracing::warn!(id, unread = lines - readable.len(), "events that this version can't read are not recorded");
    }
    Some(Batch {
        id: StreamId { ms: ms.parse().ok()?, seq: seq.parse().ok()? },
        at_ms: text("at").and_then(|at| at.parse().ok()).unwrap_or_default(),
        epoch: text("epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default(),
        events: readable,
    })
}
