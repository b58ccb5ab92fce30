//! The gateway's settings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::config::{Faults, Reader, Setting};
use common::http::{PUBLIC_URL, SetCookie};
use common::telemetry;
use common::tokens::{PassSigner, SESSION_SECRET, SessionKeys, TicketKeys, read_keys};
use http::Uri;
use ipnet::IpNet;
use lua::{REDIS_MODE, REDIS_SENTINEL_MASTER, REDIS_SENTINEL_PASSWORD, REDIS_TIMEOUT_MS, REDIS_URL, RedisSettings};

use crate::domain::{ProtectedRoutes, RoomDefaults};
use crate::rate_limits::{self, RateLimits};

const LISTEN: Setting = Setting {
    name: "GATEWAY_LISTEN",
    default: Some("127.0.0.1:3101"),
    unit: "address:port",
    meaning: "Where the gateway listens.",
};
const METRICS_LISTEN: Setting = Setting {
    name: "GATEWAY_METRICS_LISTEN",
    default: Some(""),
    unit: "address:port",
    meaning: "Where Prometheus reads figures at `/metrics`, which is for nobody else to reach; without it none are kept.",
};
const CORE_API_URLS: Setting = Setting {
    name: "CORE_API_URLS",
    default: Some("http://127.0.0.1:3201"),
    unit: "URLs, comma-separated",
    meaning: "The replicas of core-api.",
};
const UPSTREAM_URL: Setting = Setting {
    name: "UPSTREAM_URL",
    default: Some(""),
    unit: "URLs, comma-separated",
    meaning: "A site of any kind to protect instead of core-api, its replicas.",
};
const PROTECTED_ROUTES: Setting = Setting {
    name: "PROTECTED_ROUTES",
    default: Some(""),
    unit: "`METHOD /path ROOM-ID`, separated by semicolons",
    meaning: "What of that site needs admission, and to which room; `*` stands for any method or one part of a path, \
              `**` at its end for all that follows.",
};
const VISITORS: Setting = Setting {
    name: "VISITORS",
    default: Some("accounts"),
    unit: "`accounts` or `anonymous`",
    meaning: "Who may wait: people with a session of ours, or whoever comes; the latter only before a site of any kind.",
};
const TICKET_SECRET: Setting = Setting {
    name: "TICKET_SECRET",
    default: None,
    unit: "text of 32 characters or more; several, comma-separated",
    meaning: "Signs queue tickets, known to gateways only; the first signs, all verify.",
};
const PASS_PRIVATE_KEYS: Setting = Setting {
    name: "PASS_PRIVATE_KEYS",
    default: None,
    unit: "Ed25519 seeds in base64url, comma-separated",
    meaning: "Sign admission passes; the first signs, all are published.",
};
const TRUSTED_PROXIES: Setting = Setting {
    name: "TRUSTED_PROXIES",
    default: Some("127.0.0.0/8,::1/128"),
    unit: "networks, comma-separated",
    meaning: "Who may say in `X-Real-IP` which address a client has.",
};
const ADMIT_PER_SECOND: Setting = Setting {
    name: "ADMIT_PER_SECOND",
    default: Some("50"),
    unit: "persons a second, fractions allowed",
    meaning: "How fast a room admits that has no setting of its own.",
};
const BURST: Setting = Setting {
    name: "BURST",
    default: Some("50"),
    unit: "persons",
    meaning: "How many such a room may admit at once after a lull.",
};
const MAX_ACTIVE: Setting = Setting {
    name: "MAX_ACTIVE",
    default: Some("500"),
    unit: "persons",
    meaning: "How many may be inside such a room at once.",
};
const DATABASE_URL: Setting = Setting {
    name: "QUEUE_DATABASE_URL",
    default: Some(""),
    unit: "`postgres://…`",
    meaning: "The PostgreSQL database in which the rooms are recorded, to put them together again and to steer them; \
              without one neither is possible.",
};
const DATABASE_MAX_CONNECTIONS: Setting = Setting {
    name: "QUEUE_DATABASE_MAX_CONNECTIONS",
    default: Some("4"),
    unit: "connections",
    meaning: "How many connections to it one gateway holds at most.",
};
const SESSION_SECONDS: Setting = Setting {
    name: "SESSION_SECONDS",
    default: Some("600"),
    unit: "seconds",
    meaning: "How long an admission to such a room lasts.",
};
const CLAIM_SECONDS: Setting = Setting {
    name: "CLAIM_SECONDS",
    default: Some("45"),
    unit: "seconds",
    meaning: "How long a turn in such a room may be claimed.",
};
const MAX_IN_FLIGHT: Setting = Setting {
    name: "GATEWAY_MAX_IN_FLIGHT",
    default: Some("10000"),
    unit: "requests",
    meaning: "Requests under way at once, of which half may be core-api's; more are answered 503 `overloaded`.",
};
const MAX_STREAMS: Setting = Setting {
    name: "GATEWAY_MAX_STREAMS",
    default: Some("20000"),
    unit: "streams",
    meaning: "Event streams open at once; more are answered 503 `overloaded`, and their clients poll.",
};
const MAX_CONNECTIONS: Setting = Setting {
    name: "GATEWAY_MAX_CONNECTIONS",
    default: Some("32000"),
    unit: "connections",
    meaning: "Connections open at once; further ones wait to be accepted.",
};

