//! Why the waiting room can't do what is asked.

/// A refusal of the waiting room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// There is no such concert.
    #[error("no such concert")]
    NoSuchConcert,
    /// Nobody is let in any more.
    #[error("sales are closed")]
    SalesClosed,
    /// There is nothing left to wait for.
    #[error("sold out")]
    SoldOut,
    /// The room's memory can't be reached; the cause is for the log.
    #[error("the queue can't be reached: {0}")]
    StoreAway(String),
    /// Whoever knows the concerts can't be reached; the cause is for the log.
    #[error("core-api can't be reached: {0}")]
    CoreAway(String),
    /// The room lost its memory and is being put together again.
    #[error("the room is being rebuilt")]
    Rebuilding,
    /// More is waiting to be done than is taken on.
    #[error("too much is waiting to be done")]
    Overloaded,
}
