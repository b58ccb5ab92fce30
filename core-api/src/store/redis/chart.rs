//! Payments that came to nothing, counted where gateways find them: operators watch a sale by it.

use std::sync::Arc;
use std::time::Duration;

use common::ids::ConcertId;
use lua::chart::ChartScripts;
use lua::{Redis, RedisSettings};

use super::keys;
use crate::domain::Fault;

/// Operators are shown the last quarter of an hour: what is older interests nobody.
const KEPT_FOR: Duration = Duration::from_mins(15);

/// The count of failed payments, by concert; of all core-apis together.
#[derive(Debug, Clone)]
pub struct FailedPayments {
    redis: Redis,
    scripts: Arc<ChartScripts>,
}

impl FailedPayments {
    /// Prepares the connection.
    pub fn new(settings: &RedisSettings) -> Result<Self, Fault> {
        Ok(Self { redis: Redis::new(settings)?, scripts: Arc::default() })
    }

    /// Counts one of each of these concerts. It is not tried again where it fails: it may have arrived, and would count
    /// twice.
    pub async fn note(&self, concerts: &[ConcertId]) {
        for concert in concerts {
            let call = self.scripts.fail.call().key(&keys::counted(*concert)).arg(1_u8).arg(KEPT_FOR.as_secs());
            if let Err(error) = call.run::<u64>(&self.redis).await {
                tracing::debug!(%concert, %error, "operators are not shown a payment that failed");
            }
        }
    }
}
