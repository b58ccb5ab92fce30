//! What a run has shown, for people (terminal, HTML) and for programs (JSON).

mod chart;
mod html;
mod json;
mod overload;
mod surge;
pub(crate) mod terminal;
mod waits;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};

use crate::catalog::Concert;
use crate::cli::Verdict;
use crate::invariants::Finding;
use crate::room::RoomSample;
use crate::stats::surge::SurgeFigures;
use crate::stats::waits::WaitFigures;
use crate::stats::{Figures, Outcome};

/// The percentiles of every table: heading and quantile.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// What was run against what.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) scenario: &'static str,
    pub(crate) origin: String,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) users: u32,
    pub(crate) arrivals_per_second: f64,
    /// `poisson` or `fixed`.
    pub(crate) arrivals: String,
    pub(crate) seed: u64,
    pub(crate) order_slack_ms: u64,
    /// As it was before the run.
    pub(crate) concert: Concert,
    /// What was arranged for the run, in sentences.
    pub(crate) conditions: Vec<String>,
}

/// What is no failure, though it was no success: a part of the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excused {
    Nothing,
    /// 503, which says that it is too much at the moment.
    Busy,
    /// That, and a connection that is lost: something is killed on purpose.
    Faults,
}

/// A finished run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) facts: Facts,
    /// What ended the run before all visitors were done.
    pub(crate) interrupted: Option<&'static str>,
    pub(crate) figures: Figures,
    pub(crate) findings: Vec<Finding>,
    /// Looks at the room, by time since the start.
    pub(crate) samples: Vec<(Duration, RoomSample)>,
    pub(crate) excused: Excused,
    /// Of a run in which nobody buys: what people were told of their wait.
    pub(crate) waits: Option<WaitFigures>,
    /// Of a surge: what it took.
    pub(crate) surge: Option<SurgeFigures>,
}

impl Report {
    /// Every reason for which the run has failed; none if all was well.
    pub(crate) fn failures(&self) -> Vec<String> {
        let mut failures: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| finding.is_broken())
            .map(|finding| format!("not true: {} ({} times)", finding.title, finding.broken))
            .collect();
        let mut count = |count: u64, what: &str| {
            if count > 0 {
                failures.push(format!("{count} {what}"));
            }
        };
        let figures = &self.figures;
        let unavailable = figures.statuses().get(&503).copied().unwrap_or_default();
        let excused = if self.excused == Excused::Nothing { 0 } else { unavailable };
        count(figures.server_errors() - excused, "answers with a 5xx");
        if self.excused != Excused::Faults {
            count(figures.no_answer().values().sum(), "requests without an answer");
        }
        count(figures.unexpected, "answers that the contract does not allow there");
        count(figures.advice_missing, "429 or 503 without Retry-After");
        count(figures.outcome(Outcome::OutOfTime), "visitors ran out of time (--visitor-seconds)");
        // Who only waits may do so to the end of the run.
        if self.waits.is_none() && self.interrupted.is_some_and(|reason| reason != "Ctrl-C") {
            count(figures.outcome(Outcome::Interrupted), "visitors were not done when the time was over");
        }
        if self.waits.is_some() {
            failures.extend(self.nobody_was_admitted());
        } else if self.interrupted.is_none() && figures.arrived > 0 && figures.sales.is_empty() {
            failures.push("nobody could buy a ticket, although there were seats".to_owned());
        }
        failures
    }

    /// A failure where people waited to the end and not one of them was let in.
    fn nobody_was_admitted(&self) -> Option<String> {
        let figures = &self.figures;
        let gone = [Outcome::ClosedTab, Outcome::LeftLine, Outcome::NoSeatLeft].map(|outcome| figures.outcome(outcome));
        let nobody = self.interrupted != Some("Ctrl-C")
            && figures.admitted == 0
            && figures.arrived > gone.into_iter().sum::<u64>();
        nobody.then(|| "nobody was admitted".to_owned())
    }

    /// When the last seat was sold, if all that were there were.
    fn sold_out_after(&self) -> Option<Duration> {
        self.figures.last_sale.filter(|_| self.figures.seats_sold() >= self.facts.concert.available_seats)
    }
}

