//! Onsale itself: gateways, core-apis and what stands around them.
//!
//! [`Setup`] says what the services have in common; it starts single services, which tests kill
//! and restart as they like. [`Onsale`] is a whole stack behind nginx in one call.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read as _, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use crate::onsale_stack::{MOCK_PORT, Onsale, OnsaleOptions, nginx_values, no_rate_limits};
use crate::process::{Launch, Process};
use crate::{http, ports, programs, wait};

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// A service drains for up to ten seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// Only its owner may read the file with the secrets.
const SECRETS_MODE: u32 = 0o600;

/// What every file of secrets has had from the first.
const FIRST_SECRETS: [&str; 4] = ["SESSION_SECRET", "TICKET_SECRET", "PASS_PRIVATE_KEYS", "PASS_PUBLIC_KEYS"];
/// What a file of an earlier version may lack.
const ENTRY_TICKETS: &str = "ENTRY_TICKET_PRIVATE_KEYS";

/// What the services sign and verify tokens with. Its debug output shows none of it.
#[derive(Clone)]
pub struct Secrets(BTreeMap<String, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({:?})", self.0.keys())
    }
}

impl Secrets {
    /// New ones, made by `gateway generate-secrets`.
    pub fn generate(gateway: &Path) -> Result<Self> {
        let text = programs::output(programs::command(gateway).arg("generate-secrets"))?;
        Self::parse(&text)
    }

    /// Those of the file, or new ones that are then written to it; so is what a file of an earlier version lacks.
    pub fn load_or_generate(file: &Path, gateway: &Path) -> Result<Self> {
        if let Ok(text) = std::fs::read_to_string(file) {
            return Self::complete(&text, file, gateway).with_context(|| file.display().to_string());
        }
        let secrets = Self::generate(gateway)?;
        let lines: Vec<String> = secrets.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(SECRETS_MODE)
            .open(file)
            .and_then(|mut opened| writeln!(opened, "{}", lines.join("\n")))
            .with_context(|| file.display().to_string())?;
        Ok(secrets)
    }

    /// The value of one of them, such as `SESSION_SECRET`.
    pub fn get(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("the secrets have no {name}"))
    }

    fn complete(text: &str, file: &Path, gateway: &Path) -> Result<Self> {
        if text.lines().any(|line| line.starts_with(ENTRY_TICKETS)) {
            return Self::parse(text);
        }
        let line = format!("{ENTRY_TICKETS}={}", Self::generate(gateway)?.get(ENTRY_TICKETS)?);
        let text = format!("{}\n{line}\n", text.trim_end());
        let secrets = Self::parse(&text)?;
        writeln!(std::fs::OpenOptions::new().append(true).open(file)?, "{line}")?;
        Ok(secrets)
    }

    fn parse(text: &str) -> Result<Self> {
        let secrets: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        let secrets = Self(secrets);
        for name in FIRST_SECRETS.iter().chain([&ENTRY_TICKETS]) {
            ensure!(!secrets.get(name)?.is_empty(), "{name} is empty");
        }
        Ok(secrets)
    }
}

/// How a stack's Redis is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedisMode {
    /// One server.
    #[default]
    Standalone,
    /// Redis Cluster; the URLs are its nodes'.
    Cluster,
    /// A master that sentinels watch; the URLs are theirs.
    Sentinel,
}

impl RedisMode {
    /// As `REDIS_MODE` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Cluster => "cluster",
            Self::Sentinel => "sentinel",
        }
    }
}

impl FromStr for RedisMode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let modes = [Self::Standalone, Self::Cluster, Self::Sentinel];
        modes.into_iter().find(|mode| mode.as_str() == text).context("REDIS_MODE is standalone, cluster or sentinel")
    }
}

/// A payment provider, and what it and core-api know each other by. Its debug output shows none of that.
#[derive(Clone)]
pub struct PaymentProvider {
    /// Where it is, `http://host:port`.
    pub url: String,
    key: String,
    webhook_secret: String,
}

impl fmt::Debug for PaymentProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PaymentProvider({})", self.url)
    }
}

