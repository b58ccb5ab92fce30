//! Where the load goes and where the truth is read: flags, the environment, or the local stack's file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::config::Reader;
use common::tokens::{SESSION_SECRET, SessionKeys};
use lua::{REDIS_MODE, REDIS_SENTINEL_MASTER, REDIS_SENTINEL_PASSWORD, REDIS_URL, RedisSettings};
use reqwest::Url;

use crate::invariants::Stores;
use crate::room::Limits;
use crate::usage::Watched;

/// Written by `cargo xtask up`, in the current folder or one above.
const STACK_FILE: &str = ".onsale/stack.env";
/// How long Redis may take for one look.
const REDIS_TIMEOUT: Duration = Duration::from_secs(5);
/// The same, with what must stay secret.
const SECRETS_FILE: &str = ".onsale/secrets.env";
const DEFAULT_URL: &str = "http://localhost:8080";

/// Which stack to use, from the command line.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct TargetArgs {
    #[arg(long, help = "Public origin [default: that of the running `cargo xtask up`, else http://localhost:8080]")]
    url: Option<Url>,
    #[arg(
        long,
        env = "DATABASE_URL",
        hide_env_values = true,
        help = "PostgreSQL to check [default: that of the running `cargo xtask up`]"
    )]
    database_url: Option<String>,
    #[arg(
        long,
        env = "REDIS_URL",
        hide_env_values = true,
        help = "Redis to check; several, separated by commas, are a cluster's nodes, or as REDIS_MODE says \
                [default: that of `cargo xtask up`]"
    )]
    redis_url: Option<String>,
    #[arg(long, env = "ADMIT_PER_SECOND", help = "Admissions per second, where a room has no setting of its own")]
    admit_per_second: Option<f64>,
    #[arg(long, env = "BURST", help = "Admissions at once above that rate, where a room has no setting of its own")]
    burst: Option<f64>,
    #[arg(long, env = "MAX_ACTIVE", help = "Admitted visitors at a time, where a room has no setting of its own")]
    max_active: Option<u64>,
    #[arg(long, help = "Allow a target that is not this machine: only for systems that you may load")]
    i_own_this_target: bool,
}

impl TargetArgs {
    /// The origin to load, without a trailing slash. Fails for anything but plain http on this
    /// machine, unless the caller vouched for it.
    pub(crate) fn origin(&self) -> Result<String> {
        let url = match (&self.url, stack_file()?.remove("URL")) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => url.parse().with_context(|| format!("URL in {STACK_FILE}"))?,
            (None, None) => DEFAULT_URL.parse()?,
        };
        ensure!(url.scheme() == "http", "--url {url}: only http:// is supported (put the load before TLS)");
        ensure!(
            self.i_own_this_target || is_loopback(&url),
            "--url {url} is not this machine: load only what you may load, and say so with --i-own-this-target"
        );
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    /// Where the seats, the money and the queue are.
    pub(crate) fn stores(&self) -> Result<Stores> {
        let mut file = stack_file()?;
        let database_url = self.database_url.clone().or_else(|| file.remove("DATABASE_URL"));
        let from_flag = self.redis_url.is_some();
        let redis_url = self.redis_url.clone().or_else(|| file.remove(REDIS_URL.name));
        let (Some(database_url), Some(redis_url)) = (database_url, redis_url) else {
            bail!(
                "nothing says where PostgreSQL and Redis are: start the stack with `cargo xtask up` \
                 (it writes {STACK_FILE}), or give --database-url and --redis-url, or skip the checks with --no-check"
            );
        };
        let redis =
            redis_settings(
                redis_url,
                |name| if from_flag { std::env::var(name).ok() } else { file.get(name).cloned() },
            )?;
        Ok(Stores { database_url, redis })
    }

    /// The same for those who only need rooms: the database may be unknown, and its URL is empty then.
    pub(crate) fn room_stores(&self) -> Result<Stores> {
        // Of one stack both, or what is checked is not what is loaded.
        let of_stack = if self.redis_url.is_some() { None } else { stack_file()?.remove("DATABASE_URL") };
        let database_url = self.database_url.clone().or(of_stack).unwrap_or_default();
        Self { database_url: Some(database_url), ..self.clone() }.stores()
    }