/// All of them, in the order in which README shows them.
pub const SETTINGS: &[Setting] = &[
    LISTEN,
    METRICS_LISTEN,
    PUBLIC_URL,
    CORE_API_URLS,
    UPSTREAM_URL,
    PROTECTED_ROUTES,
    VISITORS,
    REDIS_URL,
    REDIS_MODE,
    REDIS_SENTINEL_MASTER,
    REDIS_SENTINEL_PASSWORD,
    REDIS_TIMEOUT_MS,
    DATABASE_URL,
    DATABASE_MAX_CONNECTIONS,
    SESSION_SECRET,
    TICKET_SECRET,
    PASS_PRIVATE_KEYS,
    TRUSTED_PROXIES,
    ADMIT_PER_SECOND,
    BURST,
    MAX_ACTIVE,
    SESSION_SECONDS,
    CLAIM_SECONDS,
    MAX_IN_FLIGHT,
    MAX_STREAMS,
    MAX_CONNECTIONS,
    rate_limits::JOINS_PER_MINUTE_PER_USER,
    rate_limits::POLLS_PER_MINUTE_PER_USER,
    rate_limits::RESERVATIONS_PER_MINUTE_PER_USER,
    rate_limits::LOGINS_PER_MINUTE_PER_ADDRESS,
    rate_limits::UNVERIFIED_PER_MINUTE_PER_ADDRESS,
    telemetry::LOG_FORMAT,
    telemetry::RUST_LOG,
];

/// The gateway's configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it tells figures, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// How it writes cookies.
    pub cookies: SetCookie,
    /// The replicas of core-api.
    pub core_api_urls: Vec<Uri>,
    /// The site that is protected instead of core-api, if any.
    pub site: Option<ProtectedSite>,
    /// Where the rooms are.
    pub redis: RedisSettings,
    /// Where they are recorded, if anywhere.
    pub record: Option<RecordSettings>,
    /// Verify user sessions.
    pub sessions: Arc<SessionKeys>,
    /// Sign and verify tickets.
    pub tickets: Arc<TicketKeys>,
    /// Signs and verifies passes.
    pub passes: Arc<PassSigner>,
    /// Whose word on a client's address counts.
    pub trusted_proxies: Arc<[IpNet]>,
    /// What holds in rooms without settings of their own.
    pub room: RoomDefaults,
    /// Requests under way at once.
    pub max_in_flight: usize,
    /// Event streams open at once.
    pub max_streams: usize,
    /// Connections open at once.
    pub max_connections: usize,
    /// How often what may be done.
    pub rate_limits: RateLimits,
}