impl PaymentProvider {
    /// The sandbox that is going to listen on `port`, with new secrets: it forgets its payments with each start, so
    /// nothing needs the old ones.
    pub fn sandbox(port: u16) -> Result<Self> {
        let (key, webhook_secret) = (random_text()?, random_text()?);
        Ok(Self { url: format!("http://127.0.0.1:{port}"), key, webhook_secret })
    }
}

/// 32 random bytes in hex.
fn random_text() -> Result<String> {
    let mut source = std::fs::File::open("/dev/urandom").context("/dev/urandom")?;
    let mut half = || -> Result<u128> {
        let mut bytes = [0_u8; 16];
        source.read_exact(&mut bytes).context("/dev/urandom")?;
        Ok(u128::from_be_bytes(bytes))
    };
    Ok(format!("{:032x}{:032x}", half()?, half()?))
}

/// What all services of one stack have in common.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The folder with the binaries `gateway` and `core-api`, such as `target/debug`.
    pub binaries: PathBuf,
    /// The folder that logs go to, one file per service.
    pub logs: PathBuf,
    /// Keys and secrets.
    pub secrets: Secrets,
    /// Redis by its URL, or a cluster's nodes or the sentinels by theirs, comma-separated.
    pub redis_url: String,
    /// What `redis_url` names.
    pub redis_mode: RedisMode,
    /// The database.
    pub database_url: String,
    /// The same for gateways, who may do less there.
    pub queue_database_url: String,
    /// The address that clients see, such as `http://localhost:8080`.
    pub public_url: String,
    /// The provider of card payments, if there is one.
    pub payment_provider: Option<PaymentProvider>,
    /// More variables for gateways (`ADMIT_PER_SECOND` …); they win over the ones made here.
    pub gateway_env: BTreeMap<String, String>,
    /// More variables for core-apis (`HOLD_SECONDS` …); they win over the ones made here.
    pub core_api_env: BTreeMap<String, String>,
}

impl Setup {
    /// Applies the migrations (`core-api migrate`).
    pub fn migrate(&self) -> Result<()> {
        self.core_api_to_its_end("migrate")
    }

    /// Loads the demo data (`core-api demo`); changes nothing when it is there.
    pub fn demo(&self) -> Result<()> {
        self.core_api_to_its_end("demo")
    }

    /// Asks whether everything holds that must always hold (`core-api audit`); the error names what does not.
    pub fn audit(&self) -> Result<()> {
        self.core_api_to_its_end("audit")
    }

    /// Starts a core-api and waits until it is ready. `name` names it in messages and its log
    /// file; the port is a free one if none is given.
    pub fn start_core_api(&self, name: &str, port: Option<u16>) -> Result<Service> {
        let mut env = self.core_api_env();
        Service::start(port, |port| {
            env.insert("CORE_API_LISTEN".into(), format!("127.0.0.1:{port}"));
            env.extend(self.core_api_env.clone());
            Ok(self.launch("core-api", name)?.arg_env("serve", &env))
        })
    }

    /// Starts the sandbox of payments on its port and waits until it is ready. Its messages go to `site`, where clients go.
    pub fn start_sandbox_provider(&self, provider: &PaymentProvider, site: &str) -> Result<Service> {
        let port = provider.url.rsplit(':').next().and_then(|port| port.parse().ok());
        Service::start(Some(port.context("a sandbox without a port")?), |port| {
            let env = [
                ("SANDBOX_PROVIDER_LISTEN", format!("127.0.0.1:{port}")),
                ("SANDBOX_PROVIDER_WEBHOOK_URL", format!("{site}/webhooks/payments/sandbox")),
                ("PAYMENT_PROVIDER_KEY", provider.key.clone()),
                ("PAYMENT_WEBHOOK_SECRETS", provider.webhook_secret.clone()),
                ("LOG_FORMAT", "text".to_owned()),
            ];
            let env = env.map(|(name, value)| (name.to_owned(), value)).into();
            Ok(self.launch("sandbox-provider", "sandbox-provider")?.arg_env("serve", &env))
        })
    }

