//! Runs worlds.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;

use crate::Line;
use crate::Violation;
use crate::faults;
use crate::mutants::{Hook, Mutant};
use crate::plan::Plan;
use crate::scripts::Scripts;
use crate::servers::RealServer;
use crate::visitors::Visitor;
use crate::world::World;

/// What came of a world.
#[derive(Debug)]
pub struct Outcome {
    /// What was to happen.
    pub plan: Plan,
    /// What was broken, the first of each promise.
    pub violations: Vec<Violation>,
    /// All that happened.
    pub lines: Vec<Line>,
}

impl Outcome {
    /// Whether every promise was kept.
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// The log as text.
    pub fn log(&self) -> String {
        self.lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        })
    }
}

/// Runs worlds on one real server.
#[derive(Debug)]
pub struct Runner {
    server: RealServer,
    scripts: Arc<Scripts>,
    hook: Option<Hook>,
}

impl Runner {
    /// With this mutant, if any.
    ///
    /// # Errors
    ///
    /// Redis does not start, or the mutant's text is not in the scripts.
    pub fn start(mutant: Option<&Mutant>) -> anyhow::Result<Self> {
        let scripts = scripts_of(mutant)?;
        Ok(Self { server: RealServer::start()?, scripts, hook: mutant.and_then(|mutant| mutant.hook) })
    }

    /// The same server with another mutant.
    ///
    /// # Errors
    ///
    /// The mutant's text is not in the scripts.
    pub fn mutate(&mut self, mutant: Option<&Mutant>) -> anyhow::Result<()> {
        self.scripts = scripts_of(mutant)?;
        self.hook = mutant.and_then(|mutant| mutant.hook);
        Ok(())
    }

    /// The world of a seed by the product's own scripts and gateways, whatever mutant this runs.
    ///
    /// # Errors
    ///
    /// The real server does not answer.
    pub fn run_unchanged(&self, seed: u64, slot: usize) -> anyhow::Result<Outcome> {
        self.run_with(Plan::of(seed), slot, &scripts_of(None)?, None)
    }

    /// Runs the world of a seed. At most one at a time uses a slot.
    ///
    /// # Errors
    ///
    /// The real server does not answer.
    pub fn run(&self, seed: u64, slot: usize) -> anyhow::Result<Outcome> {
        self.run_plan(Plan::of(seed), slot)
    }

    /// Runs the world of a plan.
    ///
    /// # Errors
    ///
    /// The real server does not answer.
    pub fn run_plan(&self, plan: Plan, slot: usize) -> anyhow::Result<Outcome> {
        self.run_with(plan, slot, &self.scripts, self.hook)
    }

    fn run_with(&self, plan: Plan, slot: usize, scripts: &Arc<Scripts>, hook: Option<Hook>) -> anyhow::Result<Outcome> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
        let outcome = runtime.block_on(self.live(plan, slot, scripts, hook));
        // What still waits for something ends here.
        runtime.shutdown_timeout(Duration::from_millis(10));
        outcome
    }

    async fn live(
        &self,
        plan: Plan,
        slot: usize,
        scripts: &Arc<Scripts>,
        hook: Option<Hook>,
    ) -> anyhow::Result<Outcome> {
        let world = World::new(plan, (&self.server, slot), Arc::clone(scripts), hook)?;
        for gateway in 0..world.plan.gateways {
            world.start(gateway)?;
        }
        let faults = tokio::spawn(faults::run(Arc::clone(&world)));
        let visitors: Vec<_> = (0..)
            .zip(&world.plan.arrivals_ms)
            .map(|(number, arrives_ms)| {
                tokio::spawn(Visitor::new(Arc::clone(&world), number).live(*arrives_ms, world.plan.ends_at_ms()))
            })
            .collect();
        for visitor in visitors {
            visitor.await.context("a visitor")?;
        }
        faults.await.context("the faults")?;
        world.end();
        let violations = world.observer().violations().to_vec();
        Ok(Outcome { plan: world.plan.clone(), violations, lines: world.log.lines() })
    }

    /// Runs seeds on several threads until `each` says that it is enough; it gets outcomes in no order.
    ///
    /// # Errors
    ///
    /// A world could not be run.
    pub fn run_many(
        &self,
        seeds: impl Iterator<Item = u64> + Send,
        threads: usize,
        each: impl Fn(Outcome) -> bool + Sync,
    ) -> anyhow::Result<()> {
        let (seeds, enough) = (std::sync::Mutex::new(seeds), AtomicBool::new(false));
        let slots = AtomicUsize::new(0);
        let work = || -> anyhow::Result<()> {
            let slot = slots.fetch_add(1, Ordering::Relaxed);
            while !enough.load(Ordering::Relaxed) {
                let next = seeds.lock().map_err(|_| anyhow::anyhow!("another thread panicked"))?.next();
                let Some(seed) = next else { break };
                if !each(self.run(seed, slot).with_context(|| format!("seed {seed}"))?) {
                    enough.store(true, Ordering::Relaxed);
                }
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
        })
    }
}

fn scripts_of(mutant: Option<&Mutant>) -> anyhow::Result<Arc<Scripts>> {
    Ok(Arc::new(Scripts::with(mutant.map_or(&[], |mutant| mutant.edits))?))
}
