//! What administrators ask for that takes the database a while: at most two at once, so that buyers have the rest of it.

use std::sync::Arc;
use std::time::Duration;

use common::ids::ConcertId;
use tokio::sync::Semaphore;

use crate::domain::Fault;
use crate::domain::sales::{OrderCursor, OrderRow, SalesReport, Step};
use crate::store::postgres::Db;

/// How many are made at once by a process.
const AT_ONCE: usize = 2;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many orders are read at a time, which is all that an export holds in memory.
pub const ORDERS_PER_PAGE: usize = 1_000;

/// Makes reports.
#[derive(Debug, Clone)]
pub struct Reports {
    db: Db,
    turns: Arc<Semaphore>,
}

impl Reports {
    /// Over this database.
    pub fn new(db: Db) -> Self {
        Self { db, turns: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// A concert's sales; `None` where there is no such concert.
    pub async fn sales(&self, concert: ConcertId, step: Step) -> Result<Option<SalesReport>, Fault> {
        // Boxed: several statements make a large future.
        self.in_turn(Box::pin(self.db.sales(concert, step))).await
    }

    /// The next payments and refunds of a concert behind the one named; the last ones where they are fewer than
    /// [`ORDERS_PER_PAGE`].
    pub async fn orders(&self, concert: ConcertId, after: OrderCursor) -> Result<Vec<OrderRow>, Fault> {
        let limit = i64::try_from(ORDERS_PER_PAGE).unwrap_or(i64::MAX);
        self.in_turn(self.db.orders(concert, after, limit)).await
    }

    async fn in_turn<T>(&self, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        // Nobody closes it.
        let Ok(Ok(_turn)) = turn else { return Err(Fault::Unavailable("other reports are being made".to_owned())) };
        work.await
    }
}
