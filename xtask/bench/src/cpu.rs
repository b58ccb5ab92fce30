//! Which core does what, and how much of it is used. Two cores are enough: one for what is measured, one for who asks.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use stack::proc_fs::{self, PROC, Process, Processes, TICKS_PER_SECOND};
use stack::programs;

/// The core of what is measured.
pub(crate) const SERVERS: usize = 0;
/// The core of the load generator, and of what only stands around.
pub(crate) const GENERATOR: usize = 1;

/// How many cores there are.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Puts a process, its threads and its children on one core.
pub(crate) fn pin(pid: u32, core: usize) -> Result<()> {
    ensure!(core < count(), "there is no core {core}: at least two are needed");
    for pid in family(&Processes::read(proc())?, pid) {
        let set = || {
            let (core, pid) = (core.to_string(), pid.to_string());
            programs::output(programs::command("taskset").args(["-a", "-c", "-p", &core, &pid]))
        };
        // A thread that ends while taskset lists them fails it, and so does a process that is gone.
        if let Err(error) = set().or_else(|_| set())
            && Process::read(proc(), pid).is_some()
        {
            return Err(error);
        }
    }
    Ok(())
}

/// CPU seconds that processes and their living children have used.
pub(crate) fn used(pids: &[u32]) -> Result<f64> {
    let processes = Processes::read(proc())?;
    let family = pids.iter().flat_map(|pid| family(&processes, *pid));
    Ok(seconds(family.filter_map(|pid| Some(processes.get(pid)?.cpu_ticks)).sum()))
}

/// CPU seconds of all children of this process that have ended.
pub(crate) fn of_ended_children() -> Result<f64> {
    let own = Process::read(proc(), std::process::id()).context("this process is not in /proc")?;
    Ok(seconds(own.ended_children_ticks))
}

/// Resident memory of a process, in bytes.
#[expect(clippy::cast_precision_loss, reason = "some gigabytes")]
pub(crate) fn resident_bytes(pid: u32) -> Result<f64> {
    let [bytes] = proc_fs::sizes(proc(), pid, ["VmRSS"]).with_context(|| format!("process {pid} has ended"))?;
    Ok(bytes as f64)
}

/// A process and its children.
fn family(processes: &Processes, root: u32) -> Vec<u32> {
    [&[root], processes.children(root)].concat()
}

fn proc() -> &'static Path {
    Path::new(PROC)
}

#[expect(clippy::cast_precision_loss, reason = "some days of ticks")]
fn seconds(ticks: u64) -> f64 {
    ticks as f64 / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::wait::PATIENCE;

    #[test]
    fn this_process_has_a_size_and_uses_its_time() {
        let own = std::process::id();
        assert!(resident_bytes(own).unwrap() > 1e5);
        let before = used(&[own]).unwrap();
        let begun = std::time::Instant::now();
        while used(&[own]).unwrap() <= before {
            assert!(begun.elapsed() < PATIENCE, "it works and no time is counted");
        }
        assert!(family(&Processes::read(proc()).unwrap(), own).contains(&own));
    }

    #[test]
    fn children_that_end_while_they_are_read_do_not_disturb() {
        let own = std::process::id();
        let children = std::thread::spawn(|| {
            for _ in 0..300 {
                std::process::Command::new("true").status().unwrap();
            }
        });
        while !children.is_finished() {
            used(&[own]).unwrap();
        }
        children.join().unwrap();
    }
}