impl Config {
    /// Reads and checks all settings; begins to log on the way, so that what is wrong is told in the right form.
    pub fn read(mut reader: Reader) -> Result<Self, Faults> {
        telemetry::init(&mut reader);
        let config = Self::read_from(&mut reader);
        reader.finish_with(config)
    }

    fn read_from(reader: &mut Reader) -> Option<Self> {
        // Every setting is read before any is missed, so that all faults come at once.
        let listen = reader.parse(&LISTEN);
        let metrics_listen = reader.parse(&METRICS_LISTEN);
        let cookies = SetCookie::for_site(&reader.text(&PUBLIC_URL));
        let core_api_urls = urls(reader, &CORE_API_URLS);
        let site = ProtectedSite::read(reader);
        let redis = RedisSettings::read(reader);
        let record = RecordSettings::read(reader);
        let sessions = read_keys(reader, &SESSION_SECRET, SessionKeys::new);
        let tickets = read_keys(reader, &TICKET_SECRET, TicketKeys::new);
        let passes = read_keys(reader, &PASS_PRIVATE_KEYS, PassSigner::new);
        let trusted_proxies = networks(reader);
        let room = room(reader);
        let max_in_flight = reader.number(&MAX_IN_FLIGHT, 1..=1_000_000);
        let max_streams = reader.number(&MAX_STREAMS, 0..=1_000_000);
        let max_connections = reader.number(&MAX_CONNECTIONS, 1..=1_000_000);
        let rate_limits = RateLimits::read(reader);
        Some(Self {
            listen: listen?,
            metrics_listen,
            cookies,
            core_api_urls: core_api_urls?,
            site: site?,
            redis: redis?,
            record: record?,
            sessions: sessions?,
            tickets: tickets?,
            passes: passes?,
            trusted_proxies: trusted_proxies?,
            room: room?,
            max_in_flight: max_in_flight?,
            max_streams: max_streams?,
            max_connections: max_connections?,
            rate_limits: rate_limits?,
        })
    }
}

/// Where the rooms are recorded.
#[derive(Clone)]
pub struct RecordSettings {
    url: String,
    max_connections: u32,
}

impl std::fmt::Debug for RecordSettings {
    /// Without the URL: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordSettings").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

impl RecordSettings {
    /// In the database at this URL, over at most so many connections.
    pub fn new(url: impl Into<String>, max_connections: u32) -> Self {
        Self { url: url.into(), max_connections }
    }

    /// Prepares the connections. Fails on an URL that is none.
    pub fn open(&self) -> anyhow::Result<crate::store::record::Record> {
        crate::store::record::Record::new(&self.url, self.max_connections)
    }

