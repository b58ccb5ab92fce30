//! Always the same seeds: whatever they find is a fault of the waiting room, or of the simulator.

use std::sync::Mutex;

use simulator::report;
use simulator::run::Runner;

const SEEDS: std::ops::RangeInclusive<u64> = 1..=500;
/// Failures that are shown in full.
const SHOWN: usize = 3;

#[test]
fn five_hundred_seeds_keep_every_promise() {
    let runner = Runner::start(None).unwrap();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures = Mutex::new(Vec::new());
    runner
        .run_many(SEEDS, threads, |outcome| {
            if !outcome.is_good() {
                failures.lock().unwrap().push(report::failure(&outcome, None));
            }
            true
        })
        .unwrap();
    let failures = failures.into_inner().unwrap();
    let shown = failures.iter().take(SHOWN).cloned().collect::<String>();
    assert!(failures.is_empty(), "{} seeds fail:\n{shown}", failures.len());
}
