//! What Linux tells of processes in `/proc`.

use std::collections::HashMap;
use std::path::Path;

/// Ticks in a second, as `/proc` counts CPU time whatever the kernel's own clock does (`USER_HZ`; 100 on every
/// architecture that this runs on).
pub(super) const TICKS_PER_SECOND: f64 = 100.0;
const KIB: u64 = 1024;

/// One look at all processes.
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_id: HashMap<u32, Process>,
    children: HashMap<u32, Vec<u32>>,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    parent: u32,
    /// Its own, and that of children that have ended.
    cpu_ticks: u64,
}

/// Of a process and all that it has started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) cpu_ticks: u64,
    pub(super) memory_bytes: u64,
}

impl Processes {
    pub(super) fn look(proc: &Path) -> std::io::Result<Self> {
        let mut processes = Self::default();
        for entry in std::fs::read_dir(proc)? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            // Some end while they are looked at.
            let Ok(stat) = std::fs::read_to_string(proc.join(&name).join("stat")) else { continue };
            if let Some(process) = parse_stat(&stat) {
                processes.by_id.insert(id, process);
                processes.children.entry(process.parent).or_default().push(id);
            }
        }
        Ok(processes)
    }

    /// What `root` and its descendants took; `None` where there is no such process.
    pub(super) fn taken(&self, proc: &Path, root: u32) -> Option<Counted> {
        self.by_id.get(&root)?;
        let (mut taken, mut shared_max) = (Counted::default(), 0);
        let mut left = vec![root];
        while let Some(id) = left.pop() {
            let Some(process) = self.by_id.get(&id) else { continue };
            taken.cpu_ticks += process.cpu_ticks;
            let status = std::fs::read_to_string(proc.join(id.to_string()).join("status")).unwrap_or_default();
            taken.memory_bytes += kib(&status, "RssAnon") * KIB;
            // The same memory, seen by each: PostgreSQL's buffers.
            shared_max = shared_max.max(kib(&status, "RssShmem") * KIB);
            left.extend(self.children.get(&id).into_iter().flatten());
        }
        taken.memory_bytes += shared_max;
        Some(taken)
    }
}

/// Busy ticks of all cores together, of `/proc/stat`.
pub(super) fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let idle = ticks.get(3)? + ticks.get(4)?;
    Some(ticks.iter().take(8).sum::<u64>() - idle)
}

/// `/proc/<id>/stat`; the second field is the program's name, which may hold anything.
fn parse_stat(stat: &str) -> Option<Process> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // Fields 14 to 17 of proc(5), of which these begin with the third.
    let cpu_ticks = (11..=14).map(number).sum::<Option<u64>>()?;
    Some(Process { parent: fields.get(1)?.parse().ok()?, cpu_ticks })
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.split_whitespace().next()?.parse().ok()).unwrap_or_default()
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
        let processes = Processes::look(folder.path()).unwrap();
        let taken = processes.taken(folder.path(), 10).unwrap();
        assert_eq!(taken, Counted { cpu_ticks: 558, memory_bytes: 151 * KIB });
        assert_eq!(processes.taken(folder.path(), 13), None);
    }

    #[test]
    fn busy_is_all_but_idle_and_waiting_for_disks() {
        assert_eq!(busy_ticks("cpu  100 10 20 5000 300 4 6 1 50 0\ncpu0 1 1"), Some(141));
        assert_eq!(busy_ticks("intr 5"), None);
    }
}
