//! The report as one page that needs nothing else: no script, no network; light and dark.

use super::chart::{Series, escape, lines};
use super::{QUANTILES, Report, counts, human_ms, overload, seconds, surge, waits};
use crate::stats::overload::OverloadFigures;
use crate::stats::{Bucket, Step};

const STYLE: &str = include_str!("report.css");

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let facts = &report.facts;
    let failures = report.failures();
    let (class, verdict) = if failures.is_empty() { ("good", "Passed") } else { ("bad", "Failed") };
    let reasons = concat(failures.iter().map(|failure| format!("<li>{}</li>", escape(failure))));
    format!(
        r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><title>Onsale load: {scenario}, {verdict}</title>
<style>{STYLE}</style></head><body><main>
<h1>{scenario} <span class="{class}">{verdict}</span></h1>
<ul class="bad">{reasons}</ul>
<p>{users} visitors, {rate} a second ({arrivals}, seed {seed}), to {origin}, {started}.<br>
Concert: {concert} ({concert_id}), {available} of {total} seats available before.{conditions}{interrupted}</p>
{tiles}
{waits}
<h2>Over time</h2>
{charts}
<h2>Latency</h2>
<p>From the moment a step was meant to start to its final answer, waits between retries included.</p>
{latency}
{taken}
<h2>Checks</h2>
{checks}
{unexpected}
</main></body></html>
"#,
        scenario = escape(facts.scenario),
        users = facts.users,
        rate = facts.arrivals_per_second,
        arrivals = escape(&facts.arrivals),
        seed = facts.seed,
        origin = escape(&facts.origin),
        started = facts.started_at.format("%Y-%m-%d %H:%M:%S UTC"),
        concert = escape(&facts.concert.name),
        concert_id = facts.concert.id,
        available = facts.concert.available_seats,
        total = facts.concert.total_seats,
        conditions = concat(facts.conditions.iter().map(|condition| format!("<br>{}", escape(condition)))),
        interrupted = report.interrupted.map(|by| format!("<br>Ended early by {}.", escape(by))).unwrap_or_default(),
        tiles = tiles(report),
        waits = told_and_waited(report),
        charts = charts(report),
        latency = latency(report),
        taken = taken(report),
        checks = checks(report),
        unexpected = unexpected(report),
    )
}

