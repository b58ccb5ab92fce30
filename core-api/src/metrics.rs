//! The figures that a core-api keeps. What every process keeps is in `common::metrics`, what Redis comes to in `lua`.

use common::metrics::{Kind, Metric};

/// Bounds for how long a seat stays unsellable after its hold has ended, in seconds.
const RESALE_SECONDS: &[f64] = &[0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0];

/// How late holds end.
pub(crate) const TIME_TO_RESALE: Metric = Metric {
    name: "onsale_core_api_time_to_resale_seconds",
    kind: Kind::Histogram(RESALE_SECONDS),
    unit: "seconds",
    labels: &[],
    help: "Time from a hold's deadline until its seat could be sold again: free in PostgreSQL and its lock released.",
};
/// Locks that a crash has left behind.
pub(crate) const LOCKS_LEFT_BEHIND: Metric = Metric {
    name: "onsale_core_api_locks_left_behind_total",
    kind: Kind::Counter,
    unit: "locks",
    labels: &[],
    help: "Locks that had outlived their reservations, as a crash leaves them, and whose seats were taken back.",
};
/// Streams of seats.
pub(crate) const SEAT_STREAMS: Metric = Metric {
    name: "onsale_core_api_seat_streams",
    kind: Kind::Gauge,
    unit: "streams",
    labels: &[],
    help: "Streams of changes of seats that are open.",
};

/// What is still to be delivered.
pub(crate) const WEBHOOK_BACKLOG: Metric = Metric {
    name: "onsale_core_api_webhook_backlog",
    kind: Kind::Gauge,
    unit: "deliveries",
    labels: &[],
    help: "Events still to be delivered to webhooks, up to 100,000. Every core-api tells the same: take the maximum.",
};
/// How late it is.
pub(crate) const WEBHOOK_OLDEST: Metric = Metric {
    name: "onsale_core_api_webhook_oldest_seconds",
    kind: Kind::Gauge,
    unit: "seconds",
    labels: &[],
    help: "How long the oldest of them has been waiting. Every core-api tells the same: take the maximum.",
};
/// What came of attempts.
pub(crate) const WEBHOOK_DELIVERIES: Metric = Metric {
    name: "onsale_core_api_webhook_deliveries_total",
    kind: Kind::Counter,
    unit: "attempts",
    labels: &["outcome"],
    help: "Attempts to deliver an event, by what came of them, as docs/WEBHOOKS.md names it.",
};
/// What was given up.
pub(crate) const WEBHOOK_DEAD_LETTERS: Metric = Metric {
    name: "onsale_core_api_webhook_dead_letters_total",
    kind: Kind::Counter,
    unit: "deliveries",
    labels: &[],
    help: "Deliveries that were given up.",
};

/// Bounds for how long a payment was not what it should be, in seconds.
const REPAIR_SECONDS: &[f64] = &[0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 3_600.0];

/// Payments that were put right.
pub(crate) const PAYMENT_REPAIR: Metric = Metric {
    name: "onsale_core_api_payment_repair_seconds",
    kind: Kind::Histogram(REPAIR_SECONDS),
    unit: "seconds",
    labels: &["outcome"],
    help: "How long payments had been as they were when the reconciler moved them on, by what became of them: \
           `authorised`, `captured`, `declined`, `void_due`, `voided`, `refunded`.",
};
/// What the provider is still to settle.
pub(crate) const OLDEST_UNSETTLED: Metric = Metric {
    name: "onsale_core_api_oldest_unsettled_payment_seconds",
    kind: Kind::Gauge,
    unit: "seconds",
    labels: &[],
    help: "How long the oldest payment or refund has been as it is that the provider is still to settle; 0 where there is none.",
};
/// Calls to the provider that came to nothing.
pub(crate) const PROVIDER_ERRORS: Metric = Metric {
    name: "onsale_core_api_payment_provider_errors_total",
    kind: Kind::Counter,
    unit: "calls",
    labels: &[],
    help: "Payments and refunds whose calls to the provider failed; each is tried again.",
};

/// What only a core-api keeps.
pub const METRICS: &[Metric] = &[
    TIME_TO_RESALE,
    LOCKS_LEFT_BEHIND,
    SEAT_STREAMS,
    WEBHOOK_BACKLOG,
    WEBHOOK_OLDEST,
    WEBHOOK_DELIVERIES,
    WEBHOOK_DEAD_LETTERS,
    PAYMENT_REPAIR,
    OLDEST_UNSETTLED,
    PROVIDER_ERRORS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_kind_and_unit() {
        assert_eq!(common::metrics::faults(METRICS), Vec::<String>::new());
    }
}
