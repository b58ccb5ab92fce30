//! What a person reads of a failing seed.

use std::fmt::Write as _;

use crate::run::Outcome;

/// Lines before the failure that are shown of what concerns the whole world, and of the visitor.
const WORLD_LINES: usize = 15;
const VISITOR_LINES: usize = 12;

/// The failure, what led to it in a few lines, and the command that repeats it.
pub fn failure(outcome: &Outcome, mutant: Option<&str>) -> String {
    let plan = &outcome.plan;
    let mut text = String::new();
    let mutant = mutant.map(|name| format!(" --mutant {name}")).unwrap_or_default();
    let _ = writeln!(text, "seed {} breaks {} promises", plan.seed, outcome.violations.len());
    for violation in &outcome.violations {
        let _ = writeln!(text, "  {violation}");
    }
    let _ = writeln!(
        text,
        "  {} gateways, {}, {} visitors, {:?}",
        plan.gateways,
        if plan.recorded { "recorded" } else { "no record" },
        plan.arrivals_ms.len(),
        plan.room,
    );
    if let Some(first) = outcome.violations.iter().min_by_key(|violation| violation.at_ms) {
        let before = || outcome.lines.iter().enumerate().filter(|(_, line)| line.at_ms <= first.at_ms);
        let world = before().filter(|(_, line)| line.about.is_none()).map(|(at, _)| at);
        let visitor =
            before().filter(|(_, line)| line.about.is_some() && line.about == first.visitor).map(|(at, _)| at);
        let (world, visitor): (Vec<_>, Vec<_>) = (world.collect(), visitor.collect());
        let last = |lines: &[usize], most: usize| lines[lines.len().saturating_sub(most)..].to_vec();
        let mut shown = last(&world, WORLD_LINES);
        shown.extend(last(&visitor, VISITOR_LINES));
        shown.sort_unstable();
        for at in shown {
            let _ = writeln!(text, "  {}", outcome.lines[at]);
        }
    }
    let _ = writeln!(text, "  repeat: cargo xtask simulate --seed {}{mutant}", plan.seed);
    text
}
