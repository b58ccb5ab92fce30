//! `cargo xtask fuzz-api`: api-spec.yaml tried on a private stack, whatever requests it allows and forbids.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stack::install::Tool;
use stack::onsale::{Onsale, OnsaleOptions, no_rate_limits};
use stack::process::Foreground;
use stack::programs;
use stack::redis::{Redis, RedisOptions};

use crate::ui::{self, Colour};

const SCHEMATHESIS: &str = "schemathesis==4.32.0";
/// Who tries; see tests/fuzz/hooks.py. The admin is last: who closes rooms spoils them for others.
const ROLES: [&str; 3] = ["nobody", "user", "admin"];
/// Streams have no end to wait for.
const NOT_TRIED: &str = "/events$|^/admin/queues/[^/]+/live$";
/// For each operation and role, where a run is not bounded by time.
const EXAMPLES: u32 = 15;
/// A seed for runs that must be the same each time.
pub(crate) const FIXED_SEED: u64 = 1;
/// The part of a failed run's output that says what failed.
const FAILURES: &str = "= FAILURES =";

/// Try api-spec.yaml on a private stack with made-up requests.
///
/// Signed in and not, every operation is sent what the specification allows and what it forbids (schemathesis, all its
/// checks), through nginx. Then everything about seats and money must still hold. Exit status 1 where an answer is none
/// that the specification has for the request.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// For about how long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_440))]
    minutes: u64,
    /// Makes up the same requests as an earlier run [default: a new one, which is shown]
    #[arg(long)]
    seed: Option<u64>,
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub(crate) seed: u64,
    /// In all; else a fixed number of examples.
    pub(crate) time: Option<Duration>,
}

pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let time = Duration::from_mins(options.minutes);
    let seed = options.seed.unwrap_or_else(new_seed);
    ui::say(&format!("trying api-spec.yaml for about {}, --seed {seed}", ui::seconds(time)));
    ui::install(&[Tool::Redis, Tool::Postgres, Tool::Nginx, Tool::Python])?;
    let mut build = crate::cargo();
    build.args(["build", "--workspace", "--bins"]).current_dir(stack::project_root());
    if !Foreground::start(&mut build)?.wait()?.success() {
        bail!("it does not build, see above");
    }
    let schemathesis = install()?;
    let failed = fuzz(&schemathesis, Extent { seed, time: Some(time) })?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Installs schemathesis where it is missing; the program.
pub(crate) fn install() -> Result<PathBuf> {
    let folder = stack::pip::install("schemathesis", SCHEMATHESIS, &mut |line| ui::say(&format!("  {line}")))?;
    Ok(folder.join("schemathesis"))
}

/// Tries everything in every role; in how many of them something failed. Needs all servers installed and the binaries
/// built.
pub(crate) fn fuzz(schemathesis: &Path, extent: Extent) -> Result<usize> {
    // The rooms of the demo's concerts have the same keys in every stack.
    let redis = Redis::start(&RedisOptions::default())?;
    let onsale = Onsale::start(&options(&redis))?;
    let logs = stack::profile_dir()?.parent().context("no target folder")?.join("fuzz-api");
    fs::create_dir_all(&logs)?;
    let mut failed = 0;
    for role in ROLES {
        let log = logs.join(format!("{role}.txt"));
        let begun = Instant::now();
        let passed = try_as(role, &mut command(schemathesis, &onsale.url(), role, extent, &logs), &log)?;
        failed += usize::from(!passed);
        let time = ui::seconds(begun.elapsed());
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if passed {
            ui::say(&format!("  {} as {role}: {} ({time})", ui::paint(Colour::Green, "✓"), cases(&text)));
        } else {
            ui::say(text.split_once(FAILURES).map_or(text.as_str(), |(_, failures)| failures));
            ui::say(&format!("  {} as {role} ({time}), {}", ui::paint(Colour::Red, "✗"), log.display()));
        }
    }
    onsale.setup().audit().context("after these requests something does not hold that must")?;
    Ok(failed)
}

/// As many requests as come: that there are limits is tested elsewhere.
fn options(redis: &Redis) -> OnsaleOptions {
    let [gateway_env, mut core_api_env] = no_rate_limits();
    // Without it there are no webhooks to be tried.
    core_api_env.insert("WEBHOOK_SECRET_KEYS".to_owned(), "a-key-for-the-secrets-of-made-up-webhooks".to_owned());
    OnsaleOptions { redis_url: Some(redis.url()), gateway_env, core_api_env, ..OnsaleOptions::default() }
}

/// `folder` takes what it keeps of a run.
fn command(schemathesis: &Path, url: &str, role: &str, extent: Extent, folder: &Path) -> Command {
    let root = stack::project_root();
    let mut command = programs::command(schemathesis);
    command
        .arg("--config-file")
        .arg(root.join("tests/fuzz/schemathesis.toml"))
        .arg("run")
        .arg(root.join("api-spec.yaml"))
        .args(["--checks", "all"])
        .args(["--continue-on-failure", "--request-timeout", "10", "--exclude-path-regex", NOT_TRIED])
        .args(["--url", url, "--seed", &extent.seed.to_string(), "--no-color"])
        .env("SCHEMATHESIS_HOOKS", root.join("tests/fuzz/hooks.py"))
        .env("ONSALE_FUZZ_AS", role)
        .env("ONSALE_FUZZ_URL", url)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(folder);
    match extent.time {
        Some(time) => {
            let share = time.as_secs() / u64::try_from(ROLES.len()).unwrap_or(1);
            command.args(["--max-time", &share.to_string()])
        }
        None => command.args(["--max-examples", &EXAMPLES.to_string()]),
    };
    command
}

/// Whether it passed; what it said is in `log` then.
fn try_as(role: &str, command: &mut Command, log: &Path) -> Result<bool> {
    let file = File::create(log).with_context(|| log.display().to_string())?;
    command.stdout(file.try_clone()?).stderr(file);
    let spinner = ui::spinner(&format!("as {role}"));
    let status = Foreground::start(command)?.wait();
    spinner.finish_and_clear();
    match status?.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        // It could not even begin.
        _ => bail!("schemathesis failed; {}", log.display()),
    }
}

/// `2214 generated, 2214 passed`, as it says.
fn cases(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| line.contains(" generated, ")).unwrap_or("nothing tried")
}

/// Nothing needs it to be random, only another one each time.
fn new_seed() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::from(since_1970.unwrap_or_default().subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_shared_among_the_roles() {
        let words = |extent| {
            let command = command(Path::new("st"), "http://x", "user", extent, Path::new("/"));
            command.get_args().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert!(words(Extent { seed: 7, time: Some(Duration::from_mins(3)) }).ends_with("--max-time 60"));
        assert!(words(Extent { seed: 7, time: None }).contains("--seed 7 "));
    }

    #[test]
    fn the_number_of_cases_is_found() {
        assert_eq!(
            cases("mostly rejected generated data\nTest cases:\n  12 generated, 12 passed\n\nSeed: 1"),
            "12 generated, 12 passed"
        );
    }
}