/// The rules that visitors themselves can see kept or broken.
pub(crate) fn seen_by_visitors(figures: &Figures, order_slack_ms: u64) -> Vec<Finding> {
    let twice = figures.seats_sold_twice();
    let examples = twice.iter().take(5).map(|seat| format!("seat {seat}")).collect();
    let sold_twice = u64::try_from(twice.len()).unwrap_or(u64::MAX);
    let sold_once = "no seat was sold to two visitors, as they were told";
    vec![Finding::new(1, "visitor_sold_once", sold_once, sold_twice, examples), order(figures, order_slack_ms)]
}

/// Whether anybody was overtaken, as visitors themselves can see it.
pub(crate) fn order(figures: &Figures, order_slack_ms: u64) -> Finding {
    let order = figures.order.judge(Duration::from_millis(order_slack_ms));
    let in_order = format!(
        "nobody who came when told was still told to wait {order_slack_ms} ms after a higher position was in \
         ({} admissions, {} waited; {} noticed theirs later than a higher one, which polling explains)",
        order.admitted, order.judged, order.noticed_later
    );
    let overtaken = u64::try_from(order.overtaken).unwrap_or(u64::MAX);
    Finding::new(3, "visitor_order", &in_order, overtaken, order.examples)
}

/// `target/load/<scenario>-<time>`, below the current folder.
fn default_folder(scenario: &str, now: DateTime<Utc>) -> PathBuf {
    PathBuf::from(format!("target/load/{scenario}-{}", now.format("%Y%m%dT%H%M%SZ")))
}

/// Shows the report, writes it into `folder` or the default one, and says what is to become of the exit code.
pub(crate) fn publish(report: &Report, folder: Option<&Path>) -> Result<Verdict> {
    terminal::print_report(report)?;
    let folder = folder.map_or_else(|| default_folder(report.facts.scenario, Utc::now()), Path::to_owned);
    write(report, &folder)?;
    terminal::print_end(report, &folder)?;
    Ok(if report.failures().is_empty() { Verdict::Passed } else { Verdict::Failed })
}

