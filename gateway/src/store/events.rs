//! The stream of events that a room's scripts write, read by one gateway at a time.

use std::time::Duration;

use common::ids::ConcertId;
use lua::StoreError;
use redis::Value;
use redis::streams::StreamRangeReply;

use super::keys::RoomKeys;
use super::queue::QueueStore;
use crate::domain::Event;
use crate::domain::recovery::{Epoch, Moment};

/// Where an event stands among all of its room: by the epoch, and by the room's version in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId {
    /// The start of the epoch, in milliseconds of Unix time.
    pub ms: i64,
    /// The version.
    pub seq: i64,
}

impl StreamId {
    /// What `queue/room.lua` counts epochs from.
    const EPOCH_ZERO_MS: i64 = 1_735_689_600_000;

    /// Where what was true at a moment stands.
    pub fn of(moment: Moment) -> Self {
        let epoch = i64::try_from(moment.epoch).unwrap_or(i64::MAX);
        let ms = epoch.saturating_mul(100).saturating_add(Self::EPOCH_ZERO_MS);
        Self { ms, seq: i64::try_from(moment.version).unwrap_or(i64::MAX) }
    }

    /// When that was true.
    pub fn moment(self) -> Moment {
        let unsigned = |number| u64::try_from(number).unwrap_or(0);
        Moment { epoch: unsigned((self.ms - Self::EPOCH_ZERO_MS) / 100), version: unsigned(self.seq) }
    }
}

impl std::fmt::Display for StreamId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// What one call of a script did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Its id in the stream.
    pub id: StreamId,
    /// Where it stands among all of its room: the id, unless another version of Onsale put the stream out of step.
    pub order: StreamId,
    /// When it happened, in ms, by the clock that the script went by.
    pub at_ms: i64,
    /// In which epoch.
    pub epoch: Epoch,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// How many bytes the events take in the stream.
    pub bytes: usize,
}

impl QueueStore {
    /// The earliest batches that are not recorded yet. A batch that cannot be read has no events, so that it does not stop the ones behind it.
    pub async fn unrecorded(&self, room: &RoomKeys, at_most: usize) -> Result<Vec<Batch>, StoreError> {
        let command = redis::cmd("XRANGE").arg(room.events()).arg("-").arg("+").arg("COUNT").arg(at_most).to_owned();
        let entries: StreamRangeReply = self.redis().run(command).await?;
        Ok(entries.ids.iter().filter_map(|entry| read(&entry.id, &entry.map)).collect())
    }

    /// Drops batches that are recorded.
    pub async fn forget_recorded(&self, room: &RoomKeys, batches: &[Batch]) -> Result<(), StoreError> {
        if batches.is_empty() {
            return Ok(());
        }
        let recorded = self.scripts().recorded.call().key(room.room()).key(room.events());
        let recorded = recorded.arg(batches.iter().map(|batch| batch.bytes).sum::<usize>());
        let recorded = batches.iter().fold(recorded, |call, batch| call.arg(batch.id.to_string()));
        recorded.run::<i64>(self.redis()).await.map(|_| ())
    }

    /// Takes the lease of some work for a room that one gateway at a time should do; `owner` keeps it as long as it renews it in
    /// time, by this. Two can hold it at once for a moment: the work must bear that.
    pub async fn take_lease(
        &self,
        concert: ConcertId,
        work: &str,
        owner: &str,
        lasts: Duration,
    ) -> Result<bool, StoreError> {
        let key = RoomKeys::work_lease(concert, work);
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
    let id = StreamId { ms: ms.parse().ok()?, seq: seq.parse().ok()? };
    let epoch: Epoch = text("epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
    let version = text("version").and_then(|version| version.parse().ok());
    Some(Batch {
        id,
        order: version.map_or(id, |version| StreamId::of(Moment { epoch, version })),
        at_ms: text("at").and_then(|at| at.parse().ok()).unwrap_or_default(),
        epoch,
        bytes: events.len(),
        events: readable,
    })
}