    /// Keys that make sessions which the stack takes for its own. The secret is that of `file`, else of the
    /// environment, else of the stack that runs in this checkout.
    pub(crate) fn session_keys(file: Option<&Path>) -> Result<SessionKeys> {
        let here = std::env::current_dir().context("the current folder is unknown")?;
        let given =
            std::env::var(SESSION_SECRET.name).ok().filter(|secret| file.is_none() && !secret.trim().is_empty());
        let file = file.map(Path::to_owned).or_else(|| find_upwards(&here, SECRETS_FILE));
        let secret = match (given, file) {
            (Some(secret), _) => secret,
            (None, Some(file)) => secret_in(&file)?,
            (None, None) => bail!(
                "nothing says what sessions are signed with: start the stack with `cargo xtask up` (it writes \
                 {SECRETS_FILE}), or set SESSION_SECRET, or give --session-secret-file"
            ),
        };
        let secrets: Vec<_> = secret.split(',').map(str::trim).collect();
        SessionKeys::new(&secrets).map_err(|error| anyhow!("SESSION_SECRET {error}"))
    }

    /// `PostgreSQL`, where accounts are made.
    pub(crate) fn database_url(&self) -> Result<String> {
        let url = self.database_url.clone().or(stack_file()?.remove("DATABASE_URL"));
        url.context(
            "nothing says where PostgreSQL is, in which the accounts are prepared: start the stack with `cargo xtask up`, \
             or give --database-url",
        )
    }

    /// The stack's processes on this machine, or why they are not known.
    pub(crate) fn processes(&self, given: &[Watched]) -> Result<std::result::Result<Vec<Watched>, String>> {
        if !given.is_empty() {
            return Ok(Ok(given.to_vec()));
        }
        let mut file = stack_file()?;
        let ours = file.remove("URL").is_some_and(|ours| self.origin().is_ok_and(|origin| origin == ours));
        if !ours {
            return Ok(
                Err("the stack is not one that `cargo xtask up` runs here; --processes names others".to_owned()),
            );
        }
        let Some(processes) = file.remove("PROCESSES") else {
            return Ok(Err(format!("{STACK_FILE} names no processes; --processes does")));
        };
        let watched: std::result::Result<_, String> = processes.split(',').map(Watched::from_str).collect();
        Ok(watched.map_err(|fault| format!("{STACK_FILE}: {fault}")))
    }

    /// What the gateways were told about rooms without settings of their own, as far as it is known.
    pub(crate) fn limits(&self) -> Result<Limits> {
        let file = stack_file()?;
        Ok(Limits {
            admit_per_second: self.admit_per_second.or_else(|| setting(&file, "ADMIT_PER_SECOND")),
            burst: self.burst.or_else(|| setting(&file, "BURST")),
            max_active: self.max_active.or_else(|| setting(&file, "MAX_ACTIVE")),
        })
    }
}

