//! What is going to run, and where.

use std::collections::BTreeMap;
use std::net::{Ipv6Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use stack::onsale::RedisMode;
use stack::{ports, wait};

use super::{Options, Profile};

const FIRST_GATEWAY: u16 = 3101;
const FIRST_CORE_API: u16 = 3201;
const SANDBOX_PROVIDER: u16 = 3301;
const REDIS: u16 = 6479;
const POSTGRES: u16 = 5479;
/// A killed stack's servers are gone within this time.
const LEFT_BEHIND: Duration = Duration::from_secs(5);

/// Ports, folders and given servers.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) port: u16,
    pub(super) gateway_ports: Vec<u16>,
    pub(super) core_api_ports: Vec<u16>,
    /// None: `PAYMENT_PROVIDER_URL` is set, and the services read it themselves.
    pub(super) sandbox_provider_port: Option<u16>,
    /// None: `given_redis_url` is used.
    pub(super) redis_port: Option<u16>,
    /// None: `given_database_url` is used.
    pub(super) postgres_port: Option<u16>,
    pub(super) given_redis_url: Option<String>,
    pub(super) redis_mode: RedisMode,
    pub(super) given_database_url: Option<String>,
    /// Those of [`NGINX_LIMITS`] that this environment sets.
    pub(super) nginx_limits: BTreeMap<&'static str, String>,
    pub(super) data: PathBuf,
    pub(super) profile: Profile,
}

impl Plan {
    pub(super) fn new(options: &Options, data: PathBuf) -> Result<Self> {
        let given = |name| std::env::var(name).ok().filter(|value: &String| !value.trim().is_empty());
        let given_redis_url = given("REDIS_URL");
        let given_database_url = given("DATABASE_URL");
        let redis_mode = given("REDIS_MODE").map_or(Ok(RedisMode::default()), |mode| mode.trim().parse())?;
        ensure!(
            redis_mode == RedisMode::Standalone || given_redis_url.is_some(),
            "REDIS_MODE={} needs REDIS_URL: the private Redis is a single server",
            redis_mode.as_str()
        );
        Ok(Self {
            port: options.port,
            gateway_ports: (FIRST_GATEWAY..).take(options.gateways.into()).collect(),
            core_api_ports: (FIRST_CORE_API..).take(options.core_apis.into()).collect(),
            sandbox_provider_port: given("PAYMENT_PROVIDER_URL").is_none().then_some(SANDBOX_PROVIDER),
            redis_port: given_redis_url.is_none().then_some(REDIS),
            postgres_port: given_database_url.is_none().then_some(POSTGRES),
            given_redis_url,
            redis_mode,
            given_database_url,
            nginx_limits: nginx_limits(given)?,
            data,
            profile: options.profile,
        })
    }

    /// Where clients go.
    pub(super) fn url(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    pub(super) fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }

    /// Fails, naming all ports that somebody else listens on. Servers of a killed stack
    /// (`left_behind`) are given a moment to end.
    pub(super) fn check_ports(&self, left_behind: bool) -> Result<()> {
        if left_behind {
            // Whether they are gone or not, the check below says so.
            let _ = wait::until("the ports", LEFT_BEHIND, || Ok(self.taken().is_empty().then_some(())));
        }
        let taken = self.taken();
        if taken.is_empty() {
            return Ok(());
        }
        let lines: Vec<String> = taken.iter().map(|(port, whose)| in_use(*port, whose)).collect();
        bail!("{}", lines.join("\n"));
    }

