//! A shell that outlives this process for a moment to end what it left behind.
//!
//! `setpriv --pdeathsig` covers Linux and single processes. What it can't do is end nginx's
//! workers, which survive a killed master, remove temporary folders of statics (never dropped),
//! or do anything on macOS. The shell holds the read end of a pipe whose only write end is ours:
//! when we are gone, for whatever reason, it reads the end of the file and cleans up.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::programs;

/// Lines: `group <pgid> <signal>`, `forget <pgid> <signal>`, `dir <absolute path>`.
///
/// A group gets its own gentle signal first (PostgreSQL frees its shared memory on QUIT), and two
/// seconds later KILL.
const SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT PIPE
groups=' '
dirs=''
while IFS= read -r line; do
  case $line in
    'group '*) groups="$groups$(printf %s "${line#group }" | tr ' ' ':') " ;;
    'forget '*)
      entry=$(printf %s "${line#forget }" | tr ' ' ':')
      case $groups in *" $entry "*) groups="${groups%%" $entry "*} ${groups#*" $entry "}" ;; esac ;;
    'dir '*) dirs="$dirs${line#dir }
" ;;
  esac
done
for entry in $groups; do kill -s "${entry#*:}" -- "-${entry%:*}"; done
for round in 1 2 3 4 5 6 7 8 9 10; do
  alive=''
  for entry in $groups; do kill -s 0 -- "-${entry%:*}" && alive=yes; done
  [ -z "$alive" ] && break
  sleep 0.2
done
for entry in $groups; do kill -s KILL -- "-${entry%:*}"; done
printf %s "$dirs" | while IFS= read -r dir; do
  rm -rf -- "$dir" || { sleep 1; rm -rf -- "$dir"; }
done
"#;

/// Ends the process group `group` with `signal` (a name without `SIG`) when this process ends.
pub(crate) fn watch_group(group: u32, signal: &str) {
    tell(&format!("group {group} {signal}\n"));
}

/// The group has ended: its number may soon be somebody else's.
pub(crate) fn forget_group(group: u32, signal: &str) {
    tell(&format!("forget {group} {signal}\n"));
}

/// Removes the folder when this process ends.
pub(crate) fn watch_dir(dir: &Path) {
    if let Some(dir) = dir.to_str().filter(|dir| !dir.contains('\n')) {
        tell(&format!("dir {dir}\n"));
    }
}

/// Best effort: where there is no shell, `pdeathsig` and `Drop` still do their part.
fn tell(line: &str) {
    static PIPE: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();
    let Some(pipe) = PIPE.get_or_init(|| start().map(Mutex::new)) else {
        return;
    };
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    // One write per line, well under PIPE_BUF, and nothing to do about a shell that was killed.
    let _ = pipe.write_all(line.as_bytes());
}

fn start() -> Option<ChildStdin> {
    let mut command = Command::new("sh");
    command
        // Not as the argument itself, which would fill everybody's `ps`.
        .args(["-c", "eval \"$ONSALE_WATCHDOG\"", "onsale-watchdog"])
        .env("ONSALE_WATCHDOG", SCRIPT)
        .current_dir("/")
        .stdin(Stdio::piped())
        // It must not keep our own output open for whoever reads it to its end.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A terminal's Ctrl-C goes to our group, not to this one.
        .process_group(0);
    programs::spawn(&mut command).ok()?.stdin.take()
}