    /// Reads them; the inner `None` where there is no record, the outer one is a fault already noted.
    #[expect(clippy::option_option, reason = "a fault is not the same as no record")]
    fn read(reader: &mut Reader) -> Option<Option<Self>> {
        let url = reader.text(&DATABASE_URL);
        let max_connections = reader.number(&DATABASE_MAX_CONNECTIONS, 1..=100)?;
        let settings = (!url.is_empty()).then(|| Self::new(url, max_connections));
        if settings.as_ref().is_some_and(|settings| settings.open().is_err()) {
            reader.fault(&DATABASE_URL, "is no URL of a PostgreSQL database");
        }
        Some(settings)
    }
}

/// A site of any kind that stands behind the waiting room.
#[derive(Debug, Clone)]
pub struct ProtectedSite {
    /// Its replicas.
    pub urls: Vec<Uri>,
    /// What of it needs admission.
    pub routes: Arc<ProtectedRoutes>,
    /// Whether people wait without an account.
    pub anonymous: bool,
}

impl ProtectedSite {
    /// Reads it; the inner `None` where there is none, the outer one is a fault already noted.
    #[expect(clippy::option_option, reason = "a fault is not the same as no site")]
    fn read(reader: &mut Reader) -> Option<Option<Self>> {
        let routes = reader.text(&PROTECTED_ROUTES).parse::<ProtectedRoutes>();
        let anonymous = match reader.text(&VISITORS).as_str() {
            "accounts" => false,
            "anonymous" => true,
            _ => return fault(reader, &VISITORS, "is neither accounts nor anonymous"),
        };
        if reader.text(&UPSTREAM_URL).is_empty() {
            let is_unused = routes.is_ok_and(|routes| routes.rooms().is_empty()) && !anonymous;
            return if is_unused {
                Some(None)
            } else {
                fault(reader, &UPSTREAM_URL, "is not set, but what it is for is")
            };
        }
        let urls = urls(reader, &UPSTREAM_URL)?;
        match routes {
            Ok(routes) if !routes.rooms().is_empty() => Some(Some(Self { urls, routes: Arc::new(routes), anonymous })),
            Ok(_) => fault(reader, &PROTECTED_ROUTES, "names nothing that needs admission"),
            Err(error) => fault(reader, &PROTECTED_ROUTES, error),
        }
    }
}

fn fault<T>(reader: &mut Reader, setting: &Setting, what: impl std::fmt::Display) -> Option<T> {
    reader.fault(setting, what);
    None
}

fn urls(reader: &mut Reader, setting: &Setting) -> Option<Vec<Uri>> {
    let urls: Option<Vec<Uri>> = reader
        .list(setting)
        .iter()
        .map(|text| {
            text.parse::<Uri>().ok().filter(|url| {
                url.scheme_str() == Some("http") && url.authority().is_some() && matches!(url.path(), "" | "/")
            })
        })
        .collect();
    if urls.as_ref().is_none_or(Vec::is_empty) {
        reader.fault(setting, "must be a list of URLs of the form http://host:port");
        return None;
    }
    urls
}

fn networks(reader: &mut Reader) -> Option<Arc<[IpNet]>> {
    let networks: Option<Arc<[IpNet]>> = reader.list(&TRUSTED_PROXIES).iter().map(|text| text.parse().ok()).collect();
    if networks.is_none() {
        reader.fault(&TRUSTED_PROXIES, "must be a list of networks such as 10.0.0.0/8");
    }
    networks
}

fn room(reader: &mut Reader) -> Option<RoomDefaults> {
    let admit_per_second = reader.number(&ADMIT_PER_SECOND, 0.001..=1_000_000.0);
    let burst = reader.number(&BURST, 1..=1_000_000);
    let max_active = reader.number(&MAX_ACTIVE, 1..=10_000_000);
    let session = reader.number(&SESSION_SECONDS, 10..=86_400);
    let claim = reader.number(&CLAIM_SECONDS, 5..=3_600);
    Some(RoomDefaults {
        admit_per_second: admit_per_second?,
        burst: burst?,
        max_active: max_active?,
        session: Duration::from_secs(session?),
        claim: Duration::from_secs(claim?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_nothing_set_every_missing_setting_is_named_at_once() {
        let message = Config::read(Reader::new([])).unwrap_err().to_string();
        for name in ["REDIS_URL", "SESSION_SECRET", "TICKET_SECRET", "PASS_PRIVATE_KEYS"] {
            assert!(message.contains(&format!("{name} is not set")), "{message}");
        }
    }

    #[test]
    fn wrong_values_are_named_and_not_repeated() {
        let pairs = [
            ("REDIS_URL", "redis://:pass@h"),
            ("REDIS_MODE", "both"),
            ("SESSION_SECRET", "short-secret"),
            ("BURST", "0"),
            ("CORE_API_URLS", "ftp://x"),
        ];
        let message =
            Config::read(Reader::new(pairs.map(|(n, v)| (n.to_owned(), v.to_owned())))).unwrap_err().to_string();
        for name in ["REDIS_MODE", "SESSION_SECRET has a secret", "BURST must lie between", "CORE_API_URLS must be"] {
            assert!(message.contains(name), "{name}: {message}");
        }
        assert!(!message.contains("short-secret") && !message.contains("pass@"), "{message}");
    }
}
