//! Settings, all from the environment.

mod provider;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use common::config::{Faults, Reader, Setting};
use common::http::PUBLIC_URL;
use common::rate_limit::Rate;
use common::telemetry;
use common::tokens::{EntryTicketSigner, PassKeys, SESSION_SECRET, SessionKeys, read_keys};
use lua::{REDIS_MODE, REDIS_SENTINEL_MASTER, REDIS_SENTINEL_PASSWORD, REDIS_TIMEOUT_MS, REDIS_URL, RedisSettings};

use crate::domain::session::SessionRules;
use crate::domain::webhook_target::TargetRules;
use crate::service::{HashCost, SealingKeys, WebhookSettings};
pub use provider::ProviderConfig;

use crate::store::postgres::HoldRules;

/// Where core-api listens.
pub const LISTEN: Setting = Setting {
    name: "CORE_API_LISTEN",
    default: Some("127.0.0.1:3201"),
    unit: "address:port",
    meaning: "Where core-api listens.",
};
const METRICS_LISTEN: Setting = Setting {
    name: "CORE_API_METRICS_LISTEN",
    default: Some(""),
    unit: "address:port",
    meaning: "Where Prometheus reads figures at `/metrics`, which is for nobody else to reach; without it none are kept.",
};
/// Which database.
pub const DATABASE_URL: Setting = Setting {
    name: "DATABASE_URL",
    default: None,
    unit: "`postgres://…`",
    meaning: "The PostgreSQL database that decides about seats and money.",
};
const DATABASE_MAX_CONNECTIONS: Setting = Setting {
    name: "DATABASE_MAX_CONNECTIONS",
    default: Some("16"),
    unit: "connections",
    meaning: "How many connections to PostgreSQL one core-api holds at most.",
};
const PASS_PUBLIC_KEYS: Setting = Setting {
    name: "PASS_PUBLIC_KEYS",
    default: None,
    unit: "Ed25519 keys in base64url",
    meaning: "Verify admission passes; separated by commas.",
};
const ENTRY_TICKET_PRIVATE_KEYS: Setting = Setting {
    name: "ENTRY_TICKET_PRIVATE_KEYS",
    default: None,
    unit: "Ed25519 seeds in base64url, comma-separated",
    meaning: "Sign the tickets that are shown at the door; the first signs, all verify and are published.",
};
const SESSION_TTL_SECONDS: Setting = Setting {
    name: "SESSION_TTL_SECONDS",
    default: Some("43200"),
    unit: "seconds",
    meaning: "How long a session's token can be used; `POST /auth/refresh` gives the next.",
};
const SESSION_LIFETIME_SECONDS: Setting = Setting {
    name: "SESSION_LIFETIME_SECONDS",
    default: Some("2592000"),
    unit: "seconds",
    meaning: "How long a session can be refreshed; then its user signs in again.",
};
const SESSIONS_PER_USER: Setting = Setting {
    name: "SESSIONS_PER_USER",
    default: Some("20"),
    unit: "sessions",
    meaning: "How many sessions a user may have open; one more ends the oldest.",
};
const HOLD_SECONDS: Setting = Setting {
    name: "HOLD_SECONDS",
    default: Some("300"),
    unit: "seconds",
    meaning: "How long a held seat can be paid for.",
};
const HOLD_EXTEND_SECONDS: Setting = Setting {
    name: "HOLD_EXTEND_SECONDS",
    default: Some("120"),
    unit: "seconds; 0 is never",
    meaning: "By how much the time to pay can be extended, once per reservation.",
};
const HOLD_GRACE_SECONDS: Setting = Setting {
    name: "HOLD_GRACE_SECONDS",
    default: Some("10"),
    unit: "seconds",
    meaning: "How much longer a seat's lock in Redis lasts, should nobody release it.",
};
const SEATS_PER_USER: Setting = Setting {
    name: "SEATS_PER_USER",
    default: Some("4"),
    unit: "seats",
    meaning: "How many seats of one concert a user may hold and own, where the concert has no limit of its own.",
};
const WAITLIST_OFFER_SECONDS: Setting = Setting {
    name: "WAITLIST_OFFER_SECONDS",
    default: Some("600"),
    unit: "seconds",
    meaning: "How long a seat that came free can be paid for by whoever waited for it; then it is the next one's.",
};
const REFUND_UNTIL_HOURS: Setting = Setting {
    name: "REFUND_UNTIL_HOURS",
    default: Some("24"),
    unit: "hours",
    meaning: "How long before the day of the concert begins (UTC) a paid reservation can be given back for its money at the latest.",
};
const HASH_QUEUE: Setting = Setting {
    name: "HASH_QUEUE",
    default: Some("256"),
    unit: "logins",
    meaning: "How many logins and signups wait for password hashing at most; further ones get 429.",
};
const PASSWORD_HASH_MEMORY_KIB: Setting = Setting {
    name: "PASSWORD_HASH_MEMORY_KIB",
    default: Some("19456"),
    unit: "KiB",
    meaning: "What hashing one password takes of memory, on each core at once; where it is changed, passwords are hashed anew as their users log in.",
};
const PASSWORD_HASH_PASSES: Setting = Setting {
    name: "PASSWORD_HASH_PASSES",
    default: Some("2"),
    unit: "passes",
    meaning: "How often hashing a password goes through that memory.",
};
const LOGINS_PER_MINUTE_PER_ACCOUNT: Setting = Setting {
    name: "LOGINS_PER_MINUTE_PER_ACCOUNT",
    default: Some("10"),
    unit: "requests a minute; 0 is no limit",
    meaning: "How often logging in to one account, or changing its password, may be tried; 60 seconds' worth of it at once.",
};
/// Of how many seconds the logins may come at once: people mistype in a row.
const LOGINS_BURST_SECONDS: u32 = 60;
const MAX_IN_FLIGHT: Setting = Setting {
    name: "CORE_API_MAX_IN_FLIGHT",
    default: Some("2048"),
    unit: "requests",
    meaning: "How many requests are served at once at most; further ones get 503.",
};
const MAX_STREAMS: Setting = Setting {
    name: "CORE_API_MAX_STREAMS",
    default: Some("5000"),
    unit: "streams",
    meaning: "Streams of changes of seats open at once; more are answered 503 `overloaded`, and their clients ask for the list.",
};
const WEBHOOK_SECRET_KEYS: Setting = Setting {
    name: "WEBHOOK_SECRET_KEYS",
    default: Some(""),
    unit: "text of 32 characters or more; several, comma-separated",
    meaning: "Encrypt the secrets of webhooks in the database; the first encrypts, all decrypt. Without one there are no webhooks.",
};
const WEBHOOK_ALLOW_HTTP: Setting = Setting {
    name: "WEBHOOK_ALLOW_HTTP",
    default: Some("false"),
    unit: "`true` or `false`",
    meaning: "Whether webhooks may be plain http; for a stack on one machine only.",
};
const WEBHOOK_ALLOW_NETWORKS: Setting = Setting {
    name: "WEBHOOK_ALLOW_NETWORKS",
    default: Some(""),
    unit: "networks, comma-separated",
    meaning: "Networks to which webhooks may lead though their addresses are not public.",
};
const WEBHOOK_RETRY_HOURS: Setting = Setting {
    name: "WEBHOOK_RETRY_HOURS",
    default: Some("24"),
    unit: "hours",
    meaning: "For how long it is tried to deliver an event, before it becomes a dead letter.",
};

