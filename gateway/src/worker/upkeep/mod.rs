//! What a room needs beside its ticks, done by one gateway at a time: recording what happened, putting a room together
//! that lost its memory, dealing the positions of a draw, keeping up with settings that were changed elsewhere.

mod dealing;
mod rebuilding;
mod recording;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::tokens::{PassSigner, TicketKeys};
use tokio_util::sync::CancellationToken;

use super::room::Room;
use crate::domain::{DrawState, QueueError};
use crate::store::record::{Record, RecordError};

/// The time between two looks at what there is to do.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The time between two looks at the settings in the record: they come with the room as well, and sooner.
const SETTINGS_EVERY: Duration = Duration::from_secs(10);
/// How long events are kept, and how many old ones are dropped each time the settings are read: a room in use drops up to
/// a thousand a second, more than come in over the days.
const EVENTS_KEPT_DAYS: i32 = 30;
const OLD_EVENTS: i64 = 10_000;
/// How long a gateway keeps a turn that it does not take again.
const TURN_LASTS: Duration = Duration::from_secs(5);
/// How long after a failure it is tried again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Why some upkeep was not done; it will be tried again.
#[derive(Debug, thiserror::Error)]
enum UpkeepError {
    #[error(transparent)]
    Room(#[from] QueueError),
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl From<lua::StoreError> for UpkeepError {
    fn from(error: lua::StoreError) -> Self {
        Self::Room(error.into())
    }
}

/// What upkeep needs beside the room.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    /// Where things are recorded, if anywhere.
    pub(crate) record: Option<Record>,
    /// Sign what people were given, for its hash to be recorded.
    pub(crate) tickets: Arc<TicketKeys>,
    /// The same for passes.
    pub(crate) passes: Arc<PassSigner>,
    /// Tells this gateway from others that share the work.
    pub(crate) owner: Arc<str>,
}

/// Looks after a room until `stopping`.
pub(super) async fn run(room: Arc<Room>, tools: Tools, stopping: CancellationToken) {
    let mut settings_read_at = Instant::now();
    let mut failed = false;
    loop {
        let done = look_after(&room, &tools, &mut settings_read_at).await;
        match &done {
            Ok(()) if failed => tracing::info!(concert = %room.concert, "upkeep of the room works again"),
            // Told once for each time that it goes away.
            Err(error) if !failed => tracing::warn!(concert = %room.concert, %error, "upkeep of the room failed"),
            Ok(()) | Err(_) => {}
        }
        failed = done.is_err();
        let pause = if failed { PAUSE_AFTER_FAILURE } else { LOOK_EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopping.cancelled() => return,
        }
    }
}

async fn look_after(room: &Room, tools: &Tools, settings_read_at: &mut Instant) -> Result<(), UpkeepError> {
    let Some(view) = room.latest_view() else { return Ok(()) };
    if let Some(record) = &tools.record {
        if view.counts.rebuilding && takes_turn(room, tools, "rebuild").await? {
            rebuilding::rebuild(room, record).await?;
        }
        if !room.is_idle() && settings_read_at.elapsed() > SETTINGS_EVERY {
            *settings_read_at = Instant::now();
            room.read_settings(record).await?;
            record.drop_old_events(EVENTS_KEPT_DAYS, OLD_EVENTS).await?;
        }
    }
    if view.draw == DrawState::Dealing && takes_turn(room, tools, "deal").await? {
        dealing::deal(room, tools.record.as_ref(), &view).await?;
    }
    if let Some(record) = &tools.record
        && view.counts.unrecorded > 0
    {
        recording::record(room, tools, record).await?;
    }
    Ok(())
}

async fn takes_turn(room: &Room, tools: &Tools, work: &str) -> Result<bool, UpkeepError> {
    Ok(room.store.take_turn(room.concert, work, &tools.owner, TURN_LASTS).await?)
}
