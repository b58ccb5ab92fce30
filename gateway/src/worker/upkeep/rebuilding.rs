//! Rebuilding a room whose state was lost, from the record and from what the gateways still know.

use std::collections::BTreeSet;
use std::time::Duration;

use common::ids::UserId;
use tokio::time::Instant;
use uuid::Uuid;

use super::{Tools, UpkeepError, holds_lease};
use crate::domain::recovery::{Epoch, Moment, Place, Word};
use crate::domain::{DrawState, RoomView};
use crate::store::record::RoomRecord;
use crate::store::{Restoring, Source};
use crate::worker::room::Room;

/// How long gateways have to retell what they know, before it is put in place. They do so with their next tick.
const RETELL: Duration = Duration::from_millis(1_500);
/// The same where there is no record, and nothing else to rebuild from.
const RETELL_WITHOUT_RECORD: Duration = Duration::from_secs(3);
/// People read from the record at once.
const PAGE: i64 = 10_000;
/// People put back in one call: a few milliseconds of Redis.
const CALL: usize = 1_000;
/// The same for people who are put back one by one.
const SETTLED_CALL: usize = 200;

/// One rebuild of one epoch. It stops where the epoch is over, or another gateway has the lease.
pub(super) struct Rebuild<'a> {
    room: &'a Room,
    tools: &'a Tools,
    epoch: Epoch,
    base: Moment,
    draw: (DrawState, u32),
    /// People of whom a word was put in place: what the record says of them is older.
    settled: BTreeSet<UserId>,
    restored: u64,
}

/// When this gateway first saw the epoch that is being rebuilt.
#[derive(Debug, Default)]
pub(super) struct FirstSeen(Option<(Epoch, Instant)>);

impl FirstSeen {
    /// Whether the gateways had their time to retell.
    fn is_retold(&mut self, epoch: Epoch, recorded: bool) -> bool {
        let within = if recorded { RETELL } else { RETELL_WITHOUT_RECORD };
        match self.0 {
            Some((known, since)) if known == epoch => since.elapsed() >= within,
            _ => {
                self.0 = Some((epoch, Instant::now()));
                false
            }
        }
    }
}

/// Rebuilds the room that `view` shows, once the gateways had their time.
pub(super) async fn rebuild(
    room: &Room,
    tools: &Tools,
    view: &RoomView,
    first_seen: &mut FirstSeen,
) -> Result<(), UpkeepError> {
    if !first_seen.is_retold(view.counts.epoch, tools.record.is_some()) || !holds_lease(room, tools, "rebuild").await? {
        return Ok(());
    }
    let record = tools.record.as_deref();
    let mut draw = (DrawState::None, 0);
    if let Some(record) = record
        && let Some(stored) = record.settings(room.concert).await?
    {
        if let Some(entries) = stored.drawn_entries {
            draw = (DrawState::Dealing, entries);
        }
        room.take_settings(&stored.settings.into());
    }
    let (epoch, base, settled) = (view.counts.epoch, view.counts.base, BTreeSet::new());
    let rebuild = Rebuild { room, tools, epoch, base, draw, settled, restored: 0 };
    rebuild.run(record).await
}