/// Every setting, in the order of README.
pub const SETTINGS: &[Setting] = &[
    LISTEN,
    METRICS_LISTEN,
    PUBLIC_URL,
    DATABASE_URL,
    DATABASE_MAX_CONNECTIONS,
    REDIS_URL,
    REDIS_MODE,
    REDIS_SENTINEL_MASTER,
    REDIS_SENTINEL_PASSWORD,
    REDIS_TIMEOUT_MS,
    SESSION_SECRET,
    SESSION_TTL_SECONDS,
    SESSION_LIFETIME_SECONDS,
    SESSIONS_PER_USER,
    PASS_PUBLIC_KEYS,
    ENTRY_TICKET_PRIVATE_KEYS,
    HOLD_SECONDS,
    HOLD_EXTEND_SECONDS,
    HOLD_GRACE_SECONDS,
    SEATS_PER_USER,
    WAITLIST_OFFER_SECONDS,
    REFUND_UNTIL_HOURS,
    provider::URL,
    provider::NAME,
    provider::KEY,
    provider::WEBHOOK_SECRETS,
    provider::TIMEOUT_MS,
    provider::GRACE_SECONDS,
    HASH_QUEUE,
    PASSWORD_HASH_MEMORY_KIB,
    PASSWORD_HASH_PASSES,
    LOGINS_PER_MINUTE_PER_ACCOUNT,
    MAX_IN_FLIGHT,
    MAX_STREAMS,
    WEBHOOK_SECRET_KEYS,
    WEBHOOK_ALLOW_HTTP,
    WEBHOOK_ALLOW_NETWORKS,
    WEBHOOK_RETRY_HOURS,
    telemetry::LOG_FORMAT,
    telemetry::RUST_LOG,
];