/// Writes `report.html` and `report.json` into `folder`.
fn write(report: &Report, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let json = serde_json::to_vec_pretty(&json::document(report))?;
    for (name, content) in [("report.json", json), ("report.html", html::page(report).into_bytes())] {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Milliseconds of a value in microseconds, for people: three digits, and seconds from ten on.
fn human_ms(micros: u64) -> String {
    let ms = seconds(Duration::from_micros(micros)) * 1_000.0;
    match ms {
        ..10.0 => format!("{ms:.2} ms"),
        ..100.0 => format!("{ms:.1} ms"),
        ..10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1_000.0),
    }
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

/// `200×480 409×20`.
fn counts<K: std::fmt::Display>(counts: impl IntoIterator<Item = (K, u64)>) -> String {
    let parts: Vec<_> = counts.into_iter().map(|(key, count)| format!("{key}×{count}")).collect();
    parts.join(" ")
}

#[cfg(test)]
pub(crate) mod tests {
    use rust_decimal::Decimal;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::*;
    use crate::client::Answer;
    use crate::stats::waits::{Told, WaitLog};
    use crate::stats::{Recorder, Sale, Step};

    /// A small run with one of everything.
    pub(crate) fn report() -> Report {
        let recorder = Recorder::new(Instant::now(), Duration::from_mins(1));
        let now = recorder.started();
        recorder.arrival(now);
        for status in [200, 200, 409] {
            let body = format!(r#"{{"error":"seat_taken{status}"}}"#).into_bytes();
            recorder.attempt(Step::Reserve, now, &Ok(Answer { status, retry_after: None, request_id: None, body }));
        }
        recorder.finished(Step::Reserve, now);
        recorder.admission(1);
        recorder.sale(Sale { seat_id: Uuid::from_u128(1), reservation_id: Uuid::from_u128(2), amount: Decimal::ONE });
        recorder.ended(Outcome::Bought);
        Report {
            facts: Facts {
                scenario: "journey",
                origin: "http://localhost:8080".to_owned(),
                started_at: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
                users: 1,
                arrivals_per_second: 10.0,
                arrivals: "poisson".to_owned(),
                seed: 7,
                order_slack_ms: 2_000,
                concert: Concert {
                    id: Uuid::from_u128(3),
                    name: "<b>Rock & Roll</b>".to_owned(),
                    total_seats: 5,
                    available_seats: 1,
                    status: "on_sale".to_owned(),
                },
                conditions: Vec::new(),
            },
            interrupted: None,
            figures: recorder.snapshot(),
            findings: vec![Finding::new(1, "seat_sold_once", "no seat is sold twice", 0, Vec::new())],
            samples: Vec::new(),
            excused: Excused::Nothing,
            waits: None,
            surge: None,
        }
    }

    /// The same for a run in which people only wait: one was told 8–12 s and waited 10, one 2–4 s and waited 5.
    pub(crate) fn wait_report() -> Report {
        let log = WaitLog::default();
        let told = |seconds| Told { at_ms: 0, seconds, low_seconds: seconds - 2, high_seconds: seconds + 2 };
        log.admitted(Duration::from_secs(10), &[told(10)]);
        log.admitted(Duration::from_secs(5), &[told(2)]);
        log.compared(103, 100, 100);
        let mut report = Report { waits: Some(log.snapshot()), ..report() };
        report.facts.scenario = "wait";
        report.figures.sales.clear();
        report.figures.outcomes = [(Outcome::Visited, 1)].into();
        report
    }

    #[test]
    fn a_good_run_has_no_failures_and_is_sold_out() {
        let report = report();
        assert_eq!(report.failures(), Vec::<String>::new());
        assert!(report.sold_out_after().is_some());
    }

    #[test]
    fn each_reason_to_fail_is_one() {
        let broken = |change: fn(&mut Report)| {
            let mut report = report();
            change(&mut report);
            report.failures().join("; ")
        };
        assert!(broken(|r| r.findings[0].broken = 2).contains("no seat is sold twice (2 times)"));
        assert!(broken(|r| r.figures.unexpected = 1).contains("contract"));
        assert!(broken(|r| r.figures.advice_missing = 1).contains("Retry-After"));
        assert!(broken(|r| r.figures.sales.clear()).contains("nobody"));
        assert!(broken(|r| r.figures.outcomes = [(Outcome::OutOfTime, 3)].into()).contains("3 visitors"));
    }

    #[test]
    fn a_503_fails_unless_it_is_part_of_the_experiment() {
        let recorder = Recorder::new(Instant::now(), Duration::from_mins(1));
        let answer =
            |status| Answer { status, retry_after: Some(Duration::from_secs(1)), request_id: None, body: Vec::new() };
        recorder.attempt(Step::Pay, recorder.started(), &Ok(answer(503)));
        let mut report = Report { figures: recorder.snapshot(), ..report() };
        assert_eq!(report.failures(), ["1 answers with a 5xx"]);
        report.excused = Excused::Faults;
        assert_eq!(report.failures(), Vec::<String>::new());
        recorder.attempt(Step::Pay, recorder.started(), &Ok(answer(500)));
        report.figures = recorder.snapshot();
        assert_eq!(report.failures(), ["1 answers with a 5xx"]);
    }

    #[test]
    fn who_only_waits_need_not_buy_nor_get_in_but_somebody_must() {
        let mut report = wait_report();
        assert_eq!(report.failures(), Vec::<String>::new());
        report.interrupted = Some("the time limit (--max-seconds)");
        report.figures.outcomes.insert(Outcome::Interrupted, 1);
        assert_eq!(report.failures(), Vec::<String>::new());
        report.figures.admitted = 0;
        assert_eq!(report.failures(), ["nobody was admitted"]);
        report.figures.outcomes = [(Outcome::ClosedTab, 1)].into();
        assert_eq!(report.failures(), Vec::<String>::new(), "nobody waited to the end");
    }

    #[test]
    fn an_unchecked_finding_is_no_failure_and_an_interrupt_by_hand_is_none() {
        let mut report = report();
        report.findings[0] = Finding::new(4, "x", "x", 5, Vec::new()).not_checked("unknown");
        report.figures.outcomes.insert(Outcome::Interrupted, 1);
        report.interrupted = Some("Ctrl-C");
        assert_eq!(report.failures(), Vec::<String>::new());
        report.interrupted = Some("the time limit (--max-duration-seconds)");
        assert_eq!(report.failures().len(), 1);
    }

    #[test]
    fn durations_are_readable() {
        for (micros, text) in [(1_234, "1.23 ms"), (12_345, "12.3 ms"), (123_456, "123 ms"), (12_345_678, "12.3 s")] {
            assert_eq!(human_ms(micros), text);
        }
    }

    #[test]
    fn both_files_are_written() {
        let folder = std::env::temp_dir().join(format!("onsale-report-{}", Uuid::new_v4()));
        write(&report(), &folder).unwrap();
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap();
        assert_eq!(json["passed"], true);
        assert!(std::fs::read_to_string(folder.join("report.html")).unwrap().starts_with("<!doctype html>"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
