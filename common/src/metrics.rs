//! Figures for Prometheus: each declared once with its kind, unit and meaning, kept in one recorder for the process, and
//! told on an address of their own, which is not the public one.
//!
//! The same declarations make the tables of docs/MONITORING.md, which a test keeps equal to the code. A process that is
//! given no address keeps no figures: all handles do nothing then. Handles made before [`start`] do nothing either.

mod exporter;

use std::fmt::Write as _;

pub use exporter::{MetricsError, start};

/// The figures of rooms begin so. They lapse when nobody uses the room any more, so that their number has a bound; who
/// writes them must not keep a handle for longer than [`HANDLE_LASTS`].
pub const ROOM_PREFIX: &str = "onsale_room_";

/// How long a figure of a room is told after it was last written.
pub const ROOM_LASTS: std::time::Duration = std::time::Duration::from_mins(10);

/// How long a handle to a figure of a room may be kept: one that has lapsed writes nowhere.
pub const HANDLE_LASTS: std::time::Duration = std::time::Duration::from_mins(1);

/// What kind of figure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only rises, but for restarts.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations below each of these bounds.
    Histogram(&'static [f64]),
}

/// A figure that is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name: the unit last, then `_total` where it is a counter.
    pub name: &'static str,
    /// What kind of figure it is.
    pub kind: Kind,
    /// Its unit, a base unit: `seconds`, `bytes`, `people`.
    pub unit: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, in a sentence.
    pub help: &'static str,
}

/// Bounds for what takes milliseconds, in seconds.
pub const SHORT_SECONDS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
/// Bounds for requests, in seconds.
pub const REQUEST_SECONDS: &[f64] = &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Requests answered.
pub const HTTP_REQUESTS: Metric = Metric {
    name: "onsale_http_requests_total",
    kind: Kind::Counter,
    unit: "requests",
    labels: &["route", "status"],
    help: "Requests answered, by route and class of the status (1xx to 5xx).",
};
/// How long they took.
pub const HTTP_DURATION: Metric = Metric {
    name: "onsale_http_request_duration_seconds",
    kind: Kind::Histogram(REQUEST_SECONDS),
    unit: "seconds",
    labels: &["route"],
    help: "Time until the head of an answer was ready, by route.",
};
/// Failures told.
pub const HTTP_PROBLEMS: Metric = Metric {
    name: "onsale_http_problems_total",
    kind: Kind::Counter,
    unit: "answers",
    labels: &["error"],
    help: "Answers that told a failure, by the error of docs/ERRORS.md.",
};

const fn process(name: &'static str, kind: Kind, unit: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, unit, labels: &[], help }
}

/// What every process of ours keeps. Those of the process itself have the names that all Prometheus clients give them.
pub const METRICS: &[Metric] = &[
    HTTP_REQUESTS,
    HTTP_DURATION,
    HTTP_PROBLEMS,
    process("process_cpu_seconds_total", Kind::Counter, "seconds", "CPU time spent, user and system."),
    process("process_open_fds", Kind::Gauge, "descriptors", "File descriptors open."),
    process("process_max_fds", Kind::Gauge, "descriptors", "File descriptors that may be open."),
    process("process_virtual_memory_bytes", Kind::Gauge, "bytes", "Virtual memory."),
    process("process_virtual_memory_max_bytes", Kind::Gauge, "bytes", "Virtual memory that there may be."),
    process("process_resident_memory_bytes", Kind::Gauge, "bytes", "Memory that is resident."),
    process("process_start_time_seconds", Kind::Gauge, "seconds", "When the process started, in Unix time."),
    process("process_threads", Kind::Gauge, "threads", "Threads of the process."),
];

/// The figures as a Markdown table, the form in which docs/MONITORING.md shows them.
pub fn markdown_table(metrics: &[Metric]) -> String {
    let mut table = String::from("| Metric | Kind | Unit | Labels | Meaning |\n|---|---|---|---|---|\n");
    for Metric { name, kind, unit, labels, help } in metrics {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(table, "| `{name}` | {kind} | {unit} | {} | {help} |", labels.join(", "));
    }
    table
}

/// What is wrong with the names and texts of these figures, a line each; nothing where all is well.
pub fn faults(metrics: &[Metric]) -> Vec<String> {
    let mut faults = Vec::new();
    for Metric { name, kind, unit, help, .. } in metrics {
        let base = name.strip_suffix("_total");
        if base.is_some() != (*kind == Kind::Counter) {
            faults.push(format!("{name}: counters, and only they, end in _total"));
        }
        if matches!(*unit, "seconds" | "bytes") && !base.unwrap_or(name).ends_with(unit) {
            faults.push(format!("{name} does not name its unit"));
        }
        if let Kind::Histogram(bounds) = kind
            && !(bounds.is_sorted() && bounds.len() > 1)
        {
            faults.push(format!("{name}: its bounds do not rise"));
        }
        if !help.ends_with('.') {
            faults.push(format!("{name} is not told in a sentence"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_kind_and_unit() {
        assert_eq!(faults(METRICS), Vec::<String>::new());
        let wrong = process("onsale_wait_ms", Kind::Counter, "seconds", "No sentence");
        assert_eq!(faults(&[wrong]).len(), 3);
    }
}