impl Rebuild<'_> {
    async fn run(mut self, record: Option<&dyn RoomRecord>) -> Result<(), UpkeepError> {
        let begun = Instant::now();
        if !self.settle(record).await? {
            return Ok(());
        }
        if let Some(record) = record {
            let goes_on = if self.base == Moment::default() {
                self.restore_everybody(record).await?
            } else {
                self.restore_changed(record).await?
            };
            if !goes_on || !self.settle(Some(record)).await? {
                return Ok(());
            }
        }
        if self.room.store.complete(&self.room.keys, &self.room.context(), self.epoch).await? {
            self.room.figures.note_rebuilt();
            tracing::info!(
                concert = %self.room.concert, epoch = self.epoch, people = self.restored, took = ?begun.elapsed(),
                "the room is rebuilt"
            );
        }
        self.room.wanted.notify_one();
        Ok(())
    }

    /// Puts the gateways' words in place, each where the record has none that is newer. Whether the rebuild goes on.
    async fn settle(&mut self, record: Option<&dyn RoomRecord>) -> Result<bool, UpkeepError> {
        let mut cursor = 0;
        loop {
            let (next, mut words) = self.room.store.words(&self.room.keys, cursor).await?;
            words.sort_by_key(|word| word.user);
            if !words.is_empty() {
                let users: Vec<UserId> = words.iter().map(|word| word.user).collect();
                let recorded = match record {
                    Some(record) => record.persons(self.room.concert, &users).await?,
                    None => Vec::new(),
                };
                for word in &mut words {
                    let row = recorded.iter().find(|row| row.user == word.user).copied();
                    *word = completed(word.or_newer(row), row);
                }
                self.settled.extend(users);
                if !self.restore(&words, Source::Words, 0).await? {
                    return Ok(false);
                }
            }
            if next == 0 {
                return Ok(true);
            }
            cursor = next;
        }
    }

    /// After a wipe: the people inside, so that the capacity is known, then everybody in line, the front first.
    async fn restore_everybody(&mut self, record: &dyn RoomRecord) -> Result<bool, UpkeepError> {
        let inside = record.inside(self.room.concert).await?;
        if !self.restore(&inside, Source::Page, 0).await? {
            return Ok(false);
        }
        let concert = self.room.concert;
        let mut page = record.people(self.room.concert, (0, UserId::from(Uuid::nil())), PAGE).await?;
        while let Some(last) = page.last() {
            let behind = (last.position, last.user);
            // The next page is read while this one is put back.
            let (goes_on, next) =
                tokio::join!(self.restore(&page, Source::Page, behind.0), record.people(concert, behind, PAGE));
            if !goes_on? {
                return Ok(false);
            }
            page = next?;
        }
        Ok(true)
    }

    /// After a rollback: those of whom the record has something newer than what the room still knows.
    async fn restore_changed(&mut self, record: &dyn RoomRecord) -> Result<bool, UpkeepError> {
        let mut behind = UserId::from(Uuid::nil());
        loop {
            let changed = record.changed_since(self.room.concert, self.base, behind, PAGE).await?;
            let Some(last) = changed.last() else { return Ok(true) };
            behind = last.user;
            let unsettled: Vec<Word> = changed.into_iter().filter(|word| !self.settled.contains(&word.user)).collect();
            if !self.restore(&unsettled, Source::Changed, 0).await? {
                return Ok(false);
            }
        }
    }

    /// Puts people back; with the last of them everybody up to `up_to` is. Whether the rebuild goes on.
    async fn restore(&mut self, words: &[Word], source: Source, up_to: u32) -> Result<bool, UpkeepError> {
        let Self { room, tools, epoch, draw, .. } = *self;
        if !holds_lease(room, tools, "rebuild").await? {
            return Ok(false);
        }
        let mut parts = words.chunks(if source == Source::Page { CALL } else { SETTLED_CALL }).peekable();
        while let Some(words) = parts.next() {
            let up_to = if parts.peek().is_none() { up_to } else { 0 };
            let restoring = Restoring { epoch, source, up_to, draw, words };
            match room.store.restore(&room.keys, &room.context(), &restoring).await? {
                Some(restored) => self.restored += u64::from(restored),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// The word, with what the record knows and the gateway was not answered: the position of a person who left, the absolute end
/// of an admission.
fn completed(word: Word, recorded: Option<Word>) -> Word {
    let Some(recorded) = recorded else { return word };
    let position = if word.position == 0 { recorded.position } else { word.position };
    let place = match (word.place, recorded.place) {
        (Place::Admitted { nonce, lease_end_ms, cap_ms }, Place::Admitted { nonce: same, cap_ms: known, .. })
            if nonce == same && position == recorded.position =>
        {
            Place::Admitted { nonce, lease_end_ms, cap_ms: cap_ms.max(known) }
        }
        (place, _) => place,
    };
    Word { position, place, ..word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_s_word_is_completed_by_the_record() {
        let user = UserId::generate();
        let word = |position, place| Word { user, position, place, at: Moment::default() };
        let inside = |nonce, lease_end_ms, cap_ms| Place::Admitted { nonce, lease_end_ms, cap_ms };
        let row = word(5, inside(1, 10, 99));
        assert_eq!(completed(word(0, Place::Left), Some(row)), word(5, Place::Left));
        assert_eq!(completed(word(5, inside(1, 20, 20)), Some(row)), word(5, inside(1, 20, 99)));
        assert_eq!(completed(word(6, inside(1, 20, 20)), Some(row)), word(6, inside(1, 20, 20)), "another admission");
        assert_eq!(completed(word(6, Place::Waiting), None), word(6, Place::Waiting));
    }
}