fn tiles(report: &Report) -> String {
    let figures = &report.figures;
    let mut tiles: Vec<(String, String)> =
        figures.outcomes.iter().map(|(outcome, count)| (outcome.name().to_owned(), count.to_string())).collect();
    if report.waits.is_none() {
        tiles.push(("seats sold".to_owned(), figures.sales.len().to_string()));
        let sold_out =
            report.sold_out_after().map_or_else(|| "no".to_owned(), |after| format!("{:.1} s", seconds(after)));
        tiles.push(("sold out after".to_owned(), sold_out));
    }
    tiles.push(("5xx".to_owned(), figures.server_errors().to_string()));
    tiles.push(("retries".to_owned(), figures.retries().to_string()));
    let cells = concat(
        tiles.iter().map(|(name, value)| format!("<div><b>{}</b><span>{}</span></div>", escape(value), escape(name))),
    );
    format!(r#"<div class="tiles">{cells}</div>"#)
}

fn told_and_waited(report: &Report) -> String {
    let Some(told) = &report.waits else { return String::new() };
    let table = table(&["told", "and so it was"].map(ToOwned::to_owned), waits::rows(told).into_iter().map(Vec::from));
    format!("<h2>Told and waited</h2>{table}")
}

fn charts(report: &Report) -> String {
    let timeline = &report.figures.timeline;
    let width = seconds(timeline.width());
    let series = |value: &dyn Fn(&Bucket) -> f64| {
        let mut at = -width;
        timeline
            .buckets()
            .iter()
            .map(|bucket| {
                at += width;
                (at, value(bucket))
            })
            .collect::<Vec<_>>()
    };
    let rate = |count: u64| float(count) / width;
    let latency = |quantile: f64| series(&|bucket| float(bucket.latency.value_at_quantile(quantile)) / 1_000.0);
    let room = |value: &dyn Fn(&crate::room::RoomSample) -> u64| {
        report.samples.iter().map(|(at, sample)| (seconds(*at), float(value(sample)))).collect::<Vec<_>>()
    };
    let second = |name, value: fn(&Bucket) -> u64| Series { name, points: series(&|bucket| rate(value(bucket))) };
    let admissions = || second("admissions seen", |bucket| bucket.admissions);
    let failures = || second("5xx or no answer", |bucket| bucket.failures);
    let (joins, polls) = (second("joins sent", |bucket| bucket.joins), second("polls sent", |bucket| bucket.polls));
    let what_happened = match (&report.surge, &report.waits) {
        (Some(_), _) => {
            let too_many = second("429", |bucket| bucket.too_many);
            let unavailable = second("503", |bucket| bucket.unavailable);
            let other = second("other 5xx, or no answer", |bucket| bucket.failures - bucket.unavailable);
            let held = second("seats held", |bucket| bucket.holds);
            let paid = second("payments", |bucket| bucket.sales);
            let arrivals = second("arrivals", |bucket| bucket.arrivals);
            [
                lines("Per second: who came, and what was sent", "", &[arrivals, joins, polls]),
                lines("Per second: the sale", "", &[admissions(), held, paid]),
                lines("Per second: what was not served", "", &[too_many, unavailable, other]),
            ]
            .concat()
        }
        (None, None) => {
            let (arrivals, sales) =
                (second("arrivals", |bucket| bucket.arrivals), second("sales", |bucket| bucket.sales));
            lines("Per second", "", &[arrivals, admissions(), sales, failures()])
        }
        (None, Some(told)) => {
            let sent = lines("Per second: sent", "", &[joins, polls]);
            [sent, lines("Per second: answered", "", &[admissions(), failures()]), waits::chart(told)].concat()
        }
    };
    [
        what_happened,
        lines(
            "Latency of all steps that were meant to start then",
            "ms",
            &[
                Series { name: "p50", points: latency(0.5) },
                Series { name: "p90", points: latency(0.9) },
                Series { name: "p99", points: latency(0.99) },
            ],
        ),
        lines(
            "The waiting room, in Redis",
            "",
            &[
                Series { name: "waiting", points: room(&|sample| sample.waiting) },
                Series { name: "offers and leases", points: room(&crate::room::RoomSample::active) },
            ],
        ),
    ]
    .concat()
}

fn taken(report: &Report) -> String {
    let Some(taken) = &report.surge else { return String::new() };
    let remarks = concat(surge::remarks(taken).iter().map(|remark| format!("<p>{}</p>", escape(remark))));
    let table = table(&surge::head(), surge::rows(&taken.usage).into_iter().map(Vec::from));
    let overload = taken.overload.as_ref().map(overload_section).unwrap_or_default();
    format!("<h2>What it took</h2>{remarks}{table}{}{overload}", surge::charts(&taken.usage))
}

fn overload_section(figures: &OverloadFigures) -> String {
    let sentences = concat(overload::sentences(figures).iter().map(|text| format!("<p>{}</p>", escape(text))));
    let stages = table(&overload::head(), overload::rows(figures).into_iter().map(Vec::from));
    let usage = table(&surge::head(), surge::rows(&figures.usage).into_iter().map(Vec::from));
    format!("<h2>Overload</h2>{sentences}{stages}{usage}")
}

fn latency(report: &Report) -> String {
    let mut head = vec!["step".to_owned(), "count".to_owned()];
    head.extend(QUANTILES.iter().map(|(name, _)| (*name).to_owned()));
    head.extend(["max", "retries", "answers", "error codes"].map(ToOwned::to_owned));
    let rows = Step::ALL.iter().filter_map(|step| {
        let stats = report.figures.step(*step);
        if stats.latency.is_empty() && stats.statuses.is_empty() && stats.no_answer.is_empty() {
            return None;
        }
        let mut row = vec![step.name().to_owned(), stats.latency.len().to_string()];
        row.extend(QUANTILES.iter().map(|(_, quantile)| human_ms(stats.latency.value_at_quantile(*quantile))));
        row.push(human_ms(stats.latency.max()));
        row.push(stats.retries.to_string());
        let none = counts(stats.no_answer.iter().map(|(why, count)| (*why, *count)));
        let answers = counts(stats.statuses.iter().map(|(status, count)| (*status, *count)));
        row.push(format!("{answers} {none}").trim().to_owned());
        row.push(counts(stats.errors.iter().map(|(code, count)| (code.as_str(), *count))));
        Some(row)
    });
    table(&head, rows)
}

fn checks(report: &Report) -> String {
    let head = ["", "check", "what holds", "found"].map(ToOwned::to_owned);
    let rows = report.findings.iter().map(|finding| {
        let (mark, found) = match &finding.not_checked {
            Some(reason) => ("not checked", reason.clone()),
            None if finding.is_broken() => ("BROKEN", format!("{}: {}", finding.broken, finding.examples.join("; "))),
            None => ("holds", String::new()),
        };
        vec![mark.to_owned(), finding.name.to_owned(), finding.title.clone(), found]
    });
    table(&head, rows)
}

fn unexpected(report: &Report) -> String {
    let samples = &report.figures.unexpected_samples;
    if samples.is_empty() {
        return String::new();
    }
    let items = concat(samples.iter().map(|sample| format!("<li><code>{}</code></li>", escape(sample))));
    format!("<h2>Unexpected answers: {}, the first of them</h2><ul>{items}</ul>", report.figures.unexpected)
}

fn table(head: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let cells = |tag: &str, row: &[String]| concat(row.iter().map(|text| format!("<{tag}>{}</{tag}>", escape(text))));
    let body = concat(rows.map(|row| format!("<tr>{}</tr>", cells("td", &row))));
    format!(
        r#"<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>{body}</tbody></table></div>"#,
        cells("th", head)
    )
}

fn concat(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().concat()
}

#[expect(clippy::cast_precision_loss, reason = "a graph has a thousand pixels, not 2^52")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report, wait_report};
    use super::*;

    #[test]
    fn who_only_waits_has_charts_of_their_own() {
        let page = page(&wait_report());
        for shown in ["Per second: sent", "polls sent", "told: at most", "range told at joining"] {
            assert!(page.contains(shown), "{shown}");
        }
        assert!(!page.contains("seats sold"));
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing_from_elsewhere() {
        let page = page(&report());
        assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
        for outside in ["<script", "http-equiv", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<svg").count(), 2, "the room was not looked at");
        assert!(page.contains("prefers-color-scheme: dark"));
    }

    #[test]
    fn what_others_wrote_is_text() {
        let mut report = report();
        report.figures.unexpected_samples.push("<img onerror=x>".to_owned());
        let page = page(&report);
        assert!(page.contains("&lt;b&gt;Rock &amp; Roll&lt;/b&gt;"));
        assert!(page.contains("&lt;img onerror=x&gt;") && !page.contains("<img"));
    }

    #[test]
    fn a_failure_is_said_first() {
        let mut report = report();
        report.findings[0].broken = 1;
        let page = page(&report);
        assert!(page.contains(r#"<span class="bad">Failed</span>"#));
        assert!(page.contains("<td>BROKEN</td>"));
    }
}
