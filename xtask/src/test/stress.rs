//! Work that takes the cores away from the tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A busy loop for every core, until this is dropped. The loops are threads, so that they end with this process,
/// however it ends.
#[derive(Debug)]
pub(super) struct Stress {
    stop: Arc<AtomicBool>,
    loops: Vec<JoinHandle<()>>,
}

impl Stress {
    pub(super) fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let stop = Arc::new(AtomicBool::new(false));
        let busy_loop = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            })
        };
        Self { loops: (0..cores).map(busy_loop).collect(), stop }
    }
}

impl Drop for Stress {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for busy in self.loops.drain(..) {
            // A loop that only spins does not panic.
            let _ = busy.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_core_is_busy_until_the_end() {
        let stress = Stress::start();
        let stop = Arc::clone(&stress.stop);
        assert_eq!(stress.loops.len(), std::thread::available_parallelism().unwrap().get());
        assert!(stress.loops.iter().all(|busy| !busy.is_finished()));
        drop(stress);
        // This is the only one left: each loop has given up its own.
        assert_eq!(Arc::strong_count(&stop), 1);
    }
}
