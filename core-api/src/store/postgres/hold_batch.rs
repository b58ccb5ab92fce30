//! Many holds in one transaction; what is left out is held by itself with [`Db::hold`], which waits for locks.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use common::ids::{ConcertId, SeatId, UserId};
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::batch::{BatchError, Failure, KeptAnswers, Verdict, all, done, lock_claims, verdict};
use super::reservations::{HoldRules, NewHold, hold_lock};
use super::{Db, money, unreadable, utc};
use crate::domain::Fault;
use crate::domain::effect::{Done, Record};
use crate::domain::hold_book::{FreeSeat, HoldBook, UserSeats};
use crate::domain::reservation::{Held, ReserveRefusal};

/// One hold that is asked for; its seats are locked in Redis.
#[derive(Debug)]
pub struct HoldOrder {
    /// Whose, which, and under what ids.
    pub hold: NewHold,
    /// How its answer is made and kept.
    pub record: Arc<Record<Held>>,
}

/// What became of one hold of a batch.
pub type HoldVerdict = Verdict<Held, ReserveRefusal>;

impl Db {
    /// Writes what can be written of `orders` without waiting for a lock; a verdict for each, in their order. `written` is
    /// told when only the commit is left. After a fault the reservations of all of them may be there or not.
    pub async fn hold_batch(
        &self,
        orders: &[HoldOrder],
        rules: HoldRules,
        written: impl FnOnce() + Send,
    ) -> Result<Vec<HoldVerdict>, BatchError> {
        self.in_batch(async |connection| hold_locked(connection, orders, rules).await, written).await
    }
}

async fn hold_locked(
    connection: &mut PgConnection,
    orders: &[HoldOrder],
    rules: HoldRules,
) -> Result<Vec<HoldVerdict>, Failure> {
    let mine = lock_users(connection, orders).await?;
    // What they have is asked after that, so that nothing is overlooked that was committed until then.
    let users = seats_of_users(connection, &mine, rules).await?;
    let (free, now) = lock_seats(connection, orders).await?;
    let Some(now) = now else { return Ok(orders.iter().map(|_| Verdict::Alone).collect()) };
    let claims = orders.iter().filter_map(|order| order.record.claim.as_ref());
    let owned = lock_claims(connection, claims).await?;
    let mut book = HoldBook::new(free, users, now, TimeDelta::seconds(rules.hold_seconds.into()));
    let verdicts: Vec<HoldVerdict> = orders
        .iter()
        .map(|order| verdict(&order.record, &owned, || book.hold(&order.hold.order, &order.hold.ids)))
        .collect();
    write(connection, orders, &verdicts).await?;
    Ok(verdicts)
}

/// The users, each with a concert, of whom nobody else changes what they have of it until the transaction ends: the lock
/// that [`Db::hold`] waits for.
async fn lock_users(connection: &mut PgConnection, orders: &[HoldOrder]) -> Result<Vec<(UserId, ConcertId)>, Failure> {
    let users: HashMap<String, (UserId, ConcertId)> = orders
        .iter()
        .map(|order| (hold_lock(&order.hold.order), (order.hold.order.user, order.hold.order.concert)))
        .collect();
    let names: Vec<String> = users.keys().cloned().collect();
    let mine = sqlx::query_scalar!(
        r#"SELECT name AS "name!" FROM unnest($1::text[]) AS name
           WHERE pg_try_advisory_xact_lock(hashtextextended(name, 0))"#,
        &names
    )
    .fetch_all(connection)
    .await?;
    Ok(mine.iter().filter_map(|name| users.get(name).copied()).collect())
}

/// What those users have; who is not there is nobody's user, or of no concert.
async fn seats_of_users(
    connection: &mut PgConnection,
    users: &[(UserId, ConcertId)],
    rules: HoldRules,
) -> Result<HashMap<(UserId, ConcertId), UserSeats>, Failure> {
    let (user_ids, concerts): (Vec<Uuid>, Vec<Uuid>) =
        users.iter().map(|(user, concert)| (user.as_uuid(), concert.as_uuid())).unzip();
    let rows = sqlx::query!(
        r#"SELECT u.id AS user_id, c.id AS concert_id, c.seats_per_user,
                  (SELECT count(*) FROM reservations r
                   WHERE r.user_id = u.id AND r.concert_id = c.id AND r.status IN ('pending', 'completed')) AS "live!"
           FROM unnest($1::uuid[], $2::uuid[]) AS asked (user_id, concert_id)
           JOIN users u ON u.id = asked.user_id JOIN concerts c ON c.id = asked.concert_id"#,
        &user_ids,
        &concerts
    )
    .fetch_all(connection)
    .await?;
    let seats = |live: i64, limit: Option<i32>| UserSeats {
        live: u64::try_from(live).unwrap_or(u64::MAX),
        most: limit.map_or(rules.seats_per_user.into(), |limit| u64::try_from(limit).unwrap_or(0)),
    };
    let entry =
        rows.into_iter().map(|row| ((row.user_id.into(), row.concert_id.into()), seats(row.live, row.seats_per_user)));
    Ok(entry.collect())
}

