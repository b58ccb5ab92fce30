//! Where Redis is: the settings of every process that uses it.

use std::time::Duration;

use common::config::{Reader, Setting};

use crate::connection::{Mode, RedisSettings, SentinelSettings};

/// Where Redis is.
pub const REDIS_URL: Setting = Setting {
    name: "REDIS_URL",
    default: None,
    unit: "`redis://…`; in cluster and sentinel mode several, comma-separated",
    meaning: "The Redis that holds the rooms and the seat locks. In cluster mode any of its nodes; in sentinel mode the \
              sentinels, the first with the user, password and database of the data nodes.",
};
/// How it is set up.
pub const REDIS_MODE: Setting = Setting {
    name: "REDIS_MODE",
    default: Some("standalone"),
    unit: "`standalone`, `cluster` or `sentinel`",
    meaning: "Whether Redis is one server, a cluster, or a master that sentinels watch and replace.",
};
/// Which master the sentinels are asked for.
pub const REDIS_SENTINEL_MASTER: Setting = Setting {
    name: "REDIS_SENTINEL_MASTER",
    default: Some("onsale"),
    unit: "name",
    meaning: "What the sentinels call the master; for sentinel mode only.",
};
/// What the sentinels want to know first.
pub const REDIS_SENTINEL_PASSWORD: Setting = Setting {
    name: "REDIS_SENTINEL_PASSWORD",
    default: Some(""),
    unit: "text",
    meaning: "What the sentinels themselves ask for, where they do; for sentinel mode only.",
};
/// How long it may take.
pub const REDIS_TIMEOUT_MS: Setting = Setting {
    name: "REDIS_TIMEOUT_MS",
    default: Some("1000"),
    unit: "milliseconds",
    meaning: "How long one call to Redis may take; several have to fit into a request.",
};

impl RedisSettings {
    /// Reads them. `None` is a fault already noted.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let urls = reader.list(&REDIS_URL);
        let mode = mode(reader);
        let timeout_ms = reader.number(&REDIS_TIMEOUT_MS, 10..=3_000_u64);
        (!urls.is_empty()).then_some(Self { urls, mode: mode?, call_timeout: Duration::from_millis(timeout_ms?) })
    }
}

fn mode(reader: &mut Reader) -> Option<Mode> {
    match reader.text(&REDIS_MODE).as_str() {
        "standalone" => Some(Mode::Standalone),
        "cluster" => Some(Mode::Cluster),
        "sentinel" => {
            let master = reader.text(&REDIS_SENTINEL_MASTER);
            let password = Some(reader.text(&REDIS_SENTINEL_PASSWORD)).filter(|password| !password.is_empty());
            Some(Mode::Sentinel(SentinelSettings { master, password }))
        }
        _ => {
            reader.fault(&REDIS_MODE, format_args!("is not readable as {}", REDIS_MODE.unit));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Option<RedisSettings> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        RedisSettings::read(&mut Reader::new(pairs))
    }

    #[test]
    fn the_mode_says_what_else_is_read() {
        let url = ("REDIS_URL", "redis://a:1, redis://b:2");
        assert_eq!(read(&[url]).map(|read| read.mode), Some(Mode::Standalone));
        assert_eq!(read(&[url, ("REDIS_MODE", "cluster")]).map(|read| read.mode), Some(Mode::Cluster));
        let sentinel = |master: &str, password: Option<&str>| {
            Some(Mode::Sentinel(SentinelSettings { master: master.to_owned(), password: password.map(str::to_owned) }))
        };
        let mode = ("REDIS_MODE", "sentinel");
        assert_eq!(read(&[url, mode]).map(|read| read.mode), sentinel("onsale", None));
        let full = [url, mode, ("REDIS_SENTINEL_MASTER", "m"), ("REDIS_SENTINEL_PASSWORD", "p")];
        assert_eq!(read(&full).map(|read| read.mode), sentinel("m", Some("p")));
        assert!(read(&[url, ("REDIS_MODE", "both")]).is_none());
    }

    #[test]
    fn no_password_is_shown() {
        let settings = read(&[
            ("REDIS_URL", "redis://user:hunter2@a:1"),
            ("REDIS_MODE", "sentinel"),
            ("REDIS_SENTINEL_PASSWORD", "hunter3"),
        ]);
        let shown = format!("{settings:?}");
        assert!(shown.contains("onsale") && !shown.contains("hunter"), "{shown}");
    }
}