    fn taken(&self) -> Vec<(u16, &'static str)> {
        let mut taken: Vec<(u16, &str)> = self.all().into_iter().filter(|(port, _)| !ports::is_free(*port)).collect();
        // `localhost` is also ::1, and clients try that first. (A machine without IPv6 is fine.)
        let shadowed = TcpListener::bind((Ipv6Addr::LOCALHOST, self.port))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse);
        if shadowed && !taken.iter().any(|(port, _)| *port == self.port) {
            taken.push((self.port, NGINX));
        }
        taken
    }

    fn all(&self) -> Vec<(u16, &'static str)> {
        let mut all = vec![(self.port, NGINX)];
        all.extend(self.gateway_ports.iter().map(|port| (*port, "a gateway")));
        all.extend(self.core_api_ports.iter().map(|port| (*port, "a core-api")));
        all.extend(self.sandbox_provider_port.map(|port| (port, SANDBOX)));
        all.extend(self.redis_port.map(|port| (port, "Redis")));
        all.extend(self.postgres_port.map(|port| (port, "PostgreSQL")));
        all
    }
}

/// What nginx allows one address, by the names of its template; all that comes here comes from one.
const NGINX_LIMITS: [&str; 3] = ["REQUESTS_PER_SECOND", "REQUESTS_BURST", "CONNECTIONS_PER_ADDRESS"];

fn nginx_limits(given: impl Fn(&'static str) -> Option<String>) -> Result<BTreeMap<&'static str, String>> {
    let mut limits = BTreeMap::new();
    for name in NGINX_LIMITS {
        if let Some(limit) = given(name) {
            ensure!(limit.parse::<u32>().is_ok_and(|limit| limit > 0), "{name} is no number above 0: {limit:?}");
            limits.insert(name, limit);
        }
    }
    Ok(limits)
}

const NGINX: &str = "nginx";
const SANDBOX: &str = "the sandbox of payments";

fn in_use(port: u16, whose: &str) -> String {
    let find = if cfg!(target_os = "linux") {
        format!("ss -ltnp 'sport = :{port}'")
    } else {
        format!("lsof -nP -iTCP:{port} -sTCP:LISTEN")
    };
    let otherwise = match whose {
        NGINX => ", or choose another port with --port",
        SANDBOX => ", or set PAYMENT_PROVIDER_URL to use a provider that runs already",
        "Redis" => ", or set REDIS_URL to use a Redis that runs already",
        "PostgreSQL" => ", or set DATABASE_URL to use a database that exists already",
        _ => "",
    };
    format!("port {port}, meant for {whose}, is in use: stop what listens there (`{find}` shows it){otherwise}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn plan(port: u16) -> Plan {
        Plan {
            port,
            gateway_ports: Vec::new(),
            core_api_ports: Vec::new(),
            sandbox_provider_port: None,
            redis_port: None,
            postgres_port: None,
            given_redis_url: None,
            redis_mode: RedisMode::Standalone,
            given_database_url: None,
            nginx_limits: BTreeMap::new(),
            data: PathBuf::new(),
            profile: Profile::Dev,
        }
    }

    #[test]
    fn a_port_in_use_is_named_with_what_to_do() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = plan(port).check_ports(false).unwrap_err().to_string();
        assert!(error.starts_with(&format!("port {port}, meant for nginx, is in use")), "{error}");
        assert!(error.ends_with("--port"), "{error}");
        drop(listener);
        assert!(plan(port).check_ports(false).is_ok());
    }

    #[test]
    fn limits_of_nginx_are_numbers_and_the_others_stay() {
        let limits = |value: &'static str| nginx_limits(|name| (name == "REQUESTS_BURST").then(|| value.to_owned()));
        assert_eq!(limits("50").unwrap(), BTreeMap::from([("REQUESTS_BURST", "50".to_owned())]));
        for bad in ["0", "-1", "5; deny all"] {
            assert!(limits(bad).unwrap_err().to_string().contains("REQUESTS_BURST"), "{bad}");
        }
    }

    #[test]
    fn a_port_taken_on_ipv6_only_would_shadow_localhost() {
        let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
            return; // no IPv6 here
        };
        let port = listener.local_addr().unwrap().port();
        assert!(plan(port).check_ports(false).is_err());
    }
}
