//! The report on stdout.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Result;

use super::{Facts, QUANTILES, Report, counts, human_ms, seconds, surge, waits};
use crate::invariants::Finding;
use crate::stats::Step;

const GREEN: &str = "32";
const RED: &str = "31";
const DIM: &str = "2";

/// `text` in a colour, where there is a terminal that wants colours.
fn paint(text: &str, colour: &str) -> String {
    if io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{colour}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// What is about to happen.
pub(crate) fn print_start(facts: &Facts) -> Result<()> {
    let mut out = io::stdout().lock();
    let concert = &facts.concert;
    writeln!(
        out,
        "{}: {} visitors, {} a second ({}), seed {}, to {}",
        facts.scenario, facts.users, facts.arrivals_per_second, facts.arrivals, facts.seed, facts.origin
    )?;
    writeln!(
        out,
        "concert: {} ({}), {} of {} seats available",
        concert.name, concert.id, concert.available_seats, concert.total_seats
    )?;
    for condition in &facts.conditions {
        writeln!(out, "{condition}")?;
    }
    writeln!(out)?;
    Ok(())
}

/// Tables: steps, outcomes, checks.
pub(super) fn print_report(report: &Report) -> Result<()> {
    write_report(&mut io::stdout().lock(), report)?;
    print_findings(&report.findings)
}

fn write_report(out: &mut impl Write, report: &Report) -> Result<()> {
    let figures = &report.figures;
    if let Some(reason) = report.interrupted {
        writeln!(out, "ended early by {reason}\n")?;
    }
    write!(out, "{:<22}{:>8}", "latency from the start", "count")?;
    for (name, _) in QUANTILES {
        write!(out, "{name:>10}")?;
    }
    writeln!(out, "{:>10}{:>9}  answers", "max", "retries")?;
    for step in Step::ALL {
        let stats = figures.step(step);
        if stats.latency.is_empty() && stats.statuses.is_empty() && stats.no_answer.is_empty() {
            continue;
        }
        write!(out, "{:<22}{:>8}", step.name(), stats.latency.len())?;
        for (_, quantile) in QUANTILES {
            write!(out, "{:>10}", human_ms(stats.latency.value_at_quantile(quantile)))?;
        }
        let answers = counts(stats.statuses.iter().map(|(status, count)| (*status, *count)));
        let none = counts(stats.no_answer.iter().map(|(why, count)| (*why, *count)));
        let line = format!("{:>10}{:>9}  {answers} {none}", human_ms(stats.latency.max()), stats.retries);
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    for (outcome, count) in &figures.outcomes {
        writeln!(out, "{:<22}{count:>8}", outcome.name())?;
    }
    if let Some(told) = &report.waits {
        writeln!(out)?;
        waits::write_lines(out, told)?;
        return write_problems(out, report);
    }
    writeln!(out, "{:<22}{:>8}", "seats sold", figures.sales.len())?;
    if let Some(after) = report.sold_out_after() {
        writeln!(out, "{:<22}{:>8}", "sold out after", format!("{:.1} s", seconds(after)))?;
    }
    if let Some(taken) = &report.surge {
        writeln!(out)?;
        surge::write_lines(out, taken)?;
    }
    write_problems(out, report)
}

fn write_problems(out: &mut impl Write, report: &Report) -> Result<()> {
    let figures = &report.figures;
    let errors: Vec<_> = Step::ALL
        .iter()
        .flat_map(|step| figures.step(*step).errors.iter().map(move |(code, count)| (*step, code, *count)))
        .collect();
    for (step, code, count) in errors {
        let code = if code.is_empty() { "(no problem document)" } else { code };
        writeln!(out, "{:<22}{count:>8}  {code}", step.name())?;
    }
    // Above this, the figures say more about this program's machine than about the system.
    if figures.lateness_max.as_millis() > 100 {
        let late = figures.lateness_max.as_millis();
        writeln!(out, "note: this program was up to {late} ms late with arrivals; that counts as latency above")?;
    }
    for sample in &figures.unexpected_samples {
        writeln!(out, "{} {sample}", paint("unexpected:", RED))?;
    }
    writeln!(out)?;
    Ok(())
}

/// One line for each check.
pub(crate) fn print_findings(findings: &[Finding]) -> Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        let (mark, colour) = match (finding.is_checked(), finding.is_broken()) {
            (false, _) => ("not checked", DIM),
            (true, true) => ("BROKEN", RED),
            (true, false) => ("holds", GREEN),
        };
        writeln!(out, "{} {:<22} {}", paint(&format!("{mark:<11}"), colour), finding.name, finding.title)?;
        if let Some(reason) = &finding.not_checked {
            writeln!(out, "{:12}{reason}", "")?;
        }
        if finding.is_broken() {
            writeln!(out, "{:12}{} in all, such as:", "", finding.broken)?;
            for example in &finding.examples {
                writeln!(out, "{:12}{example}", "")?;
            }
        }
    }
    Ok(())
}

/// The verdict, and where to read on.
pub(super) fn print_end(report: &Report, folder: &Path) -> Result<()> {
    let mut out = io::stdout().lock();
    let failures = report.failures();
    writeln!(out)?;
    for failure in &failures {
        writeln!(out, "{} {failure}", paint("failed:", RED))?;
    }
    if failures.is_empty() {
        writeln!(out, "{}", paint("passed: all is well", GREEN))?;
    }
    writeln!(out, "report: {}", folder.join("report.html").display())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report, wait_report};
    use super::*;

    #[test]
    fn who_only_waits_buys_nothing() {
        let mut out = Vec::new();
        write_report(&mut out, &wait_report()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("range told at joining") && !text.contains("sold"), "{text}");
    }

    #[test]
    fn the_table_shows_steps_answers_and_sales() {
        let mut out = Vec::new();
        write_report(&mut out, &report()).unwrap();
        let text = String::from_utf8(out).unwrap();
        let reserve = text.lines().find(|line| line.starts_with("reserve seat")).unwrap();
        assert!(reserve.ends_with("200×2 409×1"), "{reserve}");
        assert!(text.contains("seats sold"), "{text}");
        assert!(text.contains("sold out after"), "{text}");
        assert!(!text.contains("sign up"), "a step that nobody took has no line:\n{text}");
    }
}
