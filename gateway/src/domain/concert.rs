//! What the gateway needs to know of a concert.

use chrono::{DateTime, Utc};

use super::Stock;

/// Whether a concert's tickets can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SaleStatus {
    /// Not yet.
    Scheduled,
    /// Now.
    OnSale,
    /// No seat is left or can come back.
    SoldOut,
    /// No longer.
    Closed,
}

/// A concert as its room sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConcertFacts {
    /// Whether tickets can be had.
    pub status: SaleStatus,
    /// When sales open; `None` where they always were.
    pub sale_opens_at: Option<DateTime<Utc>>,
    /// How many seats there are to be had, where that is known.
    pub stock: Option<Stock>,
}

impl ConcertFacts {
    /// When sales open in ms of Unix time, 0 where they always were: the form that the room's scripts take.
    pub fn opens_at_ms(&self) -> i64 {
        self.sale_opens_at.map_or(0, |time| time.timestamp_millis().max(0))
    }
}
