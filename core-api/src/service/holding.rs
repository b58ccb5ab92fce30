//! Writing holds, many in one transaction. `PostgreSQL` decides them; Redis has let through who was first at each seat.

use std::sync::Arc;

use super::group_commit::{BatchVerdicts, Batches, Orders, Unanswered, WriteBatch, group_commit};
use crate::domain::Fault;
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::reservation::{Held, ReserveRefusal};
use crate::store::postgres::{BatchError, Db, HoldOrder, HoldRules, NewHold, Verdict};

/// Takes holds. Cloning it shares the queue.
#[derive(Debug, Clone)]
pub struct Holding {
    db: Db,
    rules: HoldRules,
    orders: Orders<HoldWriter>,
}

/// Writes holds.
#[derive(Debug)]
pub struct HoldWriter {
    db: Db,
    rules: HoldRules,
}

/// Holds what waits.
pub type HoldBatches = Batches<HoldWriter>;

impl WriteBatch for HoldWriter {
    const ORDERS: &'static str = "holds";
    type Order = HoldOrder;
    type Outcome = Held;
    type Refusal = ReserveRefusal;

    async fn write(
        &self,
        orders: &[HoldOrder],
        written: impl FnOnce() + Send,
    ) -> Result<BatchVerdicts<Self>, BatchError> {
        self.db.hold_batch(orders, self.rules, written).await
    }
}

impl Holding {
    /// The queue's two ends.
    pub fn new(db: Db, rules: HoldRules) -> (Self, HoldBatches) {
        let (orders, batches) = group_commit(HoldWriter { db: db.clone(), rules });
        (Self { db, rules, orders }, batches)
    }

    /// Writes the reservations of a hold: all or none. Too many that wait already are a fault. Must run to its end once
    /// begun. After a fault nothing was written; where that can't be known the error is `Unsettled`.
    pub async fn write(
        &self,
        hold: &NewHold,
        record: &Arc<Record<Held>>,
    ) -> Result<Done<Held>, EffectError<ReserveRefusal>> {
        let order = HoldOrder { hold: hold.clone(), record: Arc::clone(record) };
        match self.orders.write(order).await {
            Ok(Verdict::Done(done)) => Ok(done),
            Ok(Verdict::Refused(refusal)) => Err(EffectError::Refused(refusal)),
            // In the task that waits for it: their number is bounded by what may be under way.
            Ok(Verdict::Alone) => self.db.hold(hold, self.rules, record).await,
            Err(Unanswered::Full) => Err(Fault::Unavailable("too many holds wait to be written".to_owned()).into()),
            Err(Unanswered::Fault(fault)) => Err(fault.into()),
            Err(Unanswered::Unsettled(fault)) => Err(EffectError::Unsettled(fault)),
        }
    }

    /// By what rules.
    pub fn rules(&self) -> HoldRules {
        self.rules
    }
}