/// Longer than this a setting in seconds is surely a mistake.
const MAX_SECONDS: u32 = 7 * 24 * 3_600;

/// The same for refunds: a year.
const MAX_REFUND_HOURS: i64 = 366 * 24;

/// The same for webhooks: a week.
const MAX_RETRY_HOURS: i64 = 7 * 24;

/// What a core-api is told.
#[derive(Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it tells figures, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where users reach the site.
    pub public_url: String,
    /// Which database.
    pub database_url: String,
    /// How many connections to it at most.
    pub database_max_connections: u32,
    /// Which Redis.
    pub redis: RedisSettings,
    /// The sessions' secrets.
    pub sessions: Arc<SessionKeys>,
    /// How long sessions and their tokens last.
    pub session_rules: SessionRules,
    /// The passes' public keys.
    pub passes: Arc<PassKeys>,
    /// What signs tickets.
    pub entry_tickets: Arc<EntryTicketSigner>,
    /// How seats are held.
    pub hold_rules: HoldRules,
    /// How long who waited for a seat may pay for it.
    pub waitlist_offer_seconds: u32,
    /// How long before the day of the concert refunds end.
    pub refund_until: TimeDelta,
    /// The provider of payments, if there is one.
    pub provider: Option<ProviderConfig>,
    /// How much longer than its reservation a seat's lock lasts.
    pub hold_grace: Duration,
    /// How many passwords wait to be hashed at most.
    pub hash_queue: usize,
    /// What hashing one takes.
    pub hash_cost: HashCost,
    /// How often one account may be tried.
    pub logins_per_account: Rate,
    /// How many requests are served at once at most.
    pub max_in_flight: usize,
    /// How many streams are open at once at most.
    pub max_streams: usize,
    /// How webhooks are run.
    pub webhooks: WebhookSettings,
}

impl std::fmt::Debug for Config {
    /// Without URLs and keys: they hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("listen", &self.listen).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads all settings; the error names everything that is wrong.
    pub fn read(mut reader: Reader) -> Result<Self, Faults> {
        let config = Self::read_from(&mut reader);
        reader.finish_with(config)
    }

