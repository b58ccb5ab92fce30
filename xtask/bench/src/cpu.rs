//! Which core does what, and how much of it is used. Two cores are enough: one for what is measured, one for who asks.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use stack::programs;

/// The core of what is measured.
pub(crate) const SERVERS: usize = 0;
/// The core of the load generator, and of what only stands around.
pub(crate) const GENERATOR: usize = 1;
/// Kernel clock ticks a second, as `/proc` counts them on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// How many cores there are.
pub(crate) fn count() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Puts a process, its threads and its children on one core.
pub(crate) fn pin(pid: u32, core: usize) -> Result<()> {
    ensure!(core < count(), "there is no core {core}: at least two are needed");
    for pid in family(pid)? {
        let (core, pid) = (core.to_string(), pid.to_string());
        programs::output(programs::command("taskset").args(["-a", "-c", "-p", &core, &pid]))?;
    }
    Ok(())
}

/// CPU seconds that processes and their living children have used.
pub(crate) fn used(pids: &[u32]) -> Result<f64> {
    let mut total = 0.0;
    for pid in pids {
        for pid in family(*pid)? {
            // utime and stime (proc(5), fields 14 and 15).
            total += fields(&pid.to_string(), &[14, 15])?;
        }
    }
    Ok(total)
}

/// CPU seconds of all children of this process that have ended.
pub(crate) fn of_ended_children() -> Result<f64> {
    fields("self", &[16, 17])
}

/// Resident memory of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}

/// A process and its children.
fn family(root: u32) -> Result<Vec<u32>> {
    let mut pids = vec![root];
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let parent = stat(&pid.to_string()).ok().and_then(|fields| fields.get(1)?.parse().ok());
        if parent == Some(root) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// The fields of `/proc/…/stat` after the name, which may hold anything: state, parent, …
fn stat(process: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after_name = text.rsplit(')').next().context("no name")?;
    Ok(after_name.split_whitespace().map(str::to_owned).collect())
}

/// Fields that count clock ticks, by their numbers in proc(5), added up in seconds.
fn fields(process: &str, numbers: &[usize]) -> Result<f64> {
    let fields = stat(process)?;
    let ticks = numbers.iter().map(|number| fields.get(number - 3).and_then(|field| field.parse::<f64>().ok()));
    Ok(ticks.sum::<Option<f64>>().context("not of Linux' form")? / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_size_and_uses_its_time() {
        let own = std::process::id();
        assert!(resident_bytes(own).unwrap() > 1e5);
        let before = used(&[own]).unwrap();
        let begun = std::time::Instant::now();
        while used(&[own]).unwrap() <= before {
            assert!(begun.elapsed().as_secs() < 20, "it works and no time is counted");
        }
        assert!(family(own).unwrap().contains(&own));
    }
}
