//! Figures: ours beside a ceiling, in the same run and by turns.

use std::fmt;

use serde::Serialize;

/// What a ratio is to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Both ends included.
    Within(f64, f64),
    /// Nothing was set: a figure that others are reckoned from.
    None,
}

impl Target {
    pub(crate) fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
            Self::Within(least, most) => (least..=most).contains(&ratio),
            Self::None => true,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
            Self::Within(least, most) => write!(f, "{least}–{most}"),
            Self::None => write!(f, "–"),
        }
    }
}

/// A median and how far the samples were from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of at least one sample.
    pub(crate) fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
        } else {
            at(middle)
        };
        Self { median, min: at(0), max: at(sorted.len().wrapping_sub(1)) }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// What is measured.
    pub(crate) path: &'static str,
    /// What it is measured against.
    pub(crate) ceiling: &'static str,
    /// What both are counted in.
    pub(crate) unit: &'static str,
    pub(crate) ours: Spread,
    pub(crate) theirs: Spread,
    pub(crate) ratio: Spread,
    pub(crate) target: Target,
    /// How it was measured: connections, cores, how busy everybody was.
    pub(crate) note: String,
}

impl Row {
    pub(crate) fn is_met(&self) -> bool {
        self.target.is_met(self.ratio.median)
    }
}

/// What a line is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct What {
    pub(crate) name: &'static str,
    pub(crate) path: &'static str,
    pub(crate) ceiling: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) target: Target,
}

impl What {
    /// The line, from pairs that were measured one after the other. The ratio is that of each pair.
    pub(crate) fn row(self, pairs: &[(f64, f64)], note: String) -> Row {
        let spread = |pick: fn(&(f64, f64)) -> f64| Spread::of(&pairs.iter().map(pick).collect::<Vec<_>>());
        let Self { name, path, ceiling, unit, target } = self;
        let (ours, theirs, ratio) = (spread(|pair| pair.0), spread(|pair| pair.1), spread(|pair| pair.0 / pair.1));
        Row { name, path, ceiling, unit, ours, theirs, ratio, target, note }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_in_the_middle() {
        let spread = |samples: &[f64]| {
            let Spread { median, min, max } = Spread::of(samples);
            [median, min, max].map(|number| number.to_string()).join(" ")
        };
        assert_eq!(spread(&[3.0, 1.0, 9.0]), "3 1 9");
        assert_eq!(spread(&[4.0, 1.0]), "2.5 1 4");
        assert_eq!(spread(&[4.0]), "4 4 4");
    }

    #[test]
    fn a_ratio_is_that_of_a_pair() {
        let what = What { name: "n", path: "p", ceiling: "c", unit: "u", target: Target::AtLeast(0.5) };
        // Both twice as fast in the second round: the machine was.
        let row = what.row(&[(10.0, 20.0), (20.0, 40.0)], String::new());
        assert!(
            row.is_met() && Target::AtMost(0.5).is_met(row.ratio.max) && !Target::AtMost(0.4).is_met(row.ratio.min)
        );
        assert!(!Target::Within(0.99, 1.01).is_met(1.02) && Target::Within(0.99, 1.01).is_met(1.0));
    }
}