    fn read_from(reader: &mut Reader) -> Option<Self> {
        // Each is read before any is missed, so that all faults come at once.
        let listen = reader.parse(&LISTEN);
        let metrics_listen = reader.parse(&METRICS_LISTEN);
        let public_url = reader.text(&PUBLIC_URL);
        let database_url = reader.text(&DATABASE_URL);
        let database_max_connections = reader.number(&DATABASE_MAX_CONNECTIONS, 1..=1_000);
        let redis = RedisSettings::read(reader);
        let sessions = read_keys(reader, &SESSION_SECRET, SessionKeys::new);
        let session_ttl = reader.number(&SESSION_TTL_SECONDS, 60..=30 * 24 * 3_600);
        let session_lifetime = reader.number(&SESSION_LIFETIME_SECONDS, 60..=366 * 24 * 3_600);
        let sessions_per_user = reader.number(&SESSIONS_PER_USER, 1..=1_000);
        let passes = read_keys(reader, &PASS_PUBLIC_KEYS, PassKeys::new);
        let entry_tickets = read_keys(reader, &ENTRY_TICKET_PRIVATE_KEYS, EntryTicketSigner::new);
        let hold_seconds = reader.number(&HOLD_SECONDS, 1..=MAX_SECONDS);
        let extend_seconds = reader.number(&HOLD_EXTEND_SECONDS, 0..=MAX_SECONDS);
        let grace_seconds = reader.number(&HOLD_GRACE_SECONDS, 0..=MAX_SECONDS);
        let seats_per_user = reader.number(&SEATS_PER_USER, 1..=20);
        let waitlist_offer_seconds = reader.number(&WAITLIST_OFFER_SECONDS, 1..=MAX_SECONDS);
        let refund_until_hours = reader.number(&REFUND_UNTIL_HOURS, 0..=MAX_REFUND_HOURS);
        let provider = ProviderConfig::read(reader);
        let hash_queue = reader.number(&HASH_QUEUE, 0..=100_000);
        // Not below what OWASP asks for, nor so much that a few at once fill the memory.
        let hash_memory_kib = reader.number(&PASSWORD_HASH_MEMORY_KIB, HashCost::LEAST.memory_kib..=1_048_576);
        let hash_passes = reader.number(&PASSWORD_HASH_PASSES, HashCost::LEAST.passes..=100);
        let logins_per_account = Rate::read(reader, &LOGINS_PER_MINUTE_PER_ACCOUNT, LOGINS_BURST_SECONDS);
        let max_in_flight = reader.number(&MAX_IN_FLIGHT, 1..=1_000_000);
        // Fewer than connections: the others are for requests.
        let max_streams = reader.number(&MAX_STREAMS, 0..=15_000);
        let webhooks = read_webhooks(reader);
        Some(Self {
            listen: listen?,
            metrics_listen,
            public_url,
            database_url,
            database_max_connections: database_max_connections?,
            redis: redis?,
            sessions: sessions?,
            session_rules: SessionRules {
                token_ttl: TimeDelta::seconds(session_ttl?),
                lifetime_seconds: session_lifetime?,
                per_user: sessions_per_user?,
            },
            passes: passes?,
            entry_tickets: entry_tickets?,
            hold_rules: HoldRules {
                hold_seconds: hold_seconds?,
                extend_seconds: extend_seconds?,
                seats_per_user: seats_per_user?,
            },
            waitlist_offer_seconds: waitlist_offer_seconds?,
            refund_until: TimeDelta::hours(refund_until_hours?),
            provider,
            hold_grace: Duration::from_secs(grace_seconds?.into()),
            hash_queue: hash_queue?,
            hash_cost: HashCost { memory_kib: hash_memory_kib?, passes: hash_passes? },
            logins_per_account: logins_per_account?,
            max_in_flight: max_in_flight?,
            max_streams: max_streams?,
            webhooks: webhooks?,
        })
    }
}

fn read_webhooks(reader: &mut Reader) -> Option<WebhookSettings> {
    let keys = read_keys(reader, &WEBHOOK_SECRET_KEYS, SealingKeys::new);
    let allow_http = reader.parse(&WEBHOOK_ALLOW_HTTP);
    let networks = reader.list(&WEBHOOK_ALLOW_NETWORKS);
    let allowed: Option<Vec<_>> = networks.iter().map(|network| network.parse().ok()).collect();
    if allowed.is_none() {
        reader.fault(&WEBHOOK_ALLOW_NETWORKS, "has a network that is none (10.9.0.0/16 is one)");
    }
    let retry_hours = reader.number(&WEBHOOK_RETRY_HOURS, 1..=MAX_RETRY_HOURS);
    let rules = Arc::new(TargetRules::new(allow_http?, allowed?));
    Some(WebhookSettings { keys, rules, retry_for: TimeDelta::hours(retry_hours?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_missing_is_named_at_once_and_no_secret_is_told() {
        let reader = Reader::new([("SESSION_SECRET".to_owned(), "too-short".to_owned())]);
        let message = Config::read(reader).unwrap_err().to_string();
        for name in [
            "DATABASE_URL",
            "REDIS_URL",
            "PASS_PUBLIC_KEYS",
            "ENTRY_TICKET_PRIVATE_KEYS",
            "SESSION_SECRET has a secret of fewer",
        ] {
            assert!(message.contains(name), "{message}");
        }
        assert!(!message.contains("too-short"), "{message}");
    }

    #[test]
    fn what_is_wrong_with_webhooks_is_named() {
        let wrong = [
            ("WEBHOOK_SECRET_KEYS", "hunter2"),
            ("WEBHOOK_ALLOW_HTTP", "yes"),
            ("WEBHOOK_ALLOW_NETWORKS", "10.0.0.0/8,home"),
            ("WEBHOOK_RETRY_HOURS", "0"),
        ];
        let reader = Reader::new(wrong.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let message = Config::read(reader).unwrap_err().to_string();
        assert!(wrong.iter().all(|(name, _)| message.contains(name)), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }

    #[test]
    fn settings_have_distinct_names_and_meanings() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
        assert!(SETTINGS.iter().all(|setting| setting.meaning.ends_with('.')));
    }
}
