//! Writing what happened.

use common::ids::{ConcertId, UserId};
use uuid::Uuid;

use super::{Record, RecordError, int, timestamp, within};
use crate::store::events::{Batch, StreamId};

/// What a batch of events makes of one person's row in `queue`. `None` leaves what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenRow {
    /// Whose row.
    pub user: UserId,
    /// Their position, or in a draw their entry.
    pub position: Option<u32>,
    /// Where they are, as the column `status` says it.
    pub status: &'static str,
    /// Which life of the room it is from.
    pub epoch: u32,
    /// The wait they were told at joining.
    pub wait_time: Option<String>,
    /// SHA-256 of their token, in hex.
    pub token: Option<String>,
    /// Their admission: its number, when it was, its end and its cap, in ms.
    pub admission: Option<(u16, i64, i64, i64)>,
    /// The latest event that it is from.
    pub recorded: StreamId,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    /// Events that were new.
    pub events: u64,
    /// Rows of `queue` that changed.
    pub rows: u64,
}

impl Record {
    /// Writes batches of events and what they make of `queue`, all or nothing. A second time changes nothing. People
    /// and concerts that this database does not know have no row in `queue`; their events are kept.
    pub async fn write(
        &self,
        concert: ConcertId,
        batches: &[Batch],
        rows: &[WrittenRow],
    ) -> Result<Written, RecordError> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let events = write_events(&mut transaction, concert, batches).await?;
            let rows = write_rows(&mut transaction, concert, rows).await?;
            transaction.commit().await?;
            Ok(Written { events, rows })
        })
        .await
    }

    /// Drops events older than `kept_days`, a part of them at a time; how many.
    pub async fn drop_old_events(&self, kept_days: i32, at_most: i64) -> Result<u64, RecordError> {
        within(async {
            let dropped = sqlx::query!(
                "DELETE FROM queue_events WHERE ctid IN (
                     SELECT ctid FROM queue_events
                     WHERE happened_at < (SELECT now_utc()) - make_interval(days => $1) LIMIT $2)",
                kept_days,
                at_most
            )
            .execute(&self.pool)
            .await?;
            Ok(dropped.rows_affected())
        })
        .await
    }
}

async fn write_events(
    connection: &mut sqlx::PgConnection,
    concert: ConcertId,
    batches: &[Batch],
) -> Result<u64, RecordError> {
    let events = || {
        batches.iter().flat_map(|batch| (0_i32..).zip(&batch.events).map(move |(number, event)| (batch, number, event)))
    };
    let written = sqlx::query!(
        "INSERT INTO queue_events
             (concert_id, stream_ms, stream_seq, number, happened_at, event, user_id, queue_position, detail)
         SELECT $1, e.* FROM UNNEST($2::bigint[], $3::bigint[], $4::int[], $5::timestamp[], $6::text[], $7::uuid[],
                                    $8::int[], $9::text[]) AS e
         ON CONFLICT ON CONSTRAINT queue_events_pkey DO NOTHING",
        concert.as_uuid(),
        &events().map(|(batch, ..)| batch.id.ms).collect::<Vec<i64>>(),
        &events().map(|(batch, ..)| batch.id.seq).collect::<Vec<i64>>(),
        &events().map(|(_, number, _)| number).collect::<Vec<i32>>(),
        &events().map(|(batch, ..)| timestamp(batch.at_ms)).collect::<Vec<_>>(),
        &events().map(|(.., event)| event.happened.name().to_owned()).collect::<Vec<String>>(),
        events().map(|(.., event)| event.user.map(Uuid::from)).collect::<Vec<Option<Uuid>>>() as _,
        &events().map(|(.., event)| int(event.position)).collect::<Vec<i32>>(),
        events().map(|(.., event)| event.detail.clone()).collect::<Vec<Option<String>>>() as _,
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected())
}

