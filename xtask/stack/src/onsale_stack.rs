//! A whole stack in one call.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::nginx::Nginx;
use crate::onsale::{PaymentProvider, RedisMode, Secrets, Service, Setup};
use crate::postgres::Database;
use crate::scratch::Scratch;
use crate::{ports, profile_dir, shared};

/// Where `run-mock-server.sh` listens.
pub const MOCK_PORT: u16 = 3005;

/// What an [`Onsale`] is made of. The default is one gateway and one core-api with the demo data,
/// on a shared Redis and a database of its own.
#[derive(Clone, Debug)]
pub struct OnsaleOptions {
    /// How many gateways.
    pub gateways: usize,
    /// How many core-apis.
    pub core_apis: usize,
    /// Whether the demo data is loaded.
    pub demo: bool,
    /// The Redis to use, or a cluster's nodes or the sentinels, comma-separated; the shared one if none.
    pub redis_url: Option<String>,
    /// What `redis_url` names.
    pub redis_mode: RedisMode,
    /// The database to use, migrated by the start; a fresh one if none.
    pub database_url: Option<String>,
    /// Whether card payments are taken, by the sandbox.
    pub sandbox_provider: bool,
    /// More variables for gateways.
    pub gateway_env: BTreeMap<String, String>,
    /// More variables for core-apis.
    pub core_api_env: BTreeMap<String, String>,
    /// Other values for nginx's template (`REQUESTS_PER_SECOND` …) than the generous defaults.
    pub nginx_values: BTreeMap<&'static str, String>,
}

impl Default for OnsaleOptions {
    fn default() -> Self {
        Self {
            gateways: 1,
            core_apis: 1,
            demo: true,
            redis_url: None,
            redis_mode: RedisMode::default(),
            database_url: None,
            sandbox_provider: false,
            gateway_env: BTreeMap::new(),
            core_api_env: BTreeMap::new(),
            nginx_values: BTreeMap::new(),
        }
    }
}

/// What each user and address is limited by, of gateways and of core-apis.
const RATE_LIMITS: [&[&str]; 2] = [
    &[
        "JOINS_PER_MINUTE_PER_USER",
        "POLLS_PER_MINUTE_PER_USER",
        "RESERVATIONS_PER_MINUTE_PER_USER",
        "LOGINS_PER_MINUTE_PER_ADDRESS",
        "UNVERIFIED_PER_MINUTE_PER_ADDRESS",
    ],
    &["LOGINS_PER_MINUTE_PER_ACCOUNT"],
];

/// Variables that let everybody ask as often as they like, for gateways and for core-apis: for who has few people ask a
/// great deal, and tests the limits elsewhere.
pub fn no_rate_limits() -> [BTreeMap<String, String>; 2] {
    RATE_LIMITS.map(|names| names.iter().map(|name| ((*name).to_owned(), "0".to_owned())).collect())
}

/// nginx, gateways and core-apis that run together. Dropping it stops them, front to back.
///
/// Redis is shared with other tests, but ids of concerts are not: the demo's are the same in every
/// database, so two stacks with demo data at a time want a [`crate::redis::Redis`] each.
#[derive(Debug)]
pub struct Onsale {
    // Dropped in this order.
    nginx: Nginx,
    gateways: Vec<Service>,
    core_apis: Vec<Service>,
    sandbox_provider: Option<Service>,
    setup: Setup,
    _database: Option<Database>,
    _scratch: Scratch,
}

impl Onsale {
    /// Starts everything and waits until it is ready. It needs the built binaries, see
    /// [`crate::binary`].
    pub fn start(options: &OnsaleOptions) -> Result<Self> {
        if options.sandbox_provider {
            // core-api must know the sandbox's port before the sandbox listens on it.
            return ports::with_port(None, |port| Self::start_with(options, Some(PaymentProvider::sandbox(port)?)));
        }
        Self::start_with(options, None)
    }

