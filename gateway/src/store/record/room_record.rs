//! What a room's tasks need from the record. The tasks know this trait only, so that the record can be another one.

use common::ids::{ConcertId, UserId};
use futures_util::future::BoxFuture;

use super::{Record, RecordError, RoomRow, StoredSettings, Written, WrittenRow};
use crate::domain::recovery::{Epoch, Moment, Word};
use crate::store::Batch;

/// The answer of the record.
pub type Recorded<'a, T> = BoxFuture<'a, Result<T, RecordError>>;

/// The record as a room's tasks use it. [`Record`] has the meaning of each call.
pub trait RoomRecord: std::fmt::Debug + Send + Sync {
    /// [`Record::settings`].
    fn settings(&self, concert: ConcertId) -> Recorded<'_, Option<StoredSettings>>;

    /// [`Record::room`].
    fn room(&self, concert: ConcertId) -> Recorded<'_, Option<RoomRow>>;

    /// [`Record::claim_epoch`].
    fn claim_epoch(&self, concert: ConcertId, known: Option<Epoch>, next: (Epoch, u32)) -> Recorded<'_, bool>;

    /// [`Record::inside`].
    fn inside(&self, concert: ConcertId) -> Recorded<'_, Vec<Word>>;

    /// [`Record::people`].
    fn people(&self, concert: ConcertId, behind: (u32, UserId), at_most: i64) -> Recorded<'_, Vec<Word>>;

    /// [`Record::changed_since`].
    fn changed_since(&self, concert: ConcertId, base: Moment, behind: UserId, at_most: i64) -> Recorded<'_, Vec<Word>>;

    /// [`Record::persons`].
    fn persons<'a>(&'a self, concert: ConcertId, users: &'a [UserId]) -> Recorded<'a, Vec<Word>>;

    /// [`Record::write`].
    fn write<'a>(&'a self, concert: ConcertId, batches: &'a [Batch], rows: &'a [WrittenRow]) -> Recorded<'a, Written>;

    /// [`Record::drop_old_events`].
    fn drop_old_events(&self, kept_days: i32, at_most: i64) -> Recorded<'_, u64>;

    /// [`Record::note_drawn`].
    fn note_drawn(&self, concert: ConcertId, entries: u32) -> Recorded<'_, u32>;
}

impl RoomRecord for Record {
    fn settings(&self, concert: ConcertId) -> Recorded<'_, Option<StoredSettings>> {
        Box::pin(Self::settings(self, concert))
    }

    fn room(&self, concert: ConcertId) -> Recorded<'_, Option<RoomRow>> {
        Box::pin(Self::room(self, concert))
    }

    fn claim_epoch(&self, concert: ConcertId, known: Option<Epoch>, next: (Epoch, u32)) -> Recorded<'_, bool> {
        Box::pin(Self::claim_epoch(self, concert, known, next))
    }

    fn inside(&self, concert: ConcertId) -> Recorded<'_, Vec<Word>> {
        Box::pin(Self::inside(self, concert))
    }

    fn people(&self, concert: ConcertId, behind: (u32, UserId), at_most: i64) -> Recorded<'_, Vec<Word>> {
        Box::pin(Self::people(self, concert, behind, at_most))
    }

    fn changed_since(&self, concert: ConcertId, base: Moment, behind: UserId, at_most: i64) -> Recorded<'_, Vec<Word>> {
        Box::pin(Self::changed_since(self, concert, base, behind, at_most))
    }

    fn persons<'a>(&'a self, concert: ConcertId, users: &'a [UserId]) -> Recorded<'a, Vec<Word>> {
        Box::pin(Self::persons(self, concert, users))
    }

    fn write<'a>(&'a self, concert: ConcertId, batches: &'a [Batch], rows: &'a [WrittenRow]) -> Recorded<'a, Written> {
        Box::pin(Self::write(self, concert, batches, rows))
    }

    fn drop_old_events(&self, kept_days: i32, at_most: i64) -> Recorded<'_, u64> {
        Box::pin(Self::drop_old_events(self, kept_days, at_most))
    }

    fn note_drawn(&self, concert: ConcertId, entries: u32) -> Recorded<'_, u32> {
        Box::pin(Self::note_drawn(self, concert, entries))
    }
}