async fn write_rows(
    connection: &mut sqlx::PgConnection,
    concert: ConcertId,
    rows: &[WrittenRow],
) -> Result<u64, RecordError> {
    let time = |ms: Option<i64>| ms.map(timestamp);
    let written = sqlx::query!(
        "WITH given AS (
             SELECT * FROM UNNEST($2::uuid[], $3::uuid[], $4::int[], $5::text[], $6::bigint[], $7::text[], $8::text[],
                                  $9::int[], $10::timestamp[], $11::timestamp[], $12::timestamp[], $13::bigint[],
                                  $14::bigint[])
                 AS g(id, user_id, queue_position, status, epoch, wait_time, token, admission, admitted_at,
                      lease_ends_at, session_ends_at, recorded_ms, recorded_seq)
         ), updated AS (
             UPDATE queue q SET
                 queue_position = coalesce(g.queue_position, q.queue_position), status = g.status, epoch = g.epoch,
                 wait_time = coalesce(g.wait_time, q.wait_time), token = coalesce(g.token, q.token),
                 admission = coalesce(g.admission, q.admission), admitted_at = coalesce(g.admitted_at, q.admitted_at),
                 lease_ends_at = coalesce(g.lease_ends_at, q.lease_ends_at),
                 session_ends_at = coalesce(g.session_ends_at, q.session_ends_at),
                 recorded_ms = g.recorded_ms, recorded_seq = g.recorded_seq
             FROM given g
             WHERE q.concert_id = $1 AND q.user_id = g.user_id
               AND (q.recorded_ms, q.recorded_seq) < (g.recorded_ms, g.recorded_seq)
             RETURNING q.user_id
         )
         INSERT INTO queue (id, user_id, concert_id, queue_position, status, epoch, wait_time, token, admission,
                            admitted_at, lease_ends_at, session_ends_at, recorded_ms, recorded_seq)
         SELECT g.id, g.user_id, c.id, g.queue_position, g.status, g.epoch, g.wait_time, g.token, g.admission,
                g.admitted_at, g.lease_ends_at, g.session_ends_at, g.recorded_ms, g.recorded_seq
         FROM given g JOIN users u ON u.id = g.user_id JOIN concerts c ON c.id = $1
         WHERE g.queue_position IS NOT NULL
           AND NOT EXISTS (SELECT FROM queue q WHERE q.concert_id = $1 AND q.user_id = g.user_id)
         ON CONFLICT ON CONSTRAINT queue_user_id_concert_id_key DO NOTHING",
        concert.as_uuid(),
        &rows.iter().map(|_| Uuid::now_v7()).collect::<Vec<Uuid>>(),
        &rows.iter().map(|row| row.user.as_uuid()).collect::<Vec<Uuid>>(),
        rows.iter().map(|row| row.position.map(int)).collect::<Vec<Option<i32>>>() as _,
        &rows.iter().map(|row| row.status.to_owned()).collect::<Vec<String>>(),
        &rows.iter().map(|row| i64::from(row.epoch)).collect::<Vec<i64>>(),
        rows.iter().map(|row| row.wait_time.clone()).collect::<Vec<Option<String>>>() as _,
        rows.iter().map(|row| row.token.clone()).collect::<Vec<Option<String>>>() as _,
        rows.iter().map(|row| row.admission.map(|(nonce, ..)| i32::from(nonce))).collect::<Vec<Option<i32>>>() as _,
        rows.iter().map(|row| time(row.admission.map(|(_, at, ..)| at))).collect::<Vec<_>>() as _,
        rows.iter().map(|row| time(row.admission.map(|(_, _, end, _)| end))).collect::<Vec<_>>() as _,
        rows.iter().map(|row| time(row.admission.map(|(.., cap)| cap))).collect::<Vec<_>>() as _,
        &rows.iter().map(|row| row.recorded.ms).collect::<Vec<i64>>(),
        &rows.iter().map(|row| row.recorded.seq).collect::<Vec<i64>>(),
    )
    .execute(connection)
    .await?;
    Ok(written.rows_affected())
}