    fn start_with(options: &OnsaleOptions, payment_provider: Option<PaymentProvider>) -> Result<Self> {
        let scratch = Scratch::new("stack")?;
        let database = match options.database_url {
            Some(_) => None,
            None => Some(shared::fresh_database("empty", |_| Ok(()))?),
        };
        let owner_url = database.as_ref().map(Database::url);
        let gateway_url = database.as_ref().map(Database::gateway_url);
        let given = || options.database_url.clone().unwrap_or_default();
        let setup = Setup {
            binaries: profile_dir()?,
            logs: scratch.path().to_path_buf(),
            secrets: Secrets::generate(&crate::binary("gateway")?)?,
            redis_url: options.redis_url.clone().map_or_else(shared::redis_url, Ok)?,
            redis_mode: options.redis_mode,
            database_url: owner_url.unwrap_or_else(given),
            queue_database_url: gateway_url.unwrap_or_else(given),
            public_url: "http://localhost:8080".to_owned(),
            payment_provider,
            gateway_env: options.gateway_env.clone(),
            core_api_env: options.core_api_env.clone(),
        };
        setup.migrate()?;
        if options.demo {
            setup.demo()?;
        }
        let core_apis = (1..=options.core_apis)
            .map(|n| setup.start_core_api(&format!("core-api-{n}"), None))
            .collect::<Result<Vec<_>>>()?;
        let urls: Vec<String> = core_apis.iter().map(Service::url).collect();
        let gateways = (1..=options.gateways)
            .map(|n| setup.start_gateway(&format!("gateway-{n}"), None, &urls))
            .collect::<Result<Vec<_>>>()?;
        let ports: Vec<SocketAddr> = gateways.iter().map(Service::address).collect();
        let prefix = scratch.path().join("nginx");
        let mut values = nginx_values(&ports, &prefix, &scratch.path().join("nginx-access.log"));
        values.extend(options.nginx_values.clone());
        let nginx = Nginx::start_project(&prefix, &values)?;
        let provider = setup.payment_provider.as_ref();
        let sandbox_provider =
            provider.map(|provider| setup.start_sandbox_provider(provider, &nginx.url())).transpose()?;
        Ok(Self { nginx, gateways, core_apis, sandbox_provider, setup, _database: database, _scratch: scratch })
    }

    /// nginx's URL, where clients go.
    pub fn url(&self) -> String {
        self.nginx.url()
    }

    /// nginx.
    pub fn nginx(&self) -> &Nginx {
        &self.nginx
    }

    /// The gateways.
    pub fn gateways(&self) -> &[Service] {
        &self.gateways
    }

    /// The core-apis.
    pub fn core_apis(&self) -> &[Service] {
        &self.core_apis
    }

    /// The sandbox of payments, if there is one.
    pub fn sandbox_provider(&self) -> Option<&Service> {
        self.sandbox_provider.as_ref()
    }

    /// What they have in common: secrets, Redis, the database.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The folder with their logs.
    pub fn logs(&self) -> PathBuf {
        self.setup.logs.clone()
    }
}

/// Values for all of the nginx template's placeholders but `LISTEN`, with limits that no single
/// machine's test runs into. `prefix` is nginx's folder.
pub fn nginx_values(gateways: &[SocketAddr], prefix: &Path, access_log: &Path) -> BTreeMap<&'static str, String> {
    // A gateway that is back is used again after two seconds, not nginx's ten.
    let servers: Vec<String> =
        gateways.iter().map(|gateway| format!("server {gateway} max_fails=1 fail_timeout=2s;")).collect();
    BTreeMap::from([
        ("GATEWAY_SERVERS", servers.join(" ")),
        ("MOCK_SERVER", format!("127.0.0.1:{MOCK_PORT}")),
        // Never asked: the mock server is given by its address.
        ("RESOLVER", "127.0.0.1".to_owned()),
        ("REQUESTS_PER_SECOND", "100000".to_owned()),
        ("REQUESTS_BURST", "100000".to_owned()),
        ("CONNECTIONS_PER_ADDRESS", "10000".to_owned()),
        // Nobody's address: no balancer stands in front of this nginx.
        ("REAL_IP_FROM", "0.0.0.0/32".to_owned()),
        ("CACHE_DIR", prefix.join("cache").display().to_string()),
        ("ACCESS_LOG", access_log.display().to_string()),
    ])
}
