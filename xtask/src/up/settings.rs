//! The services' settings: those of this environment reach them, and the load tests learn where the stack is.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use stack::onsale::Setup;
use stack::programs;

use super::plan::Plan;

/// Read by `cargo xtask load`, there while the stack runs.
const STACK_FILE: &str = "stack.env";
/// Its owner's only: the database's URL may hold a password.
const PRIVATE_FILE_MODE: u32 = 0o600;
/// What `up` decides itself.
const OURS: [&str; 13] = [
    "GATEWAY_LISTEN",
    "CORE_API_LISTEN",
    "CORE_API_URLS",
    "PUBLIC_URL",
    "REDIS_URL",
    "REDIS_MODE",
    "DATABASE_URL",
    "SESSION_SECRET",
    "TICKET_SECRET",
    "PASS_PRIVATE_KEYS",
    "PASS_PUBLIC_KEYS",
    "ENTRY_TICKET_PRIVATE_KEYS",
    "TRUSTED_PROXIES",
];
/// What the load tests have to know of rooms without settings of their own.
const LIMITS: [&str; 3] = ["ADMIT_PER_SECOND", "BURST", "MAX_ACTIVE"];

/// What they have to know of sentinels, where it is not the default.
const SENTINELS: [&str; 2] = ["REDIS_SENTINEL_MASTER", "REDIS_SENTINEL_PASSWORD"];

/// A service's settings by name, with the value of this environment, else the default.
#[derive(Debug, Default)]
pub(super) struct Settings(BTreeMap<String, Value>);

#[derive(Debug)]
struct Value {
    given: Option<String>,
    default: String,
}

impl Settings {
    /// Those that `binary settings` lists, so that a new one needs no second list here.
    pub(super) fn of(binary: &Path) -> Result<Self> {
        let table = programs::output(Command::new(binary).arg("settings")).context("its settings")?;
        Ok(Self::read(&table, |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty())))
    }

    fn read(table: &str, given: impl Fn(&str) -> Option<String>) -> Self {
        let row = |line: &str| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.trim_end_matches('`').to_owned();
            let default = cells.nth(1)?.trim_matches('`').to_owned();
            Some((name.clone(), Value { given: given(&name), default }))
        };
        Self(table.lines().filter_map(row).collect())
    }

    /// What this environment says of them, but for what `up` decides.
    pub(super) fn given(&self) -> BTreeMap<String, String> {
        let given = |(name, value): (&String, &Value)| Some((name.clone(), value.given.clone()?));
        self.0.iter().filter(|(name, _)| !OURS.contains(&name.as_str())).filter_map(given).collect()
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.given.as_ref().unwrap_or(&value.default).as_str())
    }
}

/// Tells the load tests where the stack is, which `processes` it has (`name=id`, comma-separated), and what its limits are.
pub(super) fn write_stack_file(plan: &Plan, setup: &Setup, gateway: &Settings, processes: &str) -> Result<()> {
    let mode = setup.redis_mode.as_str();
    let mut text = format!(
        "URL={}\nDATABASE_URL={}\nREDIS_URL={}\nREDIS_MODE={mode}\nPROCESSES={processes}\n",
        plan.url(),
        setup.database_url,
        setup.redis_url
    );
    let given = gateway.given();
    let limits = LIMITS.iter().filter_map(|name| Some((*name, gateway.value(name)?)));
    let sentinels = SENTINELS.iter().filter_map(|name| Some((*name, given.get(*name)?.as_str())));
    for (name, value) in limits.chain(sentinels) {
        text.extend([name, "=", value, "\n"]);
    }
    let path = plan.data.join(STACK_FILE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(PRIVATE_FILE_MODE).open(&path)?;
    file.write_all(text.as_bytes()).with_context(|| path.display().to_string())
}

/// Takes that back: the stack is gone.
pub(super) fn remove_stack_file(data: &Path) {
    // It may never have been written.
    let _ = std::fs::remove_file(data.join(STACK_FILE));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_s_settings_reach_the_service_but_for_what_up_decides() {
        let table = "| Variable | Unit | Default | Meaning |\n|---|---|---|---|\n\
                     | `BURST` | persons | `50` | How many. |\n| `MAX_ACTIVE` | persons | `500` | How many. |\n\
                     | `REDIS_URL` | URL | required | Where. |\n";
        let settings = Settings::read(table, |name| match name {
            "BURST" | "REDIS_URL" => Some("7".to_owned()),
            _ => None,
        });
        assert_eq!(settings.given(), BTreeMap::from([("BURST".to_owned(), "7".to_owned())]));
        assert_eq!((settings.value("BURST"), settings.value("MAX_ACTIVE")), (Some("7"), Some("500")));
        assert_eq!(settings.value("NOTHING"), None);
    }
}
