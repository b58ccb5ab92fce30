//! The processes that Linux lists in `/proc`.
//!
//! A process can end between its listing and its reading. A reading leaves such a process out, as if it had ended a
//! moment earlier.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Where Linux lists processes; tests give another folder.
pub const PROC: &str = "/proc";
/// Units of CPU time in a second, whatever the kernel's own clock does (`USER_HZ`; 100 on every architecture that this
/// runs on).
pub const TICKS_PER_SECOND: f64 = 100.0;

/// One reading of all processes.
#[derive(Debug, Default)]
pub struct Processes {
    by_id: BTreeMap<u32, Process>,
    children: BTreeMap<u32, Vec<u32>>,
}

/// A process at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its parent's id.
    pub parent: u32,
    /// CPU time of its own, in user and kernel mode.
    pub cpu_ticks: u64,
    /// CPU time of its children that have ended and that it has waited for.
    pub ended_children_ticks: u64,
}

impl Processes {
    /// Reads all processes below `proc`.
    ///
    /// # Errors
    /// `proc` cannot be listed, for instance because this is not Linux.
    pub fn read(proc: &Path) -> io::Result<Self> {
        let mut processes = Self::default();
        for entry in std::fs::read_dir(proc)?.flatten() {
            let name = entry.file_name();
            let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            let Some(process) = Process::read(proc, id) else { continue };
            processes.by_id.insert(id, process);
            processes.children.entry(process.parent).or_default().push(id);
        }
        Ok(processes)
    }

    /// The process `id`, if it runs.
    pub fn get(&self, id: u32) -> Option<Process> {
        self.by_id.get(&id).copied()
    }

    /// The ids of the children of `id`.
    pub fn children(&self, id: u32) -> &[u32] {
        self.children.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The ids of all processes that descend from `id`, without itself.
    pub fn descendants(&self, id: u32) -> Vec<u32> {
        let mut found = self.children(id).to_vec();
        let mut next = 0;
        while let Some(&parent) = found.get(next) {
            found.extend(self.children(parent));
            next += 1;
        }
        found
    }
}

impl Process {
    /// The process `id`, if it runs.
    pub fn read(proc: &Path, id: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(proc.join(id.to_string()).join("stat")).ok()?)
    }

    /// `pid (name) state ppid …`, where the name may hold anything, brackets included.
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        // Numbered as in proc(5); the first of these is the third.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            parent: field(4)?.try_into().ok()?,
            cpu_ticks: field(14)? + field(15)?,
            ended_children_ticks: field(16)? + field(17)?,
        })
    }
}

/// Reads the sizes called `names` in the status of a process (such as `VmRSS`), in bytes. `None` if the process has
/// ended; 0 for what its status lacks.
pub fn sizes<const N: usize>(proc: &Path, id: u32, names: [&str; N]) -> Option<[u64; N]> {
    let status = std::fs::read_to_string(proc.join(id.to_string()).join("status")).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(names.map(|name| kib(name).unwrap_or_default() * 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, id: u32, stat: Option<&str>) {
        let own = proc.join(id.to_string());
        std::fs::create_dir(&own).unwrap();
        if let Some(stat) = stat {
            std::fs::write(own.join("stat"), stat).unwrap();
        }
    }

    #[test]
    fn a_process_that_ends_between_listing_and_reading_is_left_out() {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), 10, Some("10 (a) S) S 1 1 0 -1 0 0 0 0 0 0 3 4 5 6 20 0 1 0 9 9 9"));
        process(proc.path(), 11, Some("11 (b) R 10 1 0 -1 0 0 0 0 0 0 1 1 0 0 20 0 1 0 9 9 9"));
        // It is listed, and then its files are gone or say nothing.
        process(proc.path(), 12, None);
        process(proc.path(), 13, Some(""));
        process(proc.path(), 14, Some("14 (c) R 10 1"));
        std::fs::create_dir(proc.path().join("sys")).unwrap();

        let processes = Processes::read(proc.path()).unwrap();
        assert_eq!(processes.get(10), Some(Process { parent: 1, cpu_ticks: 7, ended_children_ticks: 11 }));
        assert_eq!([12, 13, 14].map(|id| processes.get(id)), [None; 3]);
        assert_eq!(processes.children(10), [11]);
        assert_eq!(processes.descendants(1), [10, 11]);
        assert_eq!(sizes(proc.path(), 12, ["VmRSS"]), None);
    }

    #[test]
    fn sizes_are_read_by_their_whole_names() {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), 10, None);
        std::fs::write(proc.path().join("10/status"), "Name:\tx\nRssAnonymous:\t9 kB\nRssAnon:\t  3 kB\n").unwrap();
        assert_eq!(sizes(proc.path(), 10, ["RssAnon", "RssShmem"]), Some([3 * 1024, 0]));
    }
}
