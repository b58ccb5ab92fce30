//! Payments, group-committed: whatever came while the last transaction was being written goes out as one. Nothing waits
//! for a timer, so a single payment is as quick as ever, and a rush costs the database a few statements for many. One
//! batch is written at a time; while it waits for the disk to have its commit, the next is written.

use std::sync::Arc;
use std::time::Duration;

use common::ids::{ReservationId, UserId};
use common::problem::{ErrorCode, Problem};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::domain::Fault;
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::payment::{Paid, PayRefusal};
use crate::store::postgres::{BatchError, Db, PaymentOrder, Verdict};

/// The most payments of one transaction.
const MAX_BATCH: usize = 128;
/// How many batches are under way at most: one being written, the others waiting for the disk.
const IN_FLIGHT: usize = 3;
/// How many payments wait for the next transaction at most; further ones get 503.
const MAX_WAITING: usize = 1_024;
/// When those may come back.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A payment that waits.
#[derive(Debug)]
struct Waiting {
    order: PaymentOrder,
    outcome: oneshot::Sender<Result<Verdict, Fault>>,
}

/// Takes payments. Cloning it shares the queue.
#[derive(Debug, Clone)]
pub struct Payments {
    db: Db,
    queue: mpsc::Sender<Waiting>,
}

/// Pays what waits; see [`run`](Self::run).
#[derive(Debug)]
pub struct PaymentBatches {
    db: Db,
    /// Who has this takes and writes a batch.
    queue: Mutex<mpsc::Receiver<Waiting>>,
}

impl Payments {
    /// The queue's two ends.
    pub fn new(db: Db) -> (Self, PaymentBatches) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self { db: db.clone(), queue: sender }, PaymentBatches { db, queue: Mutex::new(receiver) })
    }

    /// Pays for a user's reservations, all or none. 503 where too many wait already. Must run to its end once begun.
    pub async fn pay(
        &self,
        user: UserId,
        reservations: Vec<ReservationId>,
        record: Record<Paid>,
    ) -> Result<Done<Paid>, Problem> {
        let (outcome, told) = oneshot::channel();
        // Kept here as well: should the batches end without a word, it is paid alone.
        let record = Arc::new(record);
        let order = PaymentOrder { user, reservations: reservations.clone(), record: Arc::clone(&record) };
        match self.queue.try_send(Waiting { order, outcome }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Problem::new(ErrorCode::Overloaded).retry_after(RETRY_AFTER)),
            // The process is about to stop, and this is the end of what it has begun.
            Err(TrySendError::Closed(_)) => return Ok(self.db.pay(user, &reservations, &record).await?),
        }
        match told.await {
            Ok(Ok(Verdict::Paid(done))) => Ok(done),
            Ok(Ok(Verdict::Refused(refusal))) => Err(EffectError::<PayRefusal>::Refused(refusal).into()),
            Ok(Err(fault)) => Err(fault.into()),
            // Each by itself, in the task that waits for it: their number is bounded by what may be under way.
            Ok(Ok(Verdict::Alone)) | Err(_) => Ok(self.db.pay(user, &reservations, &record).await?),
        }
    }
}

impl PaymentBatches {
    /// Pays until `stopping`. What still waits then is paid by those who wait for it.
    pub async fn run(self, stopping: CancellationToken) {
        let workers = (0..IN_FLIGHT).map(|_| self.work(&stopping));
        futures_util::future::join_all(workers).await;
    }

    async fn work(&self, stopping: &CancellationToken) {
        let mut waiting = Vec::with_capacity(MAX_BATCH);
        loop {
            let mut queue = self.queue.lock().await;
            tokio::select! {
                taken = queue.recv_many(&mut waiting, MAX_BATCH) => if taken == 0 { return },
                () = stopping.cancelled() => return,
            }
            let (orders, outcomes): (Vec<_>, Vec<_>) =
                waiting.drain(..).map(|waiting| (waiting.order, waiting.outcome)).unzip();
            for (outcome, verdict) in outcomes.into_iter().zip(self.pay(&orders, queue).await) {
                // Whoever does not listen any more is none of our business: what is paid is paid.
                let _ = outcome.send(verdict);
            }
        }
    }

    /// Pays a batch; the queue is another worker's once it is written.
    async fn pay(
        &self,
        orders: &[PaymentOrder],
        queue: MutexGuard<'_, mpsc::Receiver<Waiting>>,
    ) -> Vec<Result<Verdict, Fault>> {
        match self.db.pay_batch(orders, || drop(queue)).await {
            Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
            Err(BatchError::Apart(fault)) => {
                tracing::warn!(%fault, payments = orders.len(), "a batch of payments failed; each is paid by itself");
                orders.iter().map(|_| Ok(Verdict::Alone)).collect()
            }
            Err(BatchError::Fault(fault)) => orders.iter().map(|_| Err(fault.clone())).collect(),
        }
    }
}