/// The seats that are free, and the time once they were locked; no time where none is.
async fn lock_seats(
    connection: &mut PgConnection,
    orders: &[HoldOrder],
) -> Result<(HashMap<SeatId, FreeSeat>, Option<DateTime<Utc>>), Failure> {
    let mut ids: Vec<Uuid> =
        orders.iter().flat_map(|order| &order.hold.order.seats).map(|seat| seat.id.as_uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query!(
        r#"WITH locked AS MATERIALIZED (
               SELECT id, concert_id, price FROM seats WHERE id = ANY($1) AND status = 'available' AND NOT handing_on
               ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
           ), at AS MATERIALIZED (SELECT now_utc() AS now FROM (SELECT count(*) FROM locked) AS counted)
           SELECT id, concert_id, price, at.now AS "now!" FROM locked, at"#,
        &ids
    )
    .fetch_all(connection)
    .await?;
    let now = rows.first().map(|row| utc(row.now));
    let free = rows
        .into_iter()
        .map(|row| Ok((row.id.into(), FreeSeat { concert: row.concert_id.into(), price: money(row.price)? })));
    Ok((free.collect::<Result<_, Fault>>()?, now))
}

/// The columns of what is written, as arrays.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    users: Vec<Uuid>,
    concerts: Vec<Uuid>,
    seats: Vec<Uuid>,
    amounts: Vec<Decimal>,
    fences: Vec<i64>,
    reserved_at: Vec<NaiveDateTime>,
    deadlines: Vec<NaiveDateTime>,
    kept: KeptAnswers,
}

impl Columns {
    fn of(orders: &[HoldOrder], verdicts: &[HoldVerdict]) -> Self {
        let mut columns = Self::default();
        done(orders, verdicts).for_each(|(order, done)| columns.add(order, done));
        columns
    }

    fn add(&mut self, order: &HoldOrder, done: &Done<Held>) {
        for one in &done.outcome.reservations {
            self.ids.push(one.reservation.as_uuid());
            self.users.push(order.hold.order.user.as_uuid());
            self.concerts.push(order.hold.order.concert.as_uuid());
            self.seats.push(one.seat.id.as_uuid());
            self.amounts.push(one.amount.as_decimal());
            self.fences.push(order.hold.fence);
            self.reserved_at.push(done.outcome.reserved_at.naive_utc());
            self.deadlines.push(done.outcome.expires_at.naive_utc());
        }
        if let Some(claim) = &order.record.claim {
            self.kept.add(claim, &done.answer);
        }
    }
}

/// Reservations, seats and answers in one statement.
async fn write(connection: &mut PgConnection, orders: &[HoldOrder], verdicts: &[HoldVerdict]) -> Result<(), Failure> {
    let columns = Columns::of(orders, verdicts);
    if columns.ids.is_empty() {
        return Ok(());
    }
    let written = sqlx::query!(
        r#"WITH made AS (
               INSERT INTO reservations
                   (id, user_id, concert_id, seat_id, amount, hold_fence, reserved_at, payment_deadline)
               SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::numeric[], $6::int8[],
                                    $7::timestamp[], $8::timestamp[])
               RETURNING id
           ), held AS (
               UPDATE seats s SET status = 'reserved_temp'
               WHERE s.id = ANY($4) AND s.status = 'available' RETURNING s.id
           ), kept AS (
               UPDATE idempotency_keys k
               SET state = 'done', response_status = answer.status, response_body = answer.body
               FROM unnest($9::uuid[], $10::text[], $11::int2[], $12::bytea[]) AS answer (user_id, key, status, body)
               WHERE k.user_id = answer.user_id AND k.key = answer.key RETURNING k.attempt
           )
           SELECT (SELECT count(*) FROM made) AS "made!", (SELECT count(*) FROM held) AS "held!",
                  (SELECT count(*) FROM kept) AS "kept!""#,
        &columns.ids,
        &columns.users,
        &columns.concerts,
        &columns.seats,
        &columns.amounts,
        &columns.fences,
        &columns.reserved_at,
        &columns.deadlines,
        &columns.kept.users,
        &columns.kept.keys,
        &columns.kept.statuses,
        &columns.kept.bodies
    )
    .fetch_one(connection)
    .await?;
    let agreed = all(written.made, columns.ids.len())
        && all(written.held, columns.seats.len())
        && all(written.kept, columns.kept.keys.len());
    // The transaction is given up: what is locked stays as it was read, or we have a fault.
    if agreed { Ok(()) } else { Err(unreadable("seat", &"it changed while it was locked").into()) }
}
