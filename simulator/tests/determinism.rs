//! The same seed runs the same way, byte by byte.

use simulator::run::Runner;

#[test]
fn two_runs_of_a_seed_write_the_same_log() {
    let runner = Runner::start(None).unwrap();
    for seed in [2, 11, 29, 73, 104] {
        let (once, again) = (runner.run(seed, 0).unwrap(), runner.run(seed, 1).unwrap());
        assert!(!once.lines.is_empty());
        assert_eq!(once.log(), again.log(), "seed {seed}");
    }
}
