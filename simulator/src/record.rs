//! The rooms' record as a model in memory: the same answers as the tables in `PostgreSQL` give, and faults that a real
//! server has seldom.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::ids::{ConcertId, UserId};
use gateway::domain::recovery::{Epoch, Moment, Place, Word};
use gateway::store::record::{RecordError, Recorded, RoomRecord, RoomRow, StoredSettings, Written, WrittenRow};
use gateway::store::{Batch, StreamId};

use crate::mutants::Hook;
use crate::process::{Process, Reach};
use crate::world::World;

/// A person's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Their position.
    pub(crate) position: u32,
    /// Where they are.
    pub(crate) status: &'static str,
    /// The number, end and cap of their admission.
    pub(crate) admission: Option<(u16, i64, i64)>,
    /// The event that it is from.
    pub(crate) recorded: StreamId,
}

/// The tables.
#[derive(Debug, Default)]
pub(crate) struct RecordModel {
    rows: BTreeMap<UserId, Row>,
    room: Option<RoomRow>,
    is_away: bool,
    writes: u32,
    /// What each write replaced, to take it back.
    undo: Vec<Undo>,
}

#[derive(Debug)]
struct Undo {
    at_ms: i64,
    rows: Vec<(UserId, Option<Row>)>,
    room: Option<RoomRow>,
}

impl RecordModel {
    /// What is known of a person.
    pub(crate) fn row(&self, user: UserId) -> Option<&Row> {
        self.rows.get(&user)
    }

    /// Stops or starts answering.
    pub(crate) fn set_away(&mut self, is_away: bool) {
        self.is_away = is_away;
    }

    /// Takes back what was written from `since_ms` on; how many writes that were.
    pub(crate) fn roll_back(&mut self, since_ms: i64) -> usize {
        let mut undone = 0;
        while let Some(undo) = self.undo.pop_if(|undo| undo.at_ms >= since_ms) {
            self.room = undo.room;
            for (user, row) in undo.rows {
                match row {
                    Some(row) => self.rows.insert(user, row),
                    None => self.rows.remove(&user),
                };
            }
            undone += 1;
        }
        undone
    }

    fn claim_epoch(&mut self, known: Option<Epoch>, (next, behind): (Epoch, u32), now_ms: i64) -> bool {
        let is_first = self.room.map(|room| room.at.epoch) == known;
        if is_first {
            self.undo.push(Undo { at_ms: now_ms, rows: Vec::new(), room: self.room });
            let position = self.room.map_or(0, |room| room.position).max(behind);
            self.room = Some(RoomRow { at: Moment { epoch: next, version: 0 }, position });
        }
        is_first
    }

    /// The words of those rows that `wanted` picks, by the key that it gives them, the lowest first.
    fn words<K: Ord>(&self, at_most: i64, wanted: impl Fn(UserId, &Row) -> Option<K>) -> Vec<Word> {
        let mut picked: Vec<(K, Word)> =
            self.rows.iter().filter_map(|(user, row)| Some((wanted(*user, row)?, row.word(*user)?))).collect();
        picked.sort_by(|(one, _), (other, _)| one.cmp(other));
        picked.truncate(usize::try_from(at_most).unwrap_or(usize::MAX));
        picked.into_iter().map(|(_, word)| word).collect()
    }

    fn write(&mut self, batches: &[Batch], rows: &[WrittenRow], now_ms: i64) -> Written {
        let mut undo = Undo { at_ms: now_ms, rows: Vec::new(), room: self.room };
        for row in rows {
            undo.rows.push((row.user, self.rows.get(&row.user).cloned()));
            self.write_row(row);
        }
        self.write_room(batches);
        self.undo.push(undo);
        self.writes += 1;
        Written { events: 0, rows: u64::try_from(rows.len()).unwrap_or(0) }
    }

    fn write_room(&mut self, batches: &[Batch]) {
        let Some(last) = batches.iter().map(|batch| batch.order.moment()).max() else { return };
        let events = batches.iter().flat_map(|batch| &batch.events);
        let known = self.room.unwrap_or(RoomRow { at: last, position: 0 });
        let position = events.map(|event| event.position).fold(known.position, u32::max);
        self.room = Some(RoomRow { at: known.at.max(last), position });
    }

    fn write_row(&mut self, given: &WrittenRow) {
        let admission = given.admission.map(|(nonce, _, end_ms, cap_ms)| (nonce, end_ms, cap_ms));
        if let Some(row) = self.rows.get_mut(&given.user) {
            if row.recorded >= given.recorded {
                return;
            }
            row.position = given.position.unwrap_or(row.position);
            row.status = given.status;
            row.admission = admission.or(row.admission);
            row.recorded = given.recorded;
        } else if let Some(position) = given.position {
            let (status, recorded) = (given.status, given.recorded);
            self.rows.insert(given.user, Row { position, status, admission, recorded });
        }
    }
}

