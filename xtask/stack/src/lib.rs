//! Private Redis, PostgreSQL, nginx and Onsale processes: what `cargo xtask up` runs and what
//! the integration tests run against.
//!
//! Everything here is synchronous and needs no async runtime, so that it can be called from a
//! test's setup, from a `OnceLock` or from a plain `main`. In an async test the calls that start
//! or stop something block their thread for up to some seconds; that is fine in a test.
//!
//! Who wants what:
//! - a Redis, Redis Cluster or database for a test: [`shared`];
//! - a server of one's own, to kill, pause or restart: [`redis::Redis`], [`redis::RedisCluster`],
//!   [`redis::RedisSentinel`], [`postgres::Postgres`], [`nginx::Nginx`];
//! - gateways and core-apis: [`onsale`];
//! - any other child process: [`process::Launch`].
//!
//! Nothing outlives the process that started it, however that process ends: see [`process`].

mod foreground;
pub mod http;
pub mod install;
pub mod nginx;
pub mod npm;
pub mod onsale;
mod onsale_stack;
pub mod pip;
pub mod plain_nginx;
pub mod ports;
pub mod postgres;
mod postgres_server;
pub mod proc_fs;
pub mod process;
pub mod programs;
pub mod redis;
mod redis_cluster;
mod redis_sentinel;
mod resp;
pub mod scratch;
pub mod shared;
pub mod wait;
mod watchdog;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The checkout's root folder.
pub fn project_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The folder of the build profile this executable was built with, such as `target/debug`.
pub fn profile_dir() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("the path of this executable is unknown")?;
    let folder = executable.parent().context("this executable is in no folder")?;
    // Test executables live one level deeper than binaries.
    let profile = if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    Ok(profile.to_path_buf())
}

/// The workspace's binary `name` (`gateway`, `core-api`, …), built with the same profile as this
/// executable.
///
/// Cargo builds other packages' binaries for nobody's tests, so it fails when the binary is
/// missing, and says what to run.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = profile_dir()?.join(name);
    ensure!(
        path.is_file(),
        "{} is missing: run `cargo build --workspace --bins` first (`cargo xtask test` does)",
        path.display()
    );
    Ok(path)
}
