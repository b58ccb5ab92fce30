//! Many payments in one transaction of a fixed few statements.
//!
//! A batch waits for nobody's locks: what somebody else has locked at the moment is left out, and paid for by itself
//! with [`Db::pay`], which waits. So one user's slow transaction never holds up everybody's payments, and a batch can't
//! be part of a deadlock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use common::ids::{ReservationId, UserId};
use common::money::Money;
use rust_decimal::Decimal;
use sqlx::PgConnection;
use uuid::Uuid;

use super::payments::METHOD;
use super::reservations::status;
use super::{Db, money, unreadable, utc, within};
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
#[derive(Debug)]
pub enum Verdict {
    /// It is paid.
    Paid(Done<Paid>),
    /// It is refused; nothing of it was changed.
    Refused(PayRefusal),
    /// Nothing of it was changed: it is to be paid by itself.
    Alone,
}

/// Why a batch failed as a whole.
#[derive(Debug)]
pub enum BatchError {
    /// Nothing was changed, and one payment may be at fault: each is to be paid by itself.
    Apart(Fault),
    /// The database is away: nothing was changed, or it is unknown whether all of it was.
    Fault(Fault),
}

/// What goes wrong inside the transaction.
enum Failure {
    Sql(sqlx::Error),
    Fault(Fault),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Db {
    /// Pays what can be paid of `orders` without waiting for a lock; a verdict for each, in their order. `written` is told
    /// when all is written and only the commit is left.
    pub async fn pay_batch(
        &self,
        orders: &[PaymentOrder],
        written: impl FnOnce() + Send,
    ) -> Result<Vec<Verdict>, BatchError> {
        let committing = AtomicBool::new(false);
        let paid = within(async {
            let mut transaction = self.pool.begin().await?;
            let verdicts = pay_locked(&mut transaction, orders).await?;
            committing.store(true, Ordering::Relaxed);
            written();
            transaction.commit().await?;
            Ok(verdicts)
        });
        paid.await.map_err(|failure| match failure {
            Failure::Sql(error) if is_definite(&error, committing.load(Ordering::Relaxed)) => {
                BatchError::Apart(error.into())
            }
            Failure::Sql(error) => BatchError::Fault(error.into()),
            Failure::Fault(fault @ Fault::Internal(_)) => BatchError::Apart(fault),
            Failure::Fault(fault @ Fault::Unavailable(_)) => BatchError::Fault(fault),
        })
    }
}

/// Whether the server itself said that nothing was changed. What ends a connection during the commit may have come after
/// it.
fn is_definite(error: &sqlx::Error, committing: bool) -> bool {
    let code = error.as_database_error().and_then(|database| database.code().map(std::borrow::Cow::into_owned));
    code.is_some_and(|code| !committing || !["08", "57", "XX"].iter().any(|class| code.starts_with(class)))
}

async fn pay_locked(connection: &mut PgConnection, orders: &[PaymentOrder]) -> Result<Vec<Verdict>, Failure> {
    let mut users: Vec<Uuid> = orders.iter().map(|order| order.user.as_uuid()).collect();
    users.sort_unstable();
    users.dedup();
    let reservations = lock_reservations(connection, orders, &users).await?;
    let (balances, now) = lock_balances(connection, &users).await?;
    let Some(now) = now else { return Ok(orders.iter().map(|_| Verdict::Alone).collect()) };
    let owned = lock_claims(connection, orders).await?;
    let mut book = PaymentBook::new(reservations, balances, now);
    let verdicts: Vec<Verdict> = orders.iter().map(|order| decide(&mut book, order, &owned)).collect();
    write(connection, orders, &verdicts, &book).await?;
    Ok(verdicts)
}

/// Whether an attempt still owns its key is asked before anything is decided: a superseded one takes only itself out.
fn decide(book: &mut PaymentBook, order: &PaymentOrder, owned: &HashSet<Uuid>) -> Verdict {
    if order.record.claim.as_ref().is_some_and(|claim| !owned.contains(&claim.attempt)) {
        return Verdict::Alone;
    }
    match book.pay(order.user, &order.reservations) {
        None => Verdict::Alone,
        Some(Err(refusal)) => Verdict::Refused(refusal),
        Some(Ok(outcome)) => {
            let answer = (order.record.render)(&outcome);
            Verdict::Paid(Done { outcome, answer })
        }
    }
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

fn claims(orders: &[PaymentOrder]) -> impl Iterator<Item = &Claim> {
    orders.iter().filter_map(|order| order.record.claim.as_ref())
}

/// The attempts that still own their keys; from here to the end of the transaction nobody takes those over.
async fn lock_claims(connection: &mut PgConnection, orders: &[PaymentOrder]) -> Result<HashSet<Uuid>, Failure> {
    let users: Vec<Uuid> = claims(orders).map(|claim| claim.user.as_uuid()).collect();
    if users.is_empty() {
        return Ok(HashSet::new());
    }
    let keys: Vec<String> = claims(orders).map(|claim| claim.key.as_str().to_owned()).collect();
    let attempts: Vec<Uuid> = claims(orders).map(|claim| claim.attempt).collect();
    let owned = sqlx::query_scalar!(
        "SELECT k.attempt FROM unnest($1::uuid[], $2::text[], $3::uuid[]) AS claim (user_id, key, attempt)
         JOIN idempotency_keys k ON k.user_id = claim.user_id AND k.key = claim.key AND k.attempt = claim.attempt
         WHERE k.state = 'in_progress' FOR UPDATE OF k SKIP LOCKED",
        &users,
        &keys,
        &attempts
    )
    .fetch_all(connection)
    .await?;
    Ok(owned.into_iter().collect())
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
    key_users: Vec<Uuid>,
    keys: Vec<String>,
    statuses: Vec<i16>,
    bodies: Vec<Vec<u8>>,
}

impl Columns {
    fn of(orders: &[PaymentOrder], verdicts: &[Verdict]) -> Self {
        let mut columns = Self::default();
        for (order, verdict) in orders.iter().zip(verdicts) {
            if let Verdict::Paid(done) = verdict {
                columns.add(order, done);
            }
        }
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
            self.key_users.push(claim.user.as_uuid());
            self.keys.push(claim.key.as_str().to_owned());
            self.statuses.push(i16::try_from(done.answer.status).unwrap_or(i16::MAX));
            self.bodies.push(done.answer.body.clone());
        }
    }
}

/// Debits, ledger, payments, reservations, seats and answers in one statement.
async fn write(
    connection: &mut PgConnection,
    orders: &[PaymentOrder],
    verdicts: &[Verdict],
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
        &columns.key_users,
        &columns.keys,
        &columns.statuses,
        &columns.bodies
    )
    .fetch_one(connection)
    .await?;
    let all = |count: i64, wanted: usize| usize::try_from(count).is_ok_and(|count| count == wanted);
    let agreed = all(written.debited, payers.len())
        && all(written.completed, columns.reservations.len())
        && all(written.sold, columns.seats.len())
        && all(written.kept, columns.keys.len());
    // The transaction is given up: what is locked and what belongs to it always agree, or we have a fault.
    if agreed { Ok(()) } else { Err(unreadable("seat", &"its status is not that of its reservation").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_ends_decides_nothing() {
        for error in [sqlx::Error::PoolTimedOut, sqlx::Error::WorkerCrashed] {
            assert!(!is_definite(&error, false) && !is_definite(&error, true));
        }
    }
}
