//! Programs of Python's package index, each in a virtual environment of its own under `target/`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::process::Foreground;
use crate::{profile_dir, programs};

/// Says which package a folder holds, so that another version replaces it.
const STAMP: &str = "installed";

/// Installs `package`, such as `schemathesis==4.32.0`, under `target/<folder>`, unless it is there already, and answers
/// the folder with its programs. Needs [`Tool::Python`](crate::install::Tool::Python); `say` hears what is done.
pub fn install(folder: &str, package: &str, say: &mut dyn FnMut(&str)) -> Result<PathBuf> {
    let folder = profile_dir()?.parent().context("no target folder")?.join(folder);
    let (stamp, binaries) = (folder.join(STAMP), folder.join("bin"));
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == package) {
        return Ok(binaries);
    }
    say(&format!("installing {package} under {}", folder.display()));
    programs::output(programs::command("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = std::process::Command::new(binaries.join("pip"));
    // Building from source would run other people's code unasked, and need a compiler.
    pip.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", package]);
    ensure!(Foreground::start(&mut pip)?.wait()?.success(), "pip could not install {package} (see above)");
    std::fs::write(&stamp, package)?;
    Ok(binaries)
}
