//! Group commit: whatever came while the last transaction was being written goes out as one. Nothing waits for a timer, so
//! what comes alone is as quick as ever, and a rush costs the database a few statements for many. One batch is written at
//! a time; while it waits for the disk to have its commit, the next is written.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::domain::Fault;
use crate::store::postgres::{BatchError, Verdict};

/// The most orders of one transaction.
const MAX_BATCH: usize = 128;
/// How many batches are under way at most: one being written, the others waiting for the disk.
const IN_FLIGHT: usize = 3;
/// How many orders wait for the next transaction at most.
const MAX_WAITING: usize = 1_024;

/// What writes a batch.
pub trait WriteBatch: std::fmt::Debug + Send + Sync + 'static {
    /// What its orders are called, for the log.
    const ORDERS: &'static str;
    /// One thing that is asked for.
    type Order: std::fmt::Debug + Send + Sync + 'static;
    /// What it comes to.
    type Outcome: std::fmt::Debug + Send + 'static;
    /// Why it does not.
    type Refusal: std::fmt::Debug + Send + 'static;

    /// Writes what can be written of `orders` without waiting for anybody; a verdict for each, in their order. `written`
    /// is told when only the commit is left.
    fn write(
        &self,
        orders: &[Self::Order],
        written: impl FnOnce() + Send,
    ) -> impl Future<Output = Result<BatchVerdicts<Self>, BatchError>> + Send;
}

/// A verdict for each order of a batch.
pub type BatchVerdicts<W> = Vec<BatchVerdict<W>>;
type BatchVerdict<W> = Verdict<<W as WriteBatch>::Outcome, <W as WriteBatch>::Refusal>;

/// Why an order has no verdict.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Too many wait already: nothing was changed.
    Full,
    /// The database is away: nothing was changed.
    Fault(Fault),
    /// It went away during the commit: the effect happened or it did not.
    Unsettled(Fault),
}

/// An order that waits.
#[derive(Debug)]
struct Waiting<W: WriteBatch + ?Sized> {
    order: W::Order,
    outcome: oneshot::Sender<Result<BatchVerdict<W>, Unanswered>>,
}

/// Takes orders. Cloning it shares the queue.
#[derive(Debug)]
pub(super) struct Orders<W: WriteBatch>(mpsc::Sender<Waiting<W>>);

impl<W: WriteBatch> Clone for Orders<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Writes what waits; see [`run`](Self::run).
#[derive(Debug)]
pub struct Batches<W: WriteBatch> {
    writer: Arc<W>,
    /// Who has this takes and writes a batch.
    queue: Mutex<mpsc::Receiver<Waiting<W>>>,
}

/// The two ends of a queue of orders that `writer` writes.
pub(super) fn group_commit<W: WriteBatch>(writer: W) -> (Orders<W>, Batches<W>) {
    let (sender, receiver) = mpsc::channel(MAX_WAITING);
    (Orders(sender), Batches { writer: Arc::new(writer), queue: Mutex::new(receiver) })
}

impl<W: WriteBatch> Orders<W> {
    /// Has an order written with the others that wait. [`Verdict::Alone`] also where nobody takes orders any more, as at
    /// the end of a process: whoever asks finishes by themselves what they have begun.
    pub(super) async fn write(&self, order: W::Order) -> Result<BatchVerdict<W>, Unanswered> {
        let (outcome, told) = oneshot::channel();
        match self.0.try_send(Waiting { order, outcome }) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Unanswered::Full),
            Err(TrySendError::Closed(_)) => return Ok(Verdict::Alone),
        }
        match told.await {
            Ok(answer) => answer,
            Err(_) => Ok(Verdict::Alone),
        }
    }
}

impl<W: WriteBatch> Batches<W> {
    /// Writes until `stopping`. What still waits then is written by those who wait for it.
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
            for (outcome, verdict) in outcomes.into_iter().zip(self.write(&orders, queue).await) {
                // Whoever does not listen any more is none of our business: what is written is written.
                let _ = outcome.send(verdict);
            }
        }
    }

    /// Writes a batch; the queue is another worker's once only the commit is left.
    async fn write(
        &self,
        orders: &[W::Order],
        queue: MutexGuard<'_, mpsc::Receiver<Waiting<W>>>,
    ) -> Vec<Result<BatchVerdict<W>, Unanswered>> {
        match self.writer.write(orders, || drop(queue)).await {
            Ok(verdicts) => verdicts.into_iter().map(Ok).collect(),
            Err(BatchError::Apart(fault)) => {
                tracing::warn!(%fault, orders = orders.len(), "a batch of {} failed; each is written by itself", W::ORDERS);
                orders.iter().map(|_| Ok(Verdict::Alone)).collect()
            }
            Err(BatchError::Fault(fault)) => orders.iter().map(|_| Err(Unanswered::Fault(fault.clone()))).collect(),
            Err(BatchError::Unsettled(fault)) => {
                orders.iter().map(|_| Err(Unanswered::Unsettled(fault.clone()))).collect()
            }
        }
    }
}
