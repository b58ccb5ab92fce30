//! What processes and their descendants take, by `/proc`.

use std::path::Path;

use stack::proc_fs::{Processes, sizes};

/// Of a process and all that it has started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) cpu_ticks: u64,
    pub(super) memory_bytes: u64,
}

/// What `root` and its descendants took; `None` where there is no such process.
pub(super) fn taken(processes: &Processes, proc: &Path, root: u32) -> Option<Counted> {
    processes.get(root)?;
    let (mut taken, mut shared_max) = (Counted::default(), 0);
    for id in [root].into_iter().chain(processes.descendants(root)) {
        let Some(process) = processes.get(id) else { continue };
        taken.cpu_ticks += process.cpu_ticks + process.ended_children_ticks;
        // Its memory is free again if it has ended since.
        let [anonymous, shared] = sizes(proc, id, ["RssAnon", "RssShmem"]).unwrap_or_default();
        taken.memory_bytes += anonymous;
        // The same memory, seen by each: PostgreSQL's buffers.
        shared_max = shared_max.max(shared);
    }
    taken.memory_bytes += shared_max;
    Some(taken)
}

/// Busy ticks of all cores together, of `/proc/stat`.
pub(super) fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(ticks.iter().take(8).sum::<u64>() - idle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(folder: &Path, id: u32, parent: u32, ticks: u64, memory: (u64, u64)) {
        let own = folder.join(id.to_string());
        std::fs::create_dir(&own).unwrap();
        let stat = format!("{id} (a) name) S {parent} 1 1 0 -1 0 0 0 0 0 {ticks} 1 0 0 20 0 1 0 9 9 9");
        std::fs::write(own.join("stat"), stat).unwrap();
        let (anonymous, shared) = memory;
        let status = format!("Name:\tx\nRssAnon:\t  {anonymous} kB\nRssFile:\t 7 kB\nRssShmem:\t {shared} kB\n");
        std::fs::write(own.join("status"), status).unwrap();
    }

    #[test]
    fn a_process_counts_with_all_that_it_started_and_shared_memory_once() {
        let folder = tempfile::tempdir().unwrap();
        process(folder.path(), 10, 1, 5, (100, 30));
        process(folder.path(), 11, 10, 50, (10, 40));
        process(folder.path(), 12, 11, 500, (1, 0));
        process(folder.path(), 20, 1, 9_999, (9_999, 0));
        std::fs::create_dir(folder.path().join("sys")).unwrap();
        let processes = Processes::read(folder.path()).unwrap();
        let counted = taken(&processes, folder.path(), 10).unwrap();
        assert_eq!(counted, Counted { cpu_ticks: 558, memory_bytes: 151 * 1024 });
        assert_eq!(taken(&processes, folder.path(), 13), None);
    }

    #[test]
    fn busy_is_all_but_idle_and_waiting_for_disks() {
        assert_eq!(busy_ticks("cpu  100 10 20 5000 300 4 6 1 50 0\ncpu0 1 1"), Some(141));
        assert_eq!(busy_ticks("intr 5"), None);
    }
}
