//! What administrators did, as it is kept and told: the same wherever it was.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use crate::clock::serialize_rfc3339;
use crate::ids::UserId;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Its number; later ones are higher. Pages are told apart by it.
    #[serde(skip)]
    pub id: i64,
    /// When.
    #[serde(rename = "changedAt", serialize_with = "serialize_rfc3339")]
    pub at: DateTime<Utc>,
    /// By which administrator; `None` is the service itself.
    #[serde(rename = "changedBy")]
    pub by: Option<UserId>,
    /// What was done.
    pub action: String,
    /// What was so before.
    pub before: Option<Value>,
    /// What is so since.
    pub after: Option<Value>,
}
