//! What people were told of their wait and their place, against what was so.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};

use super::chart::{Series, lines};
use crate::stats::waits::{IN_RANGE_TARGET, Moment, Promises, WaitFigures};

/// `82.3 %`.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

/// Heading and figures, for tables: what was told when, and how it was kept.
pub(super) fn rows(waits: &WaitFigures) -> Vec<[String; 2]> {
    let promises = |promises: &Promises| {
        format!(
            "{} of {} ({} sooner, {} later); mean error of waitSeconds {}; nine in ten waited {} of it",
            percent(promises.within_share()),
            promises.count,
            promises.sooner,
            promises.later,
            percent(promises.mean_error()),
            promises.spread().map_or_else(|| "–".to_owned(), |(low, high)| format!("{low:.2} to {high:.2}"))
        )
    };
    let ahead = &waits.ahead;
    let worst = ahead.worst.map_or_else(String::new, |(told, rank)| format!(" (told {told}, exact {rank})"));
    let near = format!(
        "{} of {}, largest error {}{worst}; {} told too many, {} too few; {} out of line by then, {} not asked",
        percent(ahead.near_share()),
        ahead.compared,
        ahead.max_error(),
        ahead.too_many,
        ahead.too_few,
        ahead.gone,
        ahead.unasked
    );
    let target = percent(Some(IN_RANGE_TARGET));
    [
        (format!("wait within the range told at joining (target {target})"), promises(&waits.at_joining)),
        ("wait within the range told at polls".to_owned(), promises(&waits.at_polls)),
        ("ahead within 2 % or 5 people of the rank".to_owned(), near),
        ("admitted without a wait".to_owned(), waits.admitted_at_once.to_string()),
    ]
    .map(|(heading, figures)| [heading, figures])
    .into()
}

pub(super) fn write_lines(out: &mut impl Write, waits: &WaitFigures) -> Result<()> {
    for [heading, figures] in rows(waits) {
        writeln!(out, "{heading}\n{:4}{figures}", "")?;
    }
    Ok(())
}

/// Told and actual waits over the run.
pub(super) fn chart(waits: &WaitFigures) -> String {
    let moments = waits.moments();
    let series = |value: fn(&Moment) -> f64| moments.iter().map(|moment| (moment.at, value(moment))).collect();
    lines(
        "Waits of those admitted then: what they were told at joining, and what it was",
        "s",
        &[
            Series { name: "told: at least", points: series(|moment| moment.low) },
            Series { name: "waited", points: series(|moment| moment.wait) },
            Series { name: "told: about", points: series(|moment| moment.told) },
            Series { name: "told: at most", points: series(|moment| moment.high) },
        ],
    )
}

pub(super) fn document(waits: &WaitFigures) -> Value {
    let promises = |promises: &Promises| {
        json!({
            "count": promises.count,
            "within": promises.within,
            "sooner": promises.sooner,
            "later": promises.later,
            "withinShare": promises.within_share(),
            "meanRelativeError": promises.mean_error(),
            "waitedShareOfWaitSeconds": promises.spread().map(|(p5, p95)| json!({ "p5": p5, "p95": p95 })),
        })
    };
    let ahead = &waits.ahead;
    let moment = |moment: &Moment| {
        json!({
            "atSeconds": moment.at, "toldLow": moment.low, "told": moment.told, "toldHigh": moment.high,
            "waited": moment.wait,
        })
    };
    json!({
        "toldAtJoining": promises(&waits.at_joining),
        "targetWithinShare": IN_RANGE_TARGET,
        "toldAtPolls": promises(&waits.at_polls),
        "admittedAtOnce": waits.admitted_at_once,
        "ahead": {
            "compared": ahead.compared,
            "near": ahead.near,
            "nearShare": ahead.near_share(),
            "tooMany": ahead.too_many,
            "tooFew": ahead.too_few,
            "maxError": ahead.max_error(),
            "worst": ahead.worst.map(|(told, exact)| json!({ "told": told, "exact": exact })),
            "outOfLine": ahead.gone,
            "notAsked": ahead.unasked,
        },
        "overTime": waits.moments().iter().map(moment).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::wait_report;
    use super::*;

    #[test]
    fn figures_stand_beside_their_target() {
        let waits = wait_report().waits.unwrap();
        let mut out = Vec::new();
        write_lines(&mut out, &waits).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("(target 80.0 %)\n    50.0 % of 2 (0 sooner, 1 later)"), "{text}");
        assert!(text.contains("100.0 % of 1, largest error 3 (told 103, exact 100)"), "{text}");
    }

    #[test]
    fn the_document_has_shares_or_null() {
        let some = document(&wait_report().waits.unwrap());
        assert_eq!(some["toldAtJoining"]["withinShare"], 0.5);
        assert_eq!(some["overTime"].as_array().map(Vec::len), Some(2));
        assert_eq!(some["ahead"]["worst"]["exact"], 100);
        let none = document(&WaitFigures::default());
        assert!(none["toldAtJoining"]["withinShare"].is_null() && none["ahead"]["nearShare"].is_null());
    }
}
