//! Payments from the balance, many in one transaction.

use std::sync::Arc;
use std::time::Duration;

use common::ids::{ReservationId, UserId};
use common::problem::{ErrorCode, Problem};

use super::group_commit::{BatchVerdicts, Batches, Orders, Unanswered, WriteBatch, group_commit};
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::payment::{Paid, PayRefusal};
use crate::store::postgres::{BatchError, Db, PaymentOrder, Verdict};

/// When somebody may come back for whom there was no room in the queue.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Takes payments. Cloning it shares the queue.
#[derive(Debug, Clone)]
pub struct Payments {
    db: Db,
    orders: Orders<PaymentWriter>,
}

/// Writes payments.
#[derive(Debug)]
pub struct PaymentWriter(Db);

/// Pays what waits.
pub type PaymentBatches = Batches<PaymentWriter>;

impl WriteBatch for PaymentWriter {
    const ORDERS: &'static str = "payments";
    type Order = PaymentOrder;
    type Outcome = Paid;
    type Refusal = PayRefusal;

    async fn write(
        &self,
        orders: &[PaymentOrder],
        written: impl FnOnce() + Send,
    ) -> Result<BatchVerdicts<Self>, BatchError> {
        self.0.pay_batch(orders, written).await
    }
}

impl Payments {
    /// The queue's two ends.
    pub fn new(db: Db) -> (Self, PaymentBatches) {
        let (orders, batches) = group_commit(PaymentWriter(db.clone()));
        (Self { db, orders }, batches)
    }

    /// Pays for a user's reservations, all or none. 503 where too many wait already. Must run to its end once begun.
    pub async fn pay(
        &self,
        user: UserId,
        reservations: Vec<ReservationId>,
        record: Record<Paid>,
    ) -> Result<Done<Paid>, Problem> {
        // Kept here as well: it may have to be paid alone.
        let record = Arc::new(record);
        let order = PaymentOrder { user, reservations: reservations.clone(), record: Arc::clone(&record) };
        match self.orders.write(order).await {
            Ok(Verdict::Done(done)) => Ok(done),
            Ok(Verdict::Refused(refusal)) => Err(EffectError::<PayRefusal>::Refused(refusal).into()),
            // In the task that waits for it: their number is bounded by what may be under way.
            Ok(Verdict::Alone) => Ok(self.db.pay(user, &reservations, &record).await?),
            Err(Unanswered::Full) => Err(Problem::new(ErrorCode::Overloaded).retry_after(RETRY_AFTER)),
            // What was unsettled is told when the same key comes again.
            Err(Unanswered::Fault(fault) | Unanswered::Unsettled(fault)) => Err(fault.into()),
        }
    }
}