impl Row {
    fn word(&self, user: UserId) -> Option<Word> {
        let place = match self.status {
            "waiting" | "offered" => Place::Waiting,
            "entered" => Place::Entered,
            "away" => Place::Away,
            "admitted" => {
                let (nonce, lease_end_ms, cap_ms) = self.admission?;
                Place::Admitted { nonce, lease_end_ms, cap_ms }
            }
            "left" | "removed" | "paid" => Place::Left,
            "expired" => Place::Expired,
            _ => return None,
        };
        Some(Word { user, position: self.position, place, at: self.recorded.moment() })
    }

    fn is_live(&self) -> bool {
        matches!(self.status, "waiting" | "entered" | "offered" | "away" | "admitted")
    }
}

/// The record as one process reaches it.
pub(crate) struct RecordHandle {
    world: Arc<World>,
    process: Arc<Process>,
}

impl std::fmt::Debug for RecordHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordHandle").field("process", &self.process).finish_non_exhaustive()
    }
}

impl RecordHandle {
    /// For this process.
    pub(crate) fn new(world: Arc<World>, process: Arc<Process>) -> Self {
        Self { world, process }
    }

    /// Carries a call there and its answer back.
    async fn call<T>(&self, call: impl FnOnce(&mut RecordModel, i64) -> T) -> Result<T, RecordError> {
        let away = || RecordError::Away("simulated".to_owned());
        if self.process.is_gone() {
            return std::future::pending().await;
        }
        match self.process.conditions().record {
            Reach::Open => {}
            Reach::Refused => return Err(away()),
            Reach::Silent => return std::future::pending().await,
        }
        self.travel().await;
        let answer = {
            let mut record = self.world.record();
            if record.is_away {
                return Err(away());
            }
            call(&mut record, self.world.clock.now_ms())
        };
        self.travel().await;
        Ok(answer)
    }

    async fn travel(&self) {
        let delay_ms = self.process.delay_ms();
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        self.process.awake().await;
    }
}

impl RoomRecord for RecordHandle {
    fn settings(&self, _: ConcertId) -> Recorded<'_, Option<StoredSettings>> {
        Box::pin(self.call(|_, _| None))
    }

    fn room(&self, _: ConcertId) -> Recorded<'_, Option<RoomRow>> {
        Box::pin(self.call(|record, _| record.room))
    }

    fn claim_epoch(&self, _: ConcertId, known: Option<Epoch>, next: (Epoch, u32)) -> Recorded<'_, bool> {
        let is_open = self.world.hook == Some(Hook::OpenRecord);
        Box::pin(self.call(move |record, now_ms| {
            let known = if is_open { record.room.map(|room| room.at.epoch) } else { known };
            record.claim_epoch(known, next, now_ms)
        }))
    }

    fn inside(&self, _: ConcertId) -> Recorded<'_, Vec<Word>> {
        Box::pin(self.call(|record, _| record.words(i64::MAX, |user, row| (row.status == "admitted").then_some(user))))
    }

    fn people(&self, _: ConcertId, behind: (u32, UserId), at_most: i64) -> Recorded<'_, Vec<Word>> {
        Box::pin(self.call(move |record, _| {
            record.words(at_most, |user, row| {
                let place = (row.position, user);
                (row.is_live() && place > behind).then_some(place)
            })
        }))
    }

    fn changed_since(&self, _: ConcertId, base: Moment, behind: UserId, at_most: i64) -> Recorded<'_, Vec<Word>> {
        let base = StreamId::of(base);
        Box::pin(self.call(move |record, _| {
            record.words(at_most, |user, row| (user > behind && row.recorded > base).then_some(user))
        }))
    }

    fn persons<'a>(&'a self, _: ConcertId, users: &'a [UserId]) -> Recorded<'a, Vec<Word>> {
        Box::pin(self.call(|record, _| record.words(i64::MAX, |user, _| users.contains(&user).then_some(user))))
    }

    fn write<'a>(&'a self, _: ConcertId, batches: &'a [Batch], rows: &'a [WrittenRow]) -> Recorded<'a, Written> {
        let is_forgetful = self.world.hook == Some(Hook::ForgetfulRecord);
        Box::pin(self.call(move |record, now_ms| {
            if is_forgetful && record.writes % 3 == 2 {
                record.writes += 1;
                return Written::default();
            }
            record.write(batches, rows, now_ms)
        }))
    }

    fn drop_old_events(&self, _: i32, _: i64) -> Recorded<'_, u64> {
        Box::pin(self.call(|_, _| 0))
    }

    fn note_drawn(&self, _: ConcertId, entries: u32) -> Recorded<'_, u32> {
        Box::pin(self.call(move |_, _| entries))
    }
}
