//! Packages of npm, each in a folder of its own under `target/`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process::Foreground;
use crate::{profile_dir, programs};

/// Says which package a folder holds, so that another version replaces it.
const STAMP: &str = "installed";

/// Installs `package`, such as `jose@5.10.0` or several of them with spaces between, under `target/<folder>`, unless they
/// are there already, and answers that folder: `node_modules` is in it. Needs [`Tool::Node`](crate::install::Tool::Node); `say` hears what is done.
pub fn install(folder: &str, package: &str, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let folder = profile_dir()?.parent().context("no target folder")?.join(folder);
    let stamp = folder.join(STAMP);
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == package) {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder)?;
    say(&format!("installing {package} under {}", folder.display()));
    let mut npm = Command::new(programs::find("npm").context("npm is not installed")?);
    // Scripts of packages are other people's code that runs unasked; what is installed here needs none.
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(&folder)
        .args(package.split(' '));
    ensure!(Foreground::start(&mut npm)?.wait()?.success(), "npm could not install {package} (see above)");
    std::fs::write(&stamp, package)?;
    Ok(folder)
}
