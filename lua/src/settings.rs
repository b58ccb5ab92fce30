//! Where Redis is: the settings of every process that uses it.

use std::time::Duration;

use common::config::{Reader, Setting};

use crate::connection::{Mode, RedisSettings};

/// Where Redis is.
pub const REDIS_URL: Setting = Setting {
    name: "REDIS_URL",
    default: None,
    unit: "`redis://…`; in cluster mode several, comma-separated",
    meaning: "The Redis that holds the rooms and the seat locks; in cluster mode any of its nodes.",
};
/// How it is set up.
pub const REDIS_MODE: Setting = Setting {
    name: "REDIS_MODE",
    default: Some("standalone"),
    unit: "`standalone` or `cluster`",
    meaning: "Whether Redis is one server or a cluster.",
};
/// How long it may take.
pub const REDIS_TIMEOUT_MS: Setting = Setting {
    name: "REDIS_TIMEOUT_MS",
    default: Some("1000"),
    unit: "milliseconds",
    meaning: "How long one call to Redis may take; several have to fit into a request.",
};

impl RedisSettings {
    /// Reads them. `None` is a fault already noted.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let urls = reader.list(&REDIS_URL);
        let mode = reader.parse::<Mode>(&REDIS_MODE);
        let timeout_ms = reader.number(&REDIS_TIMEOUT_MS, 10..=3_000_u64);
        (!urls.is_empty()).then_some(Self { urls, mode: mode?, call_timeout: Duration::from_millis(timeout_ms?) })
    }
}
