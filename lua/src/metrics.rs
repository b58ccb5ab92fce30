//! What Redis comes to, for Prometheus.

use common::metrics::{Kind, Metric, SHORT_SECONDS};
use metrics::counter;

/// How long scripts take.
pub(crate) const SCRIPT_DURATION: Metric = Metric {
    name: "onsale_redis_script_duration_seconds",
    kind: Kind::Histogram(SHORT_SECONDS),
    unit: "seconds",
    labels: &["script"],
    help: "Time from the call of a script to its answer, as the caller waits for it; failed calls included.",
};
/// How often Redis fails.
const ERRORS: Metric = Metric {
    name: "onsale_redis_errors_total",
    kind: Kind::Counter,
    unit: "calls",
    labels: &["kind"],
    help: "Calls to Redis that failed: `timeout` (no answer in time) or `error` (refused, or the connection broke).",
};

/// What everyone keeps who uses Redis.
pub const METRICS: &[Metric] = &[SCRIPT_DURATION, ERRORS];

/// How a call failed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ErrorKind {
    Timeout,
    Error,
}

pub(crate) fn note_error(kind: ErrorKind) {
    add(kind, 1);
}

/// Makes the counts known before the first failure: a rise from nothing at all is none that Prometheus sees.
pub(crate) fn expect_errors() {
    add(ErrorKind::Timeout, 0);
    add(ErrorKind::Error, 0);
}

fn add(kind: ErrorKind, calls: u64) {
    let kind = match kind {
        ErrorKind::Timeout => "timeout",
        ErrorKind::Error => "error",
    };
    counter!(ERRORS.name, "kind" => kind).increment(calls);
}
