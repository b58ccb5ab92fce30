//! Temporary folders that are removed even when the process that made them is killed.

use std::path::Path;

use anyhow::{Context, Result};

/// A temporary folder, removed on drop and, if it never comes to that, when this process ends.
#[derive(Debug)]
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A new empty folder whose name begins with `onsale-<name>-`.
    pub fn new(name: &str) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("onsale-{name}-"))
            .tempdir()
            .context("no temporary folder could be made")?;
        crate::watchdog::watch_dir(dir.path());
        Ok(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
