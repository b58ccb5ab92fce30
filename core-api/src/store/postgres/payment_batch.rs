//! Many payments in one transaction; what is left out is paid by itself with [`Db::pay`], which waits for locks.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::ids::{ReservationId, UserId};
use common::money::Money;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::batch::{BatchError, Failure, KeptAnswers, Verdict, all, done, lock_claims, verdict};
use super::payments::METHOD;
use super::reservations::status;
use super::{Db, money, unreadable, utc};
use crate::domain::Fault;
use crate::domain::effect::{Claim, Done, Record};
use crate::domain::payment::{LockedReservation, Paid, PayRefusal};
use crate::domain::payment_book::PaymentBook;
use crate::domain::reservation::SeatLock;

/// One payment that is asked for.
#[derive(Debug)]
pub struct PaymentOrder {
    /// Whose.
    pub user: UserId,
    /// For what; none of them twice.
    pub reservations: Vec<ReservationId>,
    /// How its answer is made and kept.
    pub record: Arc<Record<Paid>>,
}

/// What became of one payment of a batch.
pub type PaymentVerdict = Verdict<Paid, PayRefusal>;

impl Db {
    /// Pays what can be paid of `orders` without waiting for a lock; a verdict for each, in their order. `written` is told
    /// when all is written and only the commit is left.
    pub async fn pay_batch(
        &self,
        orders: &[PaymentOrder],
        written: impl FnOnce() + Send,
    ) -> Result<Vec<PaymentVerdict>, BatchError> {
        self.in_batch(async |connection| pay_locked(connection, orders).await, written).await
    }
}

async fn pay_locked(connection: &mut PgConnection, orders: &[PaymentOrder]) -> Result<Vec<PaymentVerdict>, Failure> {
    let mut users: Vec<Uuid> = orders.iter().map(|order| order.user.as_uuid()).collect();
    users.sort_unstable();
    users.dedup();
    let reservations = lock_reservations(connection, orders, &users).await?;
    let (balances, now) = lock_balances(connection, &users).await?;
    let Some(now) = now else { return Ok(orders.iter().map(|_| Verdict::Alone).collect()) };
    let owned = lock_claims(connection, claims(orders)).await?;
    let mut book = PaymentBook::new(reservations, balances, now);
    let verdicts: Vec<PaymentVerdict> = orders
        .iter()
        .map(|order| verdict(&order.record, &owned, || book.pay(order.user, &order.reservations)))
        .collect();
    write(connection, orders, &verdicts, &book).await?;
    Ok(verdicts)
}

async fn lock_reservations(
    connection: &mut PgConnection,
    orders: &[PaymentOrder],
    users: &[Uuid],
) -> Result<Vec<(LockedReservation, SeatLock)>, Failure> {
    let mut ids: Vec<Uuid> = orders.iter().flat_map(|order| &order.reservations).map(|id| id.as_uuid()).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query!(
        "SELECT id, user_id, concert_id, seat_id, status, amount, payment_deadline, paying_until, hold_fence FROM reservations
         WHERE id = ANY($1) AND user_id = ANY($2) ORDER BY id FOR UPDATE SKIP LOCKED",
        &ids,
        users
    )
    .fetch_all(connection)
    .await?;
    let locked = rows.into_iter().map(|row| {
        let reservation = LockedReservation {
            id: row.id.into(),
            status: status(&row.status)?,
            amount: money(row.amount)?,
            deadline: utc(row.payment_deadline),
            paying_until: row.paying_until.map(utc),
        };
        // A reservation without a fence has no lock; 0 is nobody's fence, so nothing is released for it.
        let fence = row.hold_fence.unwrap_or(0);
        let (concert, seat, user) = (row.concert_id.into(), row.seat_id.into(), row.user_id.into());
        Ok((reservation, SeatLock { concert, seat, user, fence }))
    });
    Ok(locked.collect::<Result<_, Fault>>()?)
}

/// The balances, and the time once they and the reservations were locked; no time where none was.
async fn lock_balances(
    connection: &mut PgConnection,
    users: &[Uuid],
) -> Result<(HashMap<UserId, Money>, Option<DateTime<Utc>>), Failure> {
    let rows = sqlx::query!(
        r#"WITH locked AS MATERIALIZED (
               SELECT id, balance FROM users WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
           ), at AS MATERIALIZED (SELECT now_utc() AS now FROM (SELECT count(*) FROM locked) AS counted)
           SELECT id, balance, at.now AS "now!" FROM locked, at"#,
        users
    )
    .fetch_all(connection)
    .await?;
    let now = rows.first().map(|row| utc(row.now));
    let balances = rows.into_iter().map(|row| Ok((row.id.into(), money(row.balance)?)));
    Ok((balances.collect::<Result<_, Fault>>()?, now))
}

