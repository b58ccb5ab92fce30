//! What a room is rebuilt from: how far it came, and where its people were.

use chrono::NaiveDateTime;
use common::ids::{ConcertId, UserId};
use uuid::Uuid;

use super::{Record, RecordError, int, millis, number, within};
use crate::domain::recovery::{Epoch, Moment, Place, Word};
use crate::store::events::StreamId;

/// How far the record has seen a room come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomRow {
    /// The latest epoch that was claimed or recorded, and the version that is recorded of it.
    pub at: Moment,
    /// The highest position.
    pub position: u32,
}

impl Record {
    /// How far a room came; `None` where nothing is recorded of it.
    pub async fn room(&self, concert: ConcertId) -> Result<Option<RoomRow>, RecordError> {
        within(async {
            let row = sqlx::query!(
                "SELECT epoch, version, position FROM queue_rooms WHERE concert_id = $1",
                concert.as_uuid()
            )
            .fetch_optional(&self.pool)
            .await?;
            Ok(row.map(|row| RoomRow {
                at: Moment { epoch: unsigned(row.epoch), version: unsigned(row.version) },
                position: number(row.position),
            }))
        })
        .await
    }

    /// Claims a room's next epoch, and the position that its positions go on behind, where `known` is still its latest epoch
    /// (`None`: where it has none); whether that was so. Of two gateways that find the same loss, one opens the epoch.
    pub async fn claim_epoch(
        &self,
        concert: ConcertId,
        known: Option<Epoch>,
        (next, position): (Epoch, u32),
    ) -> Result<bool, RecordError> {
        within(async {
            let claimed = sqlx::query!(
                "INSERT INTO queue_rooms AS r (concert_id, epoch, version, position) VALUES ($1, $2, 0, $4)
                 ON CONFLICT ON CONSTRAINT queue_rooms_pkey
                     DO UPDATE SET epoch = $2, version = 0, position = greatest(r.position, $4) WHERE r.epoch = $3",
                concert.as_uuid(),
                signed(next),
                known.map(signed) as _,
                int(position)
            )
            .execute(&self.pool)
            .await?;
            Ok(claimed.rows_affected() == 1)
        })
        .await
    }

    /// The people inside, as the record knows them.
    pub async fn inside(&self, concert: ConcertId) -> Result<Vec<Word>, RecordError> {
        within(async {
            let rows = sqlx::query_as!(
                Row,
                "SELECT user_id, queue_position, status, admission, lease_ends_at, session_ends_at, recorded_ms, recorded_seq
                 FROM queue WHERE concert_id = $1 AND status = 'admitted'",
                concert.as_uuid()
            )
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.into_iter().filter_map(Row::word).collect())
        })
        .await
    }

    /// The people in line behind (`position`, `user`), in that order, at most so many.
    pub async fn people(
        &self,
        concert: ConcertId,
        (position, user): (u32, UserId),
        at_most: i64,
    ) -> Result<Vec<Word>, RecordError> {
        within(async {
            let rows = sqlx::query_as!(
                Row,
                "SELECT user_id, queue_position, status, admission, lease_ends_at, session_ends_at, recorded_ms, recorded_seq
                 FROM queue
                 WHERE concert_id = $1 AND (queue_position, user_id) > ($2, $3)
                   AND status IN ('waiting', 'entered', 'offered', 'away', 'admitted')
                 ORDER BY queue_position, user_id LIMIT $4",
                concert.as_uuid(),
                int(position),
                user.as_uuid(),
                at_most
            )
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.into_iter().filter_map(Row::word).collect())
        })
        .await
    }

    /// The people of whom anything is recorded that is newer than `base`, those who have gone included, behind `user`, at most
    /// so many.
    pub async fn changed_since(
        &self,
        concert: ConcertId,
        base: Moment,
        user: UserId,
        at_most: i64,
    ) -> Result<Vec<Word>, RecordError> {
        let base = StreamId::of(base);
        within(async {
            let rows = sqlx::query_as!(
                Row,
                "SELECT user_id, queue_position, status, admission, lease_ends_at, session_ends_at, recorded_ms, recorded_seq
                 FROM queue
                 WHERE concert_id = $1 AND user_id > $4 AND (recorded_ms, recorded_seq) > ($2, $3) AND user_id IN (
                     SELECT user_id FROM queue_events WHERE concert_id = $1 AND (stream_ms, stream_seq) > ($2, $3))
                 ORDER BY user_id LIMIT $5",
                concert.as_uuid(),
                base.ms,
                base.seq,
                user.as_uuid(),
                at_most
            )
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.into_iter().filter_map(Row::word).collect())
        })
        .await
    }

    /// What is recorded of these people. Of a person whom this database does not know, their last event says it.
    pub async fn persons(&self, concert: ConcertId, users: &[UserId]) -> Result<Vec<Word>, RecordError> {
        within(async {
            let rows = sqlx::query_as!(
                Row,
                r#"WITH asked AS (SELECT UNNEST($2::uuid[]) AS user_id)
                 SELECT asked.user_id AS "user_id!", coalesce(q.queue_position, e.queue_position, 0) AS "queue_position!",
                        coalesce(q.status, e.event) AS "status!", q.admission, q.lease_ends_at, q.session_ends_at,
                        coalesce(q.recorded_ms, e.stream_ms) AS "recorded_ms!",
                        coalesce(q.recorded_seq, e.stream_seq) AS "recorded_seq!"
                 FROM asked
                 LEFT JOIN queue q ON q.concert_id = $1 AND q.user_id = asked.user_id
                 LEFT JOIN LATERAL (
                     SELECT event, queue_position, stream_ms, stream_seq FROM queue_events
                     WHERE concert_id = $1 AND user_id = asked.user_id AND q.user_id IS NULL
                     ORDER BY stream_ms DESC, stream_seq DESC, number DESC LIMIT 1
                 ) e ON true
                 WHERE q.user_id IS NOT NULL OR e.event IS NOT NULL"#,
                concert.as_uuid(),
                &users.iter().map(|user| user.as_uuid()).collect::<Vec<Uuid>>()
            )
            .fetch_all(&self.pool)
            .await?;
            Ok(rows.into_iter().filter_map(Row::word).collect())
        })
        .await
    }
}

struct Row {
    user_id: Uuid,
    queue_position: i32,
    status: String,
    admission: Option<i32>,
    lease_ends_at: Option<NaiveDateTime>,
    session_ends_at: Option<NaiveDateTime>,
    recorded_ms: i64,
    recorded_seq: i64,
}

impl Row {
    /// `None` for a status that this version does not know.
    fn word(self) -> Option<Word> {
        let place = match self.status.as_str() {
            "waiting" | "offered" | "joined" | "dealt" | "restored" | "moved" | "returned" => Place::Waiting,
            "entered" => Place::Entered,
            "away" | "absent" | "unclaimed" => Place::Away,
            "admitted" => {
                // An event alone says too little of an admission; whose it is shows a pass.
                let (Some(nonce), Some(end)) = (self.admission, self.lease_ends_at) else { return None };
                let lease_end_ms = millis(end);
                let cap_ms = self.session_ends_at.map_or(lease_end_ms, millis);
                Place::Admitted { nonce: u16::try_from(nonce).ok()?, lease_end_ms, cap_ms }
            }
            "left" | "removed" | "paid" => Place::Left,
            "expired" => Place::Expired,
            _ => return None,
        };
        let at = StreamId { ms: self.recorded_ms, seq: self.recorded_seq }.moment();
        Some(Word { user: self.user_id.into(), position: number(self.queue_position), place, at })
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
