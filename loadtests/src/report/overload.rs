//! What became of many times the load that can be served.

use std::io::Write;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{human_ms, seconds, surge};
use crate::stats::micros;
use crate::stats::overload::{GOODPUT_TARGET, OverloadFigures, SERVED_WITHIN, Stage};

pub(super) fn head() -> [String; 7] {
    ["offered", "sent", "served in time", "p99 of served", "refused", "p99 of refused", "never sent"]
        .map(ToOwned::to_owned)
}

/// The stages: figures are of a second.
pub(super) fn rows(figures: &OverloadFigures) -> Vec<[String; 7]> {
    figures.ramp.iter().chain(&figures.overload).map(row).collect()
}

fn row(stage: &Stage) -> [String; 7] {
    let rate = |count: u64| format!("{:.0}/s", float(count) / seconds(stage.length));
    let p99 = |of: &Histogram<u64>| {
        if of.is_empty() { "–".to_owned() } else { human_ms(of.value_at_quantile(0.99)) }
    };
    [
        format!("{}/s", stage.offered_per_second),
        format!("{:.0}/s", stage.sent()),
        format!("{:.0}/s", stage.goodput()),
        p99(&stage.served),
        rate(stage.refused.len()),
        p99(&stage.refused),
        rate(stage.not_sent),
    ]
}

/// The result, against its targets, and what limits it.
pub(super) fn sentences(figures: &OverloadFigures) -> Vec<String> {
    let Some(stage) = &figures.overload else {
        return vec!["It was ended by Ctrl-C before the overload.".to_owned()];
    };
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let kept = figures.goodput_share().map_or_else(|| "–".to_owned(), percent);
    let mut sentences = vec![format!(
        "At {} times of what can be served, goodput was {kept} of its peak of {:.0}/s (target {}); p99 of what was served \
         was {} (target {}).",
        figures.factor,
        figures.peak(),
        percent(GOODPUT_TARGET),
        human_ms(micros(stage.served_p99())),
        human_ms(micros(SERVED_WITHIN))
    )];
    if let Some(limited) = figures.limited() {
        sentences.push(format!(
            "At {}/s all that was not served was refused with 429: the peak is that of a limit for each address or person (each \
             of the {} in line asked {:.0} times a minute then), and not the machine's.",
            limited.offered_per_second,
            figures.people,
            figures.per_person_and_minute(limited)
        ));
    }
    let joined = figures.joining.as_ref().map_or(0, |joining| joining.served.len());
    if joined < u64::from(figures.people) {
        sentences.push(format!(
            "Only {joined} of {} got into the line at once; the others joined when they asked.",
            figures.people
        ));
    }
    let sent = stage.sent() / f64::from(stage.offered_per_second.max(1));
    if sent < 0.95 {
        sentences.push(format!(
            "Of the load offered only {} was sent: for the rest none of the {} connections was free for {} ms. So this \
             shows how the system does with all of them busy, and not how it does with the whole load.",
            percent(sent),
            figures.connections,
            figures.patience.as_millis()
        ));
    }
    sentences.extend(surge::shared_machine(&figures.usage));
    sentences
}

pub(super) fn write_lines(out: &mut impl Write, figures: &OverloadFigures) -> Result<()> {
    for row in [head()].into_iter().chain(rows(figures)) {
        let cells: Vec<String> = row.iter().map(|cell| format!("{cell:>16}")).collect();
        writeln!(out, "{}", cells.concat())?;
    }
    for sentence in sentences(figures) {
        writeln!(out, "{sentence}")?;
    }
    surge::write_usage(out, &figures.usage)
}

pub(super) fn document(figures: &OverloadFigures) -> Value {
    json!({
        "connections": figures.connections,
        "patienceSeconds": seconds(figures.patience),
        "factor": figures.factor,
        "servedWithinSeconds": seconds(SERVED_WITHIN),
        "peakPerSecond": figures.peak(),
        "goodputShare": figures.goodput_share(),
        "targetGoodputShare": GOODPUT_TARGET,
        "people": figures.people,
        "joining": figures.joining.as_ref().map(stage),
        "peakIsALimits": figures.limited().is_some(),
        "ramp": figures.ramp.iter().map(stage).collect::<Vec<_>>(),
        "overload": figures.overload.as_ref().map(stage),
        "processes": surge::processes(&figures.usage),
        "remarks": sentences(figures),
    })
}

fn stage(stage: &Stage) -> Value {
    json!({
        "offeredPerSecond": stage.offered_per_second,
        "seconds": seconds(stage.length),
        "sentPerSecond": stage.sent(),
        "goodputPerSecond": stage.goodput(),
        "served": stage.served.len(),
        "servedP99Micros": micros(stage.served_p99()),
        "refused": stage.refused.len(),
        "refusedP99Micros": stage.refused.value_at_quantile(0.99),
        "tooMany": stage.too_many,
        "refusedWithoutRetryAfter": stage.without_advice,
        "otherAnswers": stage.other,
        "noAnswer": stage.no_answer,
        "neverSent": stage.not_sent,
    })
}

#[expect(clippy::cast_precision_loss, reason = "some million requests")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stats::overload::tests::figures;

    #[test]
    fn the_result_stands_beside_its_targets() {
        let mut out = Vec::new();
        write_lines(&mut out, &figures()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("goodput was 95.0 % of its peak of 100/s (target 90.0 %)"), "{text}");
        let document = document(&figures());
        assert_eq!((&document["overload"]["refused"], &document["peakPerSecond"]), (&1_800.into(), &100.0.into()));
    }

    #[test]
    fn what_was_never_sent_is_said() {
        let mut figures = figures();
        figures.overload.iter_mut().for_each(|stage| stage.offered_per_second = 10_000);
        assert!(
            sentences(&figures)[1].contains("Of the load offered only 10.0 % was sent"),
            "{:?}",
            sentences(&figures)
        );
        figures.ramp[2] = Stage::new(140, Duration::from_secs(1));
        (0..140).for_each(|_| figures.ramp[2].answer(429, true, Duration::ZERO));
        assert!(sentences(&figures)[1].contains("asked 140 times a minute"), "{:?}", sentences(&figures));
        figures.overload = None;
        assert!(sentences(&figures)[0].contains("before the overload"));
    }
}
