//! Programs that the project needs, and how to come by them.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, anyhow, bail};

use crate::{postgres, process::Foreground, programs};

/// A program, or a set of them that comes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// redis-server.
    Redis,
    /// initdb, postgres and psql.
    Postgres,
    /// nginx.
    Nginx,
    /// node, npm and npx.
    Node,
    /// promtool.
    Promtool,
    /// python3 with its module venv.
    Python,
    /// wrk, which sends requests as fast as it can.
    Wrk,
    /// shellcheck, which knows the traps of shell scripts.
    Shellcheck,
    /// A browser, with letters for Korean.
    Chromium,
}

impl Tool {
    /// Whether it is here.
    pub fn is_installed(self) -> bool {
        match self {
            Self::Redis => programs::find("redis-server").is_some(),
            Self::Postgres => postgres::Programs::find().is_ok_and(|found| programs::is_executable(&found.psql())),
            Self::Nginx => programs::find("nginx").is_some(),
            Self::Node => ["node", "npm", "npx"].iter().all(|name| programs::find(name).is_some()),
            Self::Promtool => programs::find("promtool").is_some(),
            Self::Wrk => programs::find("wrk").is_some(),
            Self::Shellcheck => programs::find("shellcheck").is_some(),
            Self::Chromium => chromium().is_some(),
            // Debian's python3 has venv, but not what venv needs to put pip into it.
            Self::Python => programs::succeeds(&["python3", "-c", "import venv, ensurepip"]),
        }
    }

    fn debian_packages(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &["redis-server"],
            Self::Postgres => &["postgresql"],
            Self::Nginx => &["nginx"],
            // NodeSource's nodejs brings npm with it and conflicts with Debian's.
            Self::Node if programs::find("node").is_some() => &["npm"],
            Self::Node => &["nodejs", "npm"],
            Self::Promtool => &["prometheus"],
            Self::Python => &["python3", "python3-venv"],
            Self::Wrk => &["wrk"],
            Self::Shellcheck => &["shellcheck"],
            Self::Chromium => &["chromium", "fonts-nanum"],
        }
    }

    /// The services that the package would start with the machine.
    fn services(self) -> &'static [&'static str] {
        match self {
            Self::Redis => &["redis-server"],
            Self::Postgres => &["postgresql"],
            Self::Nginx => &["nginx"],
            Self::Node | Self::Python | Self::Wrk | Self::Shellcheck | Self::Chromium => &[],
            Self::Promtool => &["prometheus"],
        }
    }

    fn homebrew_formula(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Postgres => "postgresql@17",
            Self::Nginx => "nginx",
            Self::Node => "node",
            Self::Promtool => "prometheus",
            Self::Python => "python",
            Self::Wrk => "wrk",
            Self::Shellcheck => "shellcheck",
            Self::Chromium => "chromium",
        }
    }
}

/// Where [`Tool::Chromium`] is.
pub fn chromium() -> Option<PathBuf> {
    ["chromium", "google-chrome"].iter().find_map(|name| programs::find(name))
}

/// Makes sure that `tools` are installed: with apt-get where that works without asking anybody
/// anything, otherwise the error says what to install and how. `say` hears what is done.
pub fn ensure(tools: &[Tool], say: &mut dyn FnMut(&str)) -> Result<()> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let Some(root) = root_prefix() else {
        bail!(instructions(&missing));
    };
    let packages = debian_packages(&missing);
    say(&format!("Installing {} with apt-get (their services are not started)", packages.join(", ")));
    install(&root, &missing, &packages).map_err(|error| anyhow!("{error:#}; {}", instructions(&missing)))?;
    let missing = self::missing(tools);
    if !missing.is_empty() {
        bail!(instructions(&missing));
    }
    Ok(())
}

/// Those of `tools` that are not installed.
pub fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools.iter().copied().filter(|tool| !tool.is_installed()).collect()
}

/// How to install `tools` by hand, for Debian and for macOS.
pub fn instructions(tools: &[Tool]) -> String {
    let formulas: Vec<&str> = tools.iter().map(|tool| tool.homebrew_formula()).collect();
    format!(
        "missing programs. On Debian or Ubuntu: `sudo apt-get install {}`; on macOS: `brew install {}`",
        debian_packages(tools).join(" "),
        formulas.join(" ")
    )
}

fn debian_packages(tools: &[Tool]) -> Vec<&'static str> {
    tools.iter().flat_map(|tool| tool.debian_packages()).copied().collect()
}

/// What to put before a command that needs root: nothing or sudo; `None` where neither works
/// unasked, or where there is no apt-get.
fn root_prefix() -> Option<Vec<PathBuf>> {
    programs::find("apt-get")?;
    if programs::is_root() {
        return Some(Vec::new());
    }
    programs::succeeds(&["sudo", "-n", "true"]).then(|| vec!["sudo".into(), "-n".into()])
}

/// `$1`: services to leave disabled, space-separated; the rest: packages.
///
/// A package's service would take its default port, now and at every start of the machine, from
/// whatever else the machine runs: `policy-rc.d` is Debian's way to forbid the first, disabling
/// prevents the second. A service that exists already is somebody's choice and stays as it is.
const SCRIPT: &str = r#"
set -eu
services=''
for service in $1; do
  [ -e "/etc/init.d/$service" ] || services="$services $service"
done
shift
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' HUP INT TERM
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$log" "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' > "$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
wait_for_lock='-o DPkg::Lock::Timeout=120'
# Stale lists may still do, so a failure to renew them is not yet ours.
apt-get $wait_for_lock -q update >"$log" 2>&1 || true
apt-get $wait_for_lock -q -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@" >>"$log" 2>&1 </dev/null || {
  tail -n 30 "$log" >&2
  exit 1
}
for service in $services; do
  if command -v systemctl; then systemctl disable "$service" || true
  elif command -v update-rc.d; then update-rc.d "$service" disable || true
  fi >/dev/null 2>&1
done
"#;

fn install(root: &[PathBuf], tools: &[Tool], packages: &[&str]) -> Result<()> {
    let services: Vec<&str> = tools.iter().flat_map(|tool| tool.services()).copied().collect();
    let mut words = root.iter().cloned().chain(["sh".into()]);
    let mut command: Command = programs::command(words.next().unwrap_or_default());
    command.args(words).args(["-c", SCRIPT, "onsale-install"]).arg(services.join(" ")).args(packages);
    let status = Foreground::start(&mut command)?.wait()?;
    if !status.success() {
        bail!("apt-get failed ({status})");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_instructions_name_both_systems() {
        assert_eq!(
            instructions(&[Tool::Redis, Tool::Nginx]),
            "missing programs. On Debian or Ubuntu: `sudo apt-get install redis-server nginx`; \
             on macOS: `brew install redis nginx`"
        );
    }
}
