//! The figures that a gateway keeps. What every process keeps is in `common::metrics`, what Redis comes to in `lua`.

use common::metrics::{Kind, Metric, SHORT_SECONDS};

/// All that a gateway tells.
pub const ALL: &[&[Metric]] = &[common::metrics::METRICS, lua::METRICS, METRICS];

/// Bounds for people taken to Redis at once.
const BATCH_PEOPLE: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];
/// Bounds for how long turns are left unclaimed, in seconds.
const CLAIM_SECONDS: &[f64] = &[0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0];
/// Bounds for how far from the truth a wait was that somebody was told, in seconds.
const ERROR_SECONDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0];

/// What is told of the room as a whole, by each gateway that it is used through.
const fn room_gauge(name: &'static str, unit: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, unit, labels: &["concert"], help }
}

/// What is counted by one gateway, or by each for itself.
const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Counter, unit, labels, help }
}

const fn histogram(
    name: &'static str,
    bounds: &'static [f64],
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind: Kind::Histogram(bounds), unit, labels, help }
}

pub(crate) const WAITING: Metric = room_gauge(
    "onsale_room_waiting",
    "people",
    "People in line. Every gateway reports the same room: take the maximum.",
);
pub(crate) const PRESENT: Metric = room_gauge(
    "onsale_room_present",
    "people",
    "People near the front who were heard of. Every gateway reports the same room: take the maximum.",
);
pub(crate) const AWAY: Metric = room_gauge(
    "onsale_room_away",
    "people",
    "People whose turn came while they were absent. Every gateway reports the same room: take the maximum.",
);
pub(crate) const OFFERED: Metric = room_gauge(
    "onsale_room_offered",
    "people",
    "Turns that may be claimed now. Every gateway reports the same room: take the maximum.",
);
pub(crate) const ACTIVE: Metric =
    room_gauge("onsale_room_active", "people", "People inside. Every gateway reports the same room: take the maximum.");
pub(crate) const CAPACITY: Metric = room_gauge(
    "onsale_room_capacity",
    "people",
    "How many may be inside at once, offers included. Every gateway reports the same room: take the maximum.",
);
pub(crate) const GATHERED: Metric = room_gauge(
    "onsale_room_gathered",
    "people",
    "People in the draw who have no position yet. Every gateway reports the same room: take the maximum.",
);
pub(crate) const FRONTIER: Metric = room_gauge(
    "onsale_room_frontier",
    "position",
    "The highest position that had its turn. Every gateway reports the same room: take the maximum.",
);
pub(crate) const ADMITTING: Metric = room_gauge(
    "onsale_room_admitting",
    "0 or 1",
    "1 where turns are to be given: the sale is open, the room neither paused nor closed nor being rebuilt nor drawing. \
     Every gateway reports the same room: take the maximum.",
);
pub(crate) const REBUILDING: Metric = room_gauge(
    "onsale_room_rebuilding",
    "0 or 1",
    "1 while what the room has forgotten is put back. Every gateway reports the same room: take the maximum.",
);
pub(crate) const UNRECORDED: Metric = room_gauge(
    "onsale_room_unrecorded_batches",
    "batches",
    "Batches of events that are not in PostgreSQL yet. Every gateway reports the same room: take the maximum.",
);
pub(crate) const TURNS_GIVEN: Metric = counter(
    "onsale_room_turns_given_total",
    "turns",
    &["concert"],
    "Turns given. Every gateway reports the same room: take the maximum, of rates too.",
);
pub(crate) const PASSED_OVER: Metric = counter(
    "onsale_room_passed_over_total",
    "turns",
    &["concert"],
    "Turns passed over because somebody was absent. Every gateway reports the same room: take the maximum, of rates too.",
);
pub(crate) const CLAIMS: Metric = counter(
    "onsale_room_claims_total",
    "admissions",
    &["concert"],
    "Admissions taken up. Counted by the gateway that records the room, so by none where nothing is recorded: add up.",
);
pub(crate) const NO_SHOWS: Metric = counter(
    "onsale_room_no_shows_total",
    "turns",
    &["concert", "reason"],
    "Turns that came to nothing: `absent` (nobody was there to be offered it) or `unclaimed` (offered in vain). Counted \
     by the gateway that records the room: add up.",
);
pub(crate) const REBUILDS: Metric = counter(
    "onsale_room_rebuilds_total",
    "rebuilds",
    &["concert"],
    "Times that the room was put together again from the record. Counted by the gateway that did it: add up.",
);
pub(crate) const CLAIM_LAG: Metric = histogram(
    "onsale_room_claim_lag_seconds",
    CLAIM_SECONDS,
    "seconds",
    &["concert"],
    "Time from the offer of a turn to the admission. Measured by the gateway that records the room, of people whose whole \
     way it saw: add up.",
);
pub(crate) const ETA_ERROR: Metric = histogram(
    "onsale_room_eta_error_seconds",
    ERROR_SECONDS,
    "seconds",
    &["concert", "came"],
    "How far the wait told at joining was from the wait until admission, for those whose turn `came` `sooner` or `later` \
     than told. Measured by the gateway that records the room, of people whose whole way it saw: add up.",
);
pub(crate) const JOINS: Metric =
    counter("onsale_gateway_joins_total", "requests", &[], "Joins that got a place, an old one included.");
pub(crate) const POLLS: Metric = counter(
    "onsale_gateway_polls_total",
    "looks",
    &["answered"],
    "Looks at where somebody stands, polls' and event streams', answered from `memory` or by `redis`.",
);
pub(crate) const BATCH: Metric = histogram(
    "onsale_gateway_batch_people",
    BATCH_PEOPLE,
    "people",
    &["kind"],
    "People taken to Redis in one call: `join` or `poll`.",
);
pub(crate) const STREAMS: Metric = Metric {
    name: "onsale_gateway_event_streams",
    kind: Kind::Gauge,
    unit: "streams",
    labels: &[],
    help: "Event streams open.",
};
pub(crate) const PROXIED: Metric = counter(
    "onsale_gateway_proxied_requests_total",
    "requests",
    &["status"],
    "Requests passed on to core-api, by the class of its answer's status; `none` where it gave none.",
);
pub(crate) const PROXY_DURATION: Metric = histogram(
    "onsale_gateway_proxy_duration_seconds",
    SHORT_SECONDS,
    "seconds",
    &[],
    "Time until core-api's head of an answer to a request that was passed on.",
);

/// What only gateways keep.
pub const METRICS: &[Metric] = &[
    WAITING,
    PRESENT,
    AWAY,
    OFFERED,
    ACTIVE,
    CAPACITY,
    GATHERED,
    FRONTIER,
    ADMITTING,
    REBUILDING,
    UNRECORDED,
    TURNS_GIVEN,
    PASSED_OVER,
    CLAIMS,
    NO_SHOWS,
    REBUILDS,
    CLAIM_LAG,
    ETA_ERROR,
    JOINS,
    POLLS,
    BATCH,
    STREAMS,
    PROXIED,
    PROXY_DURATION,
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use common::metrics::{ROOM_PREFIX, faults};

    use super::*;

    #[test]
    fn names_say_kind_and_unit_and_none_comes_twice() {
        for metrics in ALL {
            assert_eq!(faults(metrics), Vec::<String>::new());
        }
        let names: Vec<&str> = ALL.iter().copied().flatten().map(|metric| metric.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn what_has_a_concert_lapses_and_nothing_else_does() {
        for metric in ALL.iter().copied().flatten() {
            assert_eq!(metric.labels.contains(&"concert"), metric.name.starts_with(ROOM_PREFIX), "{}", metric.name);
        }
    }
}