fn claims(orders: &[PaymentOrder]) -> impl Iterator<Item = &Claim> + Clone {
    orders.iter().filter_map(|order| order.record.claim.as_ref())
}

/// The columns of what is written, as arrays.
#[derive(Default)]
struct Columns {
    users: Vec<Uuid>,
    payments: Vec<Uuid>,
    reservations: Vec<Uuid>,
    seats: Vec<Uuid>,
    amounts: Vec<Decimal>,
    transfers: Vec<Uuid>,
    kept: KeptAnswers,
}

impl Columns {
    fn of(orders: &[PaymentOrder], verdicts: &[PaymentVerdict]) -> Self {
        let mut columns = Self::default();
        done(orders, verdicts).for_each(|(order, done)| columns.add(order, done));
        columns
    }

    fn add(&mut self, order: &PaymentOrder, done: &Done<Paid>) {
        for one in &done.outcome.payments {
            self.users.push(order.user.as_uuid());
            self.payments.push(one.payment.as_uuid());
            self.reservations.push(one.reservation.as_uuid());
            self.seats.push(one.lock.seat.as_uuid());
            self.amounts.push(one.amount.as_decimal());
            self.transfers.push(Uuid::now_v7());
        }
        if let Some(claim) = &order.record.claim {
            self.kept.add(claim, &done.answer);
        }
    }
}

/// Debits, ledger, payments, reservations, seats and answers in one statement.
async fn write(
    connection: &mut PgConnection,
    orders: &[PaymentOrder],
    verdicts: &[PaymentVerdict],
    book: &PaymentBook,
) -> Result<(), Failure> {
    let columns = Columns::of(orders, verdicts);
    if columns.payments.is_empty() {
        return Ok(());
    }
    let mut payers = columns.users.clone();
    payers.sort_unstable();
    payers.dedup();
    let balance = |user: &Uuid| book.balance(UserId::from(*user)).unwrap_or(Money::ZERO).as_decimal();
    let balances: Vec<Decimal> = payers.iter().map(balance).collect();
    let written = sqlx::query!(
        r#"WITH paid AS MATERIALIZED (
               SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::numeric[], $6::uuid[])
                   AS paid (user_id, payment_id, reservation_id, seat_id, amount, transfer_id)
           ), debited AS (
               UPDATE users u SET balance = payer.balance
               FROM unnest($7::uuid[], $8::numeric[]) AS payer (id, balance) WHERE u.id = payer.id RETURNING u.id
           ), entries AS (
               -- Nothing moves where nothing is to be paid.
               INSERT INTO ledger_entries (transfer_id, account, user_id, amount, kind, reservation_id)
               SELECT transfer_id, account, CASE account WHEN 'user' THEN user_id END, sign * amount, 'payment',
                      reservation_id
               FROM paid, (VALUES ('user', -1), ('sales', 1)) AS side (account, sign)
               WHERE amount > 0
           ), payments_made AS (
               INSERT INTO payments (id, reservation_id, user_id, amount, payment_status, payment_method)
               SELECT payment_id, reservation_id, user_id, amount, 'success', $9 FROM paid
           ), completed AS (
               UPDATE reservations r SET status = 'completed', completed_at = $10
               FROM paid WHERE r.id = paid.reservation_id RETURNING r.id
           ), sold AS (
               UPDATE seats s SET status = 'reserved_final'
               FROM paid WHERE s.id = paid.seat_id AND s.status = 'reserved_temp' RETURNING s.id
           ), kept AS (
               UPDATE idempotency_keys k
               SET state = 'done', response_status = answer.status, response_body = answer.body
               FROM unnest($11::uuid[], $12::text[], $13::int2[], $14::bytea[]) AS answer (user_id, key, status, body)
               WHERE k.user_id = answer.user_id AND k.key = answer.key RETURNING k.attempt
           )
           SELECT (SELECT count(*) FROM debited) AS "debited!", (SELECT count(*) FROM completed) AS "completed!",
                  (SELECT count(*) FROM sold) AS "sold!", (SELECT count(*) FROM kept) AS "kept!""#,
        &columns.users,
        &columns.payments,
        &columns.reservations,
        &columns.seats,
        &columns.amounts,
        &columns.transfers,
        &payers,
        &balances,
        METHOD,
        book.now().naive_utc(),
        &columns.kept.users,
        &columns.kept.keys,
        &columns.kept.statuses,
        &columns.kept.bodies
    )
    .fetch_one(connection)
    .await?;
    let agreed = all(written.debited, payers.len())
        && all(written.completed, columns.reservations.len())
        && all(written.sold, columns.seats.len())
        && all(written.kept, columns.kept.keys.len());
    // The transaction is given up: what is locked and what belongs to it always agree, or we have a fault.
    if agreed { Ok(()) } else { Err(unreadable("seat", &"its status is not that of its reservation").into()) }
}