    /// Starts a gateway before the given core-apis (`http://host:port`) and waits until it is
    /// ready.
    pub fn start_gateway(&self, name: &str, port: Option<u16>, core_api_urls: &[String]) -> Result<Service> {
        let mut env = self.common_env();
        env.insert("CORE_API_URLS".into(), core_api_urls.join(","));
        env.insert("QUEUE_DATABASE_URL".into(), self.queue_database_url.clone());
        for secret in ["SESSION_SECRET", "TICKET_SECRET", "PASS_PRIVATE_KEYS"] {
            env.insert(secret.into(), self.secrets.get(secret)?.to_owned());
        }
        Service::start(port, |port| {
            env.insert("GATEWAY_LISTEN".into(), format!("127.0.0.1:{port}"));
            // Everybody on this machine has one address.
            env.insert("LOGINS_PER_MINUTE_PER_ADDRESS".into(), "0".into());
            env.extend(self.gateway_env.clone());
            Ok(self.launch("gateway", name)?.arg_env("serve", &env))
        })
    }

    fn common_env(&self) -> BTreeMap<String, String> {
        [
            ("REDIS_URL", self.redis_url.as_str()),
            ("REDIS_MODE", self.redis_mode.as_str()),
            ("PUBLIC_URL", &self.public_url),
            ("LOG_FORMAT", "text"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    fn core_api_env(&self) -> BTreeMap<String, String> {
        let mut env = self.common_env();
        env.insert("DATABASE_URL".into(), self.database_url.clone());
        for secret in ["SESSION_SECRET", "PASS_PUBLIC_KEYS", ENTRY_TICKETS] {
            let value = self.secrets.get(secret).unwrap_or_default();
            env.insert(secret.into(), value.to_owned());
        }
        if let Some(provider) = &self.payment_provider {
            env.insert("PAYMENT_PROVIDER_URL".into(), provider.url.clone());
            env.insert("PAYMENT_PROVIDER_KEY".into(), provider.key.clone());
            env.insert("PAYMENT_WEBHOOK_SECRETS".into(), provider.webhook_secret.clone());
        }
        env
    }

    fn launch(&self, program: &str, name: &str) -> Result<Launch> {
        let path = self.binaries.join(program);
        ensure!(path.is_file(), "{} is missing: run `cargo build --workspace --bins` first", path.display());
        std::fs::create_dir_all(&self.logs)?;
        Ok(Launch::new(name, path, self.logs.join(format!("{name}.log"))))
    }

    fn core_api_to_its_end(&self, verb: &str) -> Result<()> {
        let name = format!("core-api-{verb}");
        let mut env = self.core_api_env();
        env.extend(self.core_api_env.clone());
        let process = self.launch("core-api", &name)?.arg_env(verb, &env).start()?;
        let status = wait::until(&name, VERB_TIMEOUT, || Ok(process.exit_status()))?;
        ensure!(
            status.success(),
            "core-api {verb} failed ({status}). The end of {}:\n{}",
            process.log().display(),
            process.log_tail(20)
        );
        Ok(())
    }
}

/// Migrations and demo data, which hashes passwords.
const VERB_TIMEOUT: Duration = Duration::from_mins(2);

impl Launch {
    fn arg_env(self, verb: &str, env: &BTreeMap<String, String>) -> Self {
        self.args([verb]).envs(env.clone())
    }
}

/// A running gateway, core-api or sandbox of payments. Dropping it stops it.
#[derive(Debug)]
pub struct Service {
    process: Process,
    port: u16,
}

impl Service {
    fn start(port: Option<u16>, mut launch: impl FnMut(u16) -> Result<Launch>) -> Result<Self> {
        ports::with_port(port, |port| {
            let process = launch(port)?.start()?;
            let service = Self { process, port };
            service.wait_until_ready()?;
            Ok(service)
        })
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its process, to kill, pause or resume.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Stops it in good order.
    pub fn stop(&self) {
        self.process.terminate(STOP_TIMEOUT);
    }

    /// Stops it if it runs, starts it again on the same port and waits until it is ready.
    pub fn restart(&self) -> Result<()> {
        self.restart_with(&BTreeMap::new())
    }

    /// [`Service::restart`] with other values of some variables, as a new configuration is rolled out.
    pub fn restart_with(&self, changes: &BTreeMap<String, String>) -> Result<()> {
        self.stop();
        self.process.restart_with(changes)?;
        self.wait_until_ready()
    }

    /// Waits until it says that it is ready (`GET /health/ready` answers 200).
    pub fn wait_until_ready(&self) -> Result<()> {
        let what = format!("{} to be ready", self.process.name());
        let ready = wait::until(&what, START_TIMEOUT, || {
            self.process.ensure_running()?;
            let answer = http::get(self.address(), "/health/ready");
            Ok(answer.is_ok_and(|(status, _)| status == 200).then_some(()))
        });
        ready.with_context(|| format!("the end of {}:\n{}", self.process.log().display(), self.process.log_tail(20)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "SESSION_SECRET=a=b\nTICKET_SECRET=c\nPASS_PRIVATE_KEYS=k1:d\nPASS_PUBLIC_KEYS=k1:e\n";
    const TEXT: &str = concat!(
        "SESSION_SECRET=a=b\nTICKET_SECRET=c\nPASS_PRIVATE_KEYS=k1:d\nPASS_PUBLIC_KEYS=k1:e\n",
        "ENTRY_TICKET_PRIVATE_KEYS=k1:f\n"
    );

    #[test]
    fn a_file_of_an_earlier_version_is_given_what_it_lacks_and_keeps_the_rest() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = crate::scratch::Scratch::new("secrets").unwrap();
        let (file, gateway) = (folder.path().join("secrets.env"), folder.path().join("gateway"));
        std::fs::write(&file, OLD).unwrap();
        std::fs::write(&gateway, format!("#!/bin/sh\nprintf '{}'\n", TEXT.replace("a=b", "new"))).unwrap();
        std::fs::set_permissions(&gateway, std::fs::Permissions::from_mode(0o700)).unwrap();
        let secrets = Secrets::load_or_generate(&file, &gateway).unwrap();
        assert_eq!(secrets.get("SESSION_SECRET").unwrap(), "a=b");
        assert_eq!(secrets.get(ENTRY_TICKETS).unwrap(), "k1:f");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), TEXT);
        // Complete, it is asked for nothing any more.
        std::fs::remove_file(&gateway).unwrap();
        assert_eq!(Secrets::load_or_generate(&file, &gateway).unwrap().get(ENTRY_TICKETS).unwrap(), "k1:f");
    }

    #[test]
    fn a_redis_mode_is_read_as_it_is_written() {
        for mode in [RedisMode::Standalone, RedisMode::Cluster, RedisMode::Sentinel] {
            assert_eq!(mode.as_str().parse::<RedisMode>().unwrap(), mode);
        }
        assert!("both".parse::<RedisMode>().unwrap_err().to_string().contains("sentinel"));
    }

    #[test]
    fn secrets_keep_their_equal_signs_and_stay_out_of_debug_output() {
        let secrets = Secrets::parse(TEXT).unwrap();
        assert_eq!(secrets.get("SESSION_SECRET").unwrap(), "a=b");
        assert!(!format!("{secrets:?}").contains("a=b"));
    }

    #[test]
    fn a_provider_s_secrets_are_new_and_stay_out_of_debug_output() {
        let provider = PaymentProvider::sandbox(1).unwrap();
        assert!(provider.key.len() == 64 && provider.key != provider.webhook_secret);
        let shown = format!("{provider:?}");
        assert!(!shown.contains(&provider.key) && !shown.contains(&provider.webhook_secret));
    }

    #[test]
    fn a_missing_or_empty_secret_is_named() {
        let error = Secrets::parse("SESSION_SECRET=a\n").unwrap_err();
        assert!(error.to_string().contains("TICKET_SECRET"), "{error}");
        let error = Secrets::parse(&TEXT.replace("k1:e", "")).unwrap_err();
        assert!(error.to_string().contains("PASS_PUBLIC_KEYS"), "{error}");
    }
}
