//! The report for programs.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{QUANTILES, Report, seconds, surge, waits};
use crate::stats::Step;

/// The whole report. Latencies are in microseconds, times in seconds from the start of the run.
pub(super) fn document(report: &Report) -> Value {
    let figures = &report.figures;
    let facts = &report.facts;
    let outcomes: serde_json::Map<_, _> =
        figures.outcomes.iter().map(|(outcome, count)| (outcome.name().to_owned(), json!(count))).collect();
    json!({
        "scenario": facts.scenario,
        "origin": facts.origin,
        "startedAt": facts.started_at,
        "users": facts.users,
        "arrivalsPerSecond": facts.arrivals_per_second,
        "arrivals": facts.arrivals,
        "seed": facts.seed,
        "orderSlackMs": facts.order_slack_ms,
        "concert": {
            "id": facts.concert.id,
            "name": facts.concert.name,
            "totalSeats": facts.concert.total_seats,
            "availableSeatsBefore": facts.concert.available_seats,
        },
        "conditions": facts.conditions,
        "passed": report.failures().is_empty(),
        "failures": report.failures(),
        "interruptedBy": report.interrupted,
        "outcomes": outcomes,
        "arrived": figures.arrived,
        "admitted": figures.admitted,
        "seatsSold": figures.sales.len(),
        "amountSold": figures.sales.iter().map(|sale| sale.amount).sum::<rust_decimal::Decimal>().to_string(),
        "soldOutAfterSeconds": report.sold_out_after().map(seconds),
        "answersByStatus": figures.statuses(),
        "noAnswer": figures.no_answer(),
        "retries": figures.retries(),
        "generatorLatenessMaxSeconds": seconds(figures.lateness_max),
        "unexpected": { "count": figures.unexpected, "samples": figures.unexpected_samples },
        "steps": Step::ALL.iter().map(|step| step_document(report, *step)).collect::<Vec<_>>(),
        "findings": report.findings,
        "waits": report.waits.as_ref().map(waits::document),
        "surge": report.surge.as_ref().map(surge::document),
        "timeline": timeline(report),
        "room": report.samples.iter().map(|(at, sample)| json!({
            "atSeconds": seconds(*at), "waiting": sample.waiting, "offers": sample.offers,
            "leases": sample.leases, "admitted": sample.admitted, "frontier": sample.frontier,
        })).collect::<Vec<_>>(),
    })
}

fn step_document(report: &Report, step: Step) -> Value {
    let stats = report.figures.step(step);
    json!({
        "step": step.name().trim_start_matches("= "),
        "span": step.is_span(),
        "latencyMicros": histogram(&stats.latency),
        "serviceMicros": histogram(&stats.service),
        "statuses": stats.statuses,
        "errors": stats.errors,
        "noAnswer": stats.no_answer,
        "retries": stats.retries,
    })
}

fn histogram(values: &Histogram<u64>) -> Value {
    let mut fields: serde_json::Map<_, _> = QUANTILES
        .iter()
        .map(|(name, quantile)| ((*name).to_owned(), json!(values.value_at_quantile(*quantile))))
        .collect();
    fields.insert("count".to_owned(), json!(values.len()));
    fields.insert("max".to_owned(), json!(values.max()));
    fields.insert("mean".to_owned(), json!(values.mean().round()));
    Value::Object(fields)
}

fn timeline(report: &Report) -> Vec<Value> {
    let timeline = &report.figures.timeline;
    let mut at = Duration::ZERO;
    timeline
        .buckets()
        .iter()
        .map(|bucket| {
            let document = json!({
                "atSeconds": seconds(at),
                "arrivals": bucket.arrivals,
                "joins": bucket.joins,
                "polls": bucket.polls,
                "admissions": bucket.admissions,
                "holds": bucket.holds,
                "sales": bucket.sales,
                "failures": bucket.failures,
                "tooMany": bucket.too_many,
                "unavailable": bucket.unavailable,
                "p50Micros": bucket.latency.value_at_quantile(0.5),
                "p99Micros": bucket.latency.value_at_quantile(0.99),
            });
            at += timeline.width();
            document
        })
        .collect()
}
