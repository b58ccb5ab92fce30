//! What all gateways of all worlds are configured with.

use std::sync::{Arc, LazyLock};

use anyhow::Context as _;
use common::http::SetCookie;
use common::ids::{ConcertId, UserId};
use common::tokens::{PassSigner, Role, Session, SessionKeys, TicketKeys};
use gateway::config::ProtectedSite;
use gateway::domain::ProtectedRoutes;
use gateway::rate_limits::RateLimits;
use gateway::{Config, RecordSettings};
use lua::{Mode, RedisSettings};
use uuid::Uuid;

use crate::clock::BEGIN_MS;
use crate::plan::Room;

/// The path of the site that needs admission.
pub(crate) const PROTECTED_PATH: &str = "/seats";

/// No secrets: they sign tokens that nothing outside of a simulation accepts.
const SESSION_SECRET: &str = "simulated-session-secret-of-sufficient-length";
const TICKET_SECRET: &str = "simulated-queue-token-secret-of-sufficient-length";
const PASS_KEY: &str = "c2ltdWxhdGVkIHBhc3Mga2V5LCAzMiBieXRlcyBsb24";

static SESSION_KEYS: LazyLock<Option<Arc<SessionKeys>>> =
    LazyLock::new(|| SessionKeys::new(&[SESSION_SECRET]).ok().map(Arc::new));

/// The concert of every world.
pub(crate) fn concert() -> ConcertId {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_c0ce_0000).into()
}

/// A visitor's account, by number.
pub(crate) fn user(visitor: u32) -> UserId {
    Uuid::from_u128(USERS | u128::from(visitor)).into()
}

const USERS: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0000;

/// Whose account it is.
pub(crate) fn visitor(user: UserId) -> u32 {
    u32::try_from(user.as_uuid().as_u128() & 0xffff_ffff).unwrap_or(0)
}

/// A session of this account that lasts for as long as any world, whichever way clocks are set.
pub(crate) fn session(user: UserId) -> String {
    let time = |ms| chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    let (issued_at, expires_at) = (time(BEGIN_MS - 86_400_000), time(BEGIN_MS + 86_400_000));
    let session = Session { id: None, user, role: Role::User, issued_at, expires_at };
    SESSION_KEYS.as_ref().map(|keys| keys.sign(&session)).unwrap_or_default()
}

/// The configuration of a gateway.
///
/// # Errors
///
/// A constant here cannot be read.
pub(crate) fn config(room: Room) -> anyhow::Result<Config> {
    let concert = concert();
    let routes: ProtectedRoutes = format!("GET {PROTECTED_PATH} {concert}").parse()?;
    let nowhere: http::Uri = "http://127.0.0.1:1".parse()?;
    Ok(Config {
        listen: ([127, 0, 0, 1], 0).into(),
        metrics_listen: None,
        cookies: SetCookie::for_site("http://localhost"),
        core_api_urls: vec![nowhere.clone()],
        site: Some(ProtectedSite { urls: vec![nowhere], routes: Arc::new(routes), anonymous: false }),
        redis: RedisSettings {
            urls: Vec::new(),
            mode: Mode::Standalone,
            call_timeout: std::time::Duration::from_secs(1),
        },
        record: None::<RecordSettings>,
        sessions: SESSION_KEYS.clone().context("the session secret")?,
        tickets: Arc::new(TicketKeys::new(&[TICKET_SECRET])?),
        passes: Arc::new(PassSigner::new(&[PASS_KEY])?),
        trusted_proxies: Arc::new([]),
        room: room.into(),
        max_in_flight: 10_000,
        max_streams: 1_000,
        max_connections: 10_000,
        rate_limits: RateLimits::OFF,
    })
}
