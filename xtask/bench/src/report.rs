//! The table: on the terminal, in docs/BENCHMARKS.md and as JSON.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::figures::{Row, Spread};
use crate::machine::Machine;

/// All of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// When, and on what.
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) command: String,
    pub(crate) machine: Machine,
    pub(crate) rows: Vec<Row>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<(String, String)>,
}

impl Report {
    /// As Markdown.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(INTRODUCTION);
        let Self { date, commit, command, machine, .. } = self;
        let _ = write!(text, "\n`{command}` on {date}, at {commit}.\n\n{machine}\n{}", self.table());
        text.push_str("\n## How each was measured\n\n");
        for row in &self.rows {
            let _ = writeln!(text, "- **{}**: {}", row.name, row.note);
        }
        for (name, why) in &self.failures {
            let _ = writeln!(text, "- **{name}** could not be measured: {why}");
        }
        text
    }

    /// The lines.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| Name | What | Ceiling | Ours | Ceiling's | Ratio | Target | |\n|---|---|---|---|---|---|---|---|\n",
        );
        for row in &self.rows {
            let verdict = if row.is_met() { "ok" } else { "**short**" };
            let (ours, theirs, ratio) = (spread(&row.ours), spread(&row.theirs), spread(&row.ratio));
            let Row { name, path, ceiling, unit, target, .. } = row;
            let _ = writeln!(
                text,
                "| {name} | {path} | {ceiling} | {ours} {unit} | {theirs} {unit} | {ratio} | {target} | {verdict} |"
            );
        }
        text
    }

    /// Writes both files; where they are.
    pub(crate) fn write(&self, root: &Path) -> Result<Vec<PathBuf>> {
        let files = [
            (root.join("docs/BENCHMARKS.md"), self.markdown()),
            (root.join("docs/benchmarks.json"), format!("{}\n", serde_json::to_string_pretty(self)?)),
        ];
        files
            .into_iter()
            .map(|(file, text)| {
                std::fs::write(&file, text).with_context(|| file.display().to_string())?;
                Ok(file)
            })
            .collect()
    }
}

const INTRODUCTION: &str = "\
# Benchmarks

<!-- Written by `cargo xtask bench`. -->

What the hot paths do against the ceiling of the machine that they run on. Ours and the ceiling are measured in one run, by
turns; a ratio is that of two measurements made one after the other. Each figure is a median, with the least and the most in
brackets; where the ceiling is a number (memory, streams, the rate of `draining`) nothing is measured for it, and memory and
streams are measured once. Rates of one machine say nothing about another: look at the ratios. What stands in the way of those that are short is
in [PERFORMANCE.md](PERFORMANCE.md).
";

/// A median with its range, in three figures.
fn spread(spread: &Spread) -> String {
    let Spread { median, min, max } = spread;
    format!("{} ({}–{})", short(*median), short(*min), short(*max))
}

/// Three figures that count.
fn short(number: f64) -> String {
    match number.abs() {
        1_000.0.. => {
            let whole = format!("{number:.0}");
            let from_the_end = |(n, digit)| [(n > 0 && n % 3 == 0).then_some(','), Some(digit)];
            let reversed: String = whole.chars().rev().enumerate().flat_map(from_the_end).flatten().collect();
            reversed.chars().rev().collect()
        }
        100.0.. => format!("{number:.0}"),
        10.0.. => format!("{number:.1}"),
        1.0.. => format!("{number:.2}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::{Target, What};

    fn report() -> Report {
        let what = What { name: "status", path: "GET x", ceiling: "nginx", unit: "/s", target: Target::AtLeast(0.9) };
        let rows = vec![
            what.row(&[(80_000.0, 100_000.0), (81_000.0, 100_000.0), (79_000.0, 100_000.0)], "one core each".into()),
            What { target: Target::AtLeast(0.5), ..what }.row(&[(1.0, 1.5)], String::new()),
        ];
        let failures = vec![("streams".to_owned(), "too few files".to_owned())];
        let [date, commit, command] = ["2026-01-01", "abc", "cargo xtask bench"].map(str::to_owned);
        Report { date, commit, command, machine: Machine::read(), rows, failures }
    }

    #[test]
    fn what_is_short_is_called_so_and_what_is_missing_is_named() {
        let text = report().markdown();
        assert!(text.contains("80,000 (79,000–81,000) /s | 100,000"), "{text}");
        assert!(text.contains("| 0.800 (0.790–0.810) | ≥ 0.9 | **short** |"), "{text}");
        assert!(text.contains("| 0.667 (0.667–0.667) | ≥ 0.5 | ok |"), "{text}");
        assert!(text.contains("**streams** could not be measured: too few files"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [1_234_567.0, 999.4, 99.44, 9.994, 0.012_34].map(short);
        assert_eq!(numbers, ["1,234,567", "999", "99.4", "9.99", "0.012"].map(str::to_owned));
    }
}
