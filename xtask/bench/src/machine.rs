//! What a run was made on.

use std::fmt;

use serde::Serialize;
use stack::programs;

use crate::cpu;

/// A machine and the programs on it.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    /// nginx, Redis, PostgreSQL, wrk, Rust: as they call themselves.
    programs: Vec<String>,
}

impl Machine {
    /// This one.
    pub(crate) fn read() -> Self {
        let find = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let value = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
            value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib: f64 = find("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: find("/proc/cpuinfo", "model name"),
            cores: cpu::count(),
            memory_gib: (kib / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            // Not how its distributor calls it.
            kernel: kernel.trim().split('-').next().unwrap_or_default().to_owned(),
            programs: [
                ["nginx", "-v"].as_slice(),
                &["redis-server", "--version"],
                &["psql", "--version"],
                &["wrk", "-v"],
                &["rustc", "--version"],
            ]
            .into_iter()
            .filter_map(version)
            .collect(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_gib, kernel, programs } = self;
        let programs = programs.join("; ");
        writeln!(f, "{cores} cores ({processor}), {memory_gib} GiB, Linux {kernel}; {programs}.")
    }
}

/// The first line that a program says of itself, however it ends and wherever it says it.
fn version(line: &[&str]) -> Option<String> {
    let (program, arguments) = line.split_first()?;
    let output = programs::command(programs::find(program)?).args(arguments).output().ok()?;
    let said = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&said).into_owned();
    let line = text.lines().next()?.split(" Copyright").next()?;
    Some(line.split(" sha=").next()?.trim().to_owned())
}
