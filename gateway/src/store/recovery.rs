//! The scripts that open an epoch and rebuild a room, as functions.

use common::ids::UserId;
use redis::Value;

use super::keys::RoomKeys;
use super::queue::{Lost, Opening, QueueStore, Restoring, RoomContext, RoomError, Source, call};
use super::replies::{self, unexpected};
use crate::domain::DrawState;
use crate::domain::recovery::{Epoch, Place, Word, next_epoch};

/// Words read from a room at once.
const WORDS_AT_ONCE: usize = 1_000;

impl QueueStore {
    /// Begins an epoch; whether this call did.
    pub async fn open(&self, room: &RoomKeys, context: &RoomContext, opening: &Opening) -> Result<bool, RoomError> {
        let open = call(&self.scripts().open, room, context)
            .arg(opening.lost_epoch)
            .arg(opening.epoch)
            .arg(opening.position)
            .arg(opening.frontier)
            .arg(opening.gap)
            .arg(u8::from(opening.rebuild));
        let (_, [opened]) = replies::headed(&self.run::<Vec<i64>>(open).await?)?;
        Ok(opened == 1)
    }

    /// Begins the first epoch of a room that Redis does not know and that nobody has seen; whether this call did. For programs
    /// that fill a room without a gateway.
    pub async fn open_first(&self, room: &RoomKeys, context: &RoomContext) -> Result<bool, RoomError> {
        match self.snapshot(room, context, i64::MAX).await {
            Err(RoomError::Lost(Lost { epoch: 0, now_ms, .. })) => {
                let epoch = next_epoch(now_ms, &[]);
                let opening = Opening { lost_epoch: 0, epoch, position: 0, frontier: 0, gap: 0, rebuild: false };
                self.open(room, context, &opening).await
            }
            known => known.map(|_| false),
        }
    }

    /// Gives a room that is rebuilt what this gateway knows of people; how many words were news to it.
    pub async fn retell(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        epoch: Epoch,
        words: &[Word],
    ) -> Result<u32, RoomError> {
        let retell = call(&self.scripts().retell, room, context).arg(epoch);
        let retell = words.iter().fold(retell, |call, word| call.arg(word.user.compact()).arg(word.text()));
        let (_, [kept]) = replies::headed(&self.run::<Vec<i64>>(retell).await?)?;
        replies::narrow(kept)
    }

    /// Puts people back. How many are in the room by this; `None` where that epoch is not being rebuilt any more.
    pub async fn restore(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        restoring: &Restoring<'_>,
    ) -> Result<Option<u32>, RoomError> {
        let (draw, entries) = restoring.draw;
        // People in line are many, and of them there is nothing but the position to know. Settled words replace what the room
        // holds, and so are put one by one.
        let is_in_line = |word: &Word| match word.place {
            Place::Waiting => restoring.source == Source::Page,
            Place::Entered => restoring.source == Source::Page && draw != DrawState::Dealing,
            _ => false,
        };
        let (in_line, others): (Vec<&Word>, Vec<&Word>) = restoring.words.iter().partition(|word| is_in_line(word));
        let restore = call(&self.scripts().restore, room, context)
            .arg(restoring.epoch)
            .arg(match restoring.source {
                Source::Page => "page",
                Source::Changed => "changed",
                Source::Words => "words",
            })
            .arg(restoring.up_to)
            .arg(draw.as_str())
            .arg(entries)
            .arg(in_line.len());
        let restore = in_line.iter().fold(restore, |call, word| call.arg(word.user.compact()).arg(word.position));
        let restore = others.iter().fold(restore, |call, word| {
            let (nonce, lease_end_ms, cap_ms) = word.place.admission();
            call.arg(word.place.name())
                .arg(word.user.compact())
                .arg(word.position)
                .arg(nonce)
                .arg(lease_end_ms)
                .arg(cap_ms)
                .arg(word.at.epoch)
                .arg(word.at.version)
        });
        let (_, [goes_on, restored]) = replies::headed(&self.run::<Vec<i64>>(restore).await?)?;
        Ok(if goes_on == 1 { Some(replies::narrow(restored)?) } else { None })
    }

    /// Ends the rebuild of an epoch; whether this call did.
    pub async fn complete(&self, room: &RoomKeys, context: &RoomContext, epoch: Epoch) -> Result<bool, RoomError> {
        let complete = call(&self.scripts().complete, room, context).arg(epoch);
        let (_, [ended]) = replies::headed(&self.run::<Vec<i64>>(complete).await?)?;
        Ok(ended == 1)
    }

    /// Puts one person back whom the room did not know in that epoch.
    pub async fn reinstate(
        &self,
        room: &RoomKeys,
        context: &RoomContext,
        epoch: Epoch,
        (user, position, place): (UserId, u32, Place),
    ) -> Result<(), RoomError> {
        let (nonce, lease_end_ms, cap_ms) = place.admission();
        let reinstate = call(&self.scripts().reinstate, room, context)
            .arg(epoch)
            .arg(place.name())
            .arg(user.compact())
            .arg(position)
            .arg(nonce)
            .arg(lease_end_ms)
            .arg(cap_ms);
        let (_, [_]) = replies::headed(&self.run::<Vec<i64>>(reinstate).await?)?;
        Ok(())
    }

    /// Some of the words that gateways gave a room and that are not settled, from `cursor` on, and the cursor of the next
    /// ones; 0 begins, and ends.
    pub async fn words(&self, room: &RoomKeys, cursor: u64) -> Result<(u64, Vec<Word>), RoomError> {
        let scan = redis::cmd("HSCAN").arg(room.words()).arg(cursor).arg("COUNT").arg(WORDS_AT_ONCE).to_owned();
        let (next, found): (u64, Vec<(String, String)>) = self.redis().run(scan).await?;
        let read = |(user, text): (String, String)| Word::from_text(UserId::from_compact(&user).ok()?, &text);
        Ok((next, found.into_iter().filter_map(read).collect()))
    }

    /// Drops a room's keys that something else overwrote, and with them what says how it stands, so that its next call finds
    /// it lost. A key of another type would fail every script for ever. Whether there were any.
    pub async fn drop_unreadable(&self, room: &RoomKeys) -> Result<bool, RoomError> {
        const TYPES: [&str; lua::queue::ROOM_KEYS] = [
            "hash", "zset", "zset", "zset", "zset", "zset", "hash", "zset", "zset", "hash", "zset", "stream", "hash",
            "hash",
        ];
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(room.room());
        let mut found_any = false;
        for (key, wanted) in room.all().iter().zip(TYPES) {
            let found: Value = self.redis().run(redis::cmd("TYPE").arg(key).to_owned()).await?;
            let Value::SimpleString(found) = found else { return Err(unexpected()) };
            if found != "none" && found != wanted {
                unlink.arg(key);
                found_any = true;
            }
        }
        if found_any {
            self.redis().run::<i64>(unlink).await?;
        }
        Ok(found_any)
    }
}