/// The gateways' settings of a Redis at these URLs, with a judge's patience; `setting` looks up all but the URLs.
fn redis_settings(urls: String, setting: impl Fn(&str) -> Option<String>) -> Result<RedisSettings> {
    let several = urls.contains(',').then(|| "cluster".to_owned());
    let mode = setting(REDIS_MODE.name).or(several);
    let variables = [
        (REDIS_URL.name, Some(urls)),
        (REDIS_MODE.name, mode),
        (REDIS_SENTINEL_MASTER.name, setting(REDIS_SENTINEL_MASTER.name)),
        (REDIS_SENTINEL_PASSWORD.name, setting(REDIS_SENTINEL_PASSWORD.name)),
    ];
    let mut reader = Reader::new(variables.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    let settings = RedisSettings::read(&mut reader);
    Ok(RedisSettings { call_timeout: REDIS_TIMEOUT, ..reader.finish_with(settings)? })
}

fn setting<T: FromStr>(file: &HashMap<String, String>, name: &str) -> Option<T> {
    file.get(name).and_then(|value| value.parse().ok())
}

/// The settings of the stack that runs in this checkout; empty when none does.
fn stack_file() -> Result<HashMap<String, String>> {
    let here = std::env::current_dir().context("the current folder is unknown")?;
    let Some(path) = find_upwards(&here, STACK_FILE) else {
        return Ok(HashMap::new());
    };
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(parse_env(&text))
}

/// `SESSION_SECRET` of a file of settings. Whatever is wrong with it, nothing of it is shown.
fn secret_in(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let secret = parse_env(&text).remove(SESSION_SECRET.name);
    secret.with_context(|| format!("{} has no line SESSION_SECRET=…", file.display()))
}

fn find_upwards(from: &Path, name: &str) -> Option<PathBuf> {
    from.ancestors().map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn parse_env(text: &str) -> HashMap<String, String> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .collect()
}

fn is_loopback(url: &Url) -> bool {
    // The URL parser keeps the brackets of an IPv6 address.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use lua::Mode;

    use super::*;

    #[test]
    fn only_this_machine_is_loaded_unasked() {
        for (url, loopback) in [
            ("http://localhost:8080", true),
            ("http://127.0.0.1:1", true),
            ("http://127.8.8.8/", true),
            ("http://[::1]:8080", true),
            ("http://example.com", false),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://10.0.0.1", false),
            ("http://[::ffff:10.0.0.1]", false),
        ] {
            assert_eq!(is_loopback(&url.parse().unwrap()), loopback, "{url}");
        }
        let mut args = TargetArgs {
            url: Some("http://203.0.113.1/".parse().unwrap()),
            database_url: None,
            redis_url: None,
            admit_per_second: None,
            burst: None,
            max_active: None,
            i_own_this_target: false,
        };
        assert!(args.origin().unwrap_err().to_string().contains("--i-own-this-target"));
        args.i_own_this_target = true;
        assert_eq!(args.origin().unwrap(), "http://203.0.113.1");
    }

    #[test]
    fn redis_is_what_redis_mode_says_or_else_as_many_urls_are_given() {
        let mode = |urls: &str, mode: Option<&str>| {
            let setting = |name: &str| mode.filter(|_| name == REDIS_MODE.name).map(str::to_owned);
            redis_settings(urls.to_owned(), setting).map(|settings| settings.mode)
        };
        let (one, two) = ("redis://a:1", "redis://a:1,redis://b:2");
        assert_eq!(mode(one, None).unwrap(), Mode::Standalone);
        assert_eq!(mode(two, None).unwrap(), Mode::Cluster);
        assert_eq!(mode(one, Some("cluster")).unwrap(), Mode::Cluster);
        assert!(matches!(mode(two, Some("sentinel")).unwrap(), Mode::Sentinel(asked) if asked.master == "onsale"));
        assert!(mode(one, Some("both")).unwrap_err().to_string().contains("REDIS_MODE"));
    }

    #[test]
    fn the_secret_of_a_file_signs_and_is_not_shown_when_it_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secrets.env");
        let keys = |text: &str| {
            std::fs::write(&file, text).unwrap();
            TargetArgs::session_keys(Some(&file))
        };
        assert!(
            keys(
                "TICKET_SECRET=x\nSESSION_SECRET=a-new-secret-of-sufficient-length-1,an-old-secret-of-some-length-333\n"
            )
            .is_ok()
        );
        let error = keys("SESSION_SECRET=too-short\n").unwrap_err();
        assert!(error.to_string().contains("32") && !format!("{error:#}").contains("too-short"), "{error:#}");
        assert!(keys("TICKET_SECRET=x\n").unwrap_err().to_string().contains("SESSION_SECRET"));
        assert!(TargetArgs::session_keys(Some(Path::new("/nowhere/secrets.env"))).is_err());
    }

    #[test]
    fn the_stack_file_is_read_line_by_line() {
        let read =
            parse_env("# comment\nURL=http://127.0.0.1:8080\n\nDATABASE_URL=postgres://app@h/db?x=y\nnonsense\n");
        assert_eq!(read["URL"], "http://127.0.0.1:8080");
        assert_eq!(read["DATABASE_URL"], "postgres://app@h/db?x=y");
        assert_eq!(read.len(), 2);
    }
}
