//! The search: breadth first, so that the first counterexample is a shortest one.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::actions::{self, Action};
use crate::fingerprint::Fingerprints;
use crate::observer::Property;
use crate::rules::Rules;
use crate::state::State;

/// Keeps a fingerprint as it is: it is a hash already.
#[derive(Debug, Default)]
struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

type Known = HashSet<u64, BuildHasherDefault<Unhashed>>;

/// What a search found.
#[derive(Debug, Clone)]
pub struct Found {
    /// A shortest way to a broken property, where there is one.
    pub counterexample: Option<Counterexample>,
    /// States that were reached, without those that differ in names only.
    pub states: usize,
    /// Actions of the longest way that was followed.
    pub depth: usize,
    /// Whether every reachable state was looked at.
    pub is_exhaustive: bool,
}

/// A way to a broken property.
#[derive(Debug, Clone)]
pub struct Counterexample {
    /// What is broken.
    pub property: Property,
    /// The state at the start.
    pub start: State,
    /// What happened, in order, each with the state after it.
    pub steps: Vec<(Action, State)>,
}

/// How far a search goes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// States to look at, at most.
    pub states: usize,
    /// Actions in a row, at most.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { states: 100_000_000, depth: usize::MAX }
    }
}

/// Looks at every state that can be reached, or until a property in `wanted` is broken (`None`: any property). Ways on which
/// another property breaks first end there.
pub fn search(rules: Rules, starts: &[State], wanted: Option<Property>, limits: Limits) -> Found {
    let fingerprints = Fingerprints::under(rules);
    let actions = actions::all();
    let mut known = Known::default();
    let mut ways: Vec<(u32, Action)> = Vec::new();
    let mut layer: Vec<(u32, State)> = Vec::new();
    for start in starts {
        if known.insert(fingerprints.of(start)) {
            layer.push((u32::try_from(layer.len()).unwrap_or(u32::MAX), *start));
            ways.push((u32::MAX, Action::Copy));
        }
    }
    let mut stats = std::collections::BTreeMap::new();
    let mut found = Found { counterexample: None, states: 0, depth: 0, is_exhaustive: true };
    while !layer.is_empty() {
        let mut next_layer = Vec::new();
        found.depth += 1;
        for part in layer.chunks(PART) {
            for Next { fingerprint, from, action, state } in expand(rules, &fingerprints, &actions, &known, part) {
                if !known.insert(fingerprint) {
                    continue;
                }
                let to = u32::try_from(ways.len()).unwrap_or(u32::MAX);
                ways.push((from, action));
                found.states = known.len();
                let key = format!(
                    "losses {} room {} copy {} epoch {:?} late {} joinsleft {}",
                    state.bounds.losses,
                    match state.room {
                        None => "none",
                        Some(r) if r.process != state.process => "old",
                        Some(r) if r.rebuilding.is_some() => "rebuilding",
                        _ => "ok",
                    },
                    state.copy.is_some(),
                    state.room.map(|r| r.at.epoch),
                    state.late.is_some(),
                    state.bounds.joins
                );
                *stats.entry(key).or_insert(0_usize) += 1;
                match state.broken {
                    Some(property) if wanted.is_none_or(|wanted| wanted == property) => {
                        found.counterexample = Some(replay(rules, starts, &ways, to, property));
                        found.is_exhaustive = false;
                        return found;
                    }
                    Some(_) => {}
                    None => next_layer.push((to, state)),
                }
            }
        }
        if known.len() > limits.states || found.depth >= limits.depth {
            found.is_exhaustive = next_layer.is_empty();
            return found;
        }
        layer = next_layer;
        eprintln!("depth {} layer {} known {}", found.depth, layer.len(), known.len());
    }
    for (k, v) in stats {
        eprintln!("{v:9} {k}");
    }
    found
}

/// A state that follows another one.
struct Next {
    fingerprint: u64,
    from: u32,
    action: Action,
    state: State,
}

/// States looked at in one go.
const PART: usize = 1 << 14;

/// The states that follow a part of a layer and are not known, in a fixed order, on as many threads as there are cores.
fn expand(
    rules: Rules,
    fingerprints: &Fingerprints,
    actions: &[Action],
    known: &Known,
    part: &[(u32, State)],
) -> Vec<Next> {
    let follow = |(from, state): &(u32, State)| {
        let from = *from;
        let state = *state;
        actions.iter().filter_map(move |action| {
            let next = actions::apply(rules, &state, *action)?;
            let fingerprint = fingerprints.of(&next);
            (!known.contains(&fingerprint)).then_some(Next { fingerprint, from, action: *action, state: next })
        })
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let parts = part.chunks(part.len().div_ceil(threads).max(64));
        let workers: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().flat_map(follow).collect::<Vec<_>>())).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}

fn replay(rules: Rules, starts: &[State], ways: &[(u32, Action)], end: u32, property: Property) -> Counterexample {
    let mut actions = Vec::new();
    let mut at = end;
    while let Some((from, action)) = ways.get(at as usize).filter(|(from, _)| *from != u32::MAX) {
        actions.push(*action);
        at = *from;
    }
    let start = starts[(at as usize).min(starts.len() - 1)];
    let mut state = start;
    let steps = actions.into_iter().rev().map(|action| {
        state = actions::apply(rules, &state, action).unwrap_or(state);
        (action, state)
    });
    Counterexample { property, start, steps: steps.collect() }
}
