//! Finding other people's programs, and running them to their end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Folders that hold servers but are often missing from an ordinary user's `PATH`.
const MORE_FOLDERS: [&str; 5] = ["/usr/sbin", "/usr/local/sbin", "/sbin", "/opt/homebrew/bin", "/usr/local/bin"];

/// The parent's variables that a child is given; everything else is cleared, so that no setting
/// or secret of the caller's shell changes what runs.
pub const KEPT_VARIABLES: [&str; 7] = ["PATH", "HOME", "TZ", "LANG", "TMPDIR", "RUST_LOG", "RUST_BACKTRACE"];

/// The executable `name` in `PATH` or in the usual folders of servers.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

/// Whether `file` exists and may be executed by somebody.
pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A command with [`KEPT_VARIABLES`] only and nothing to read from.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null());
    for name in KEPT_VARIABLES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs `command` to its end and answers its standard output. The error of a failed command holds
/// what it wrote.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
        .and_then(Child::wait_with_output)
        .with_context(|| format!("{name} could not be run"))?;
    if !status.success() {
        bail!("{name} failed ({status}):\n{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

/// Whether the command line runs and succeeds.
pub fn succeeds(line: &[&str]) -> bool {
    let Some((program, arguments)) = line.split_first() else {
        return false;
    };
    let mut command = command(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    spawn(&mut command).and_then(|mut child| child.wait()).is_ok_and(|status| status.success())
}

/// Spawns a child; all of this crate do it here, see [`crate::ports::free_port`].
pub(crate) fn spawn(command: &mut Command) -> std::io::Result<Child> {
    let _lock = crate::ports::forks();
    command.spawn()
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether `setpriv --pdeathsig` works here (Linux with util-linux).
pub(crate) fn has_pdeathsig() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| succeeds(&["setpriv", "--pdeathsig", "KILL", "true"]))
}
