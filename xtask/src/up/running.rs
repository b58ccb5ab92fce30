//! The stack while it runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stack::nginx::{self, Nginx};
use stack::onsale::{PaymentProvider, Secrets, Service, Setup, nginx_values};
use stack::postgres::{Postgres, PostgresOptions};
use stack::process::{Foreground, Process};
use stack::redis::{Redis, RedisOptions};
use stack::wait;

use super::plan::Plan;
use super::settings::{self, Settings};
use super::{PRIVATE_MODE, make_folder};
use crate::ui::Steps;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Build, secrets, migrations, demo data, nginx; servers and services come on top.
const FIXED_STEPS: usize = 5;

/// Everything that was started. Dropping it stops it, front to back, so that nobody is sent to
/// what is already gone.
#[derive(Debug, Default)]
pub(super) struct Running {
    nginx: Option<Nginx>,
    gateways: Vec<Service>,
    core_apis: Vec<Service>,
    sandbox_provider: Option<Service>,
    redis: Option<Redis>,
    postgres: Option<Postgres>,
    /// The folder of the stack's data, once the load tests were told of it.
    told_in: Option<PathBuf>,
}

impl Running {
    /// Builds and starts everything. What was started before a failure is stopped again.
    pub(super) fn start(plan: &Plan) -> Result<Self> {
        let servers = [plan.redis_port, plan.postgres_port, plan.sandbox_provider_port].iter().flatten().count();
        let steps = Steps::new(FIXED_STEPS + servers + plan.gateway_ports.len() + plan.core_api_ports.len());
        empty_logs(&plan.logs())?;
        let mut running = Self::default();
        steps.take_loudly(
            "Building gateway, core-api and the sandbox of payments",
            &format!("Built ({})", plan.profile.name()),
            || build(plan),
        )?;
        running.start_servers(plan, &steps)?;
        let setup = running.setup(plan, &steps)?;
        steps.take("Applying migrations", "Database migrated", || setup.migrate())?;
        steps.take("Loading demo data", "Demo data loaded", || setup.demo())?;
        running.start_services(plan, &setup, &steps)?;
        let processes: Vec<String> =
            running.processes().map(|process| format!("{}={}", process.name(), process.pid())).collect();
        let gateway = Settings::of(&setup.binaries.join("gateway"))?;
        settings::write_stack_file(plan, &setup, &gateway, &processes.join(","))?;
        running.told_in = Some(plan.data.clone());
        Ok(running)
    }

    fn start_servers(&mut self, plan: &Plan, steps: &Steps) -> Result<()> {
        match plan.redis_port {
            None => steps.line("  REDIS_URL is set: that Redis is used"),
            Some(port) => {
                let dir = plan.data.join("redis");
                make_folder(&dir, PRIVATE_MODE)?;
                let options = RedisOptions {
                    dir: Some(dir),
                    log: Some(plan.logs().join("redis.log")),
                    port: Some(port),
                    appendonly: true,
                    more: Vec::new(),
                };
                let done = format!("Redis on 127.0.0.1:{port}");
                self.redis = Some(steps.take("Starting Redis", &done, || Redis::start(&options))?);
            }
        }
        match plan.postgres_port {
            None => steps.line("  DATABASE_URL is set: that database is used"),
            Some(port) => {
                let options = PostgresOptions {
                    data: Some(plan.data.join("postgres")),
                    log: Some(plan.logs().join("postgres.log")),
                    port: Some(port),
                    durable: true,
                };
                let done = format!("PostgreSQL on 127.0.0.1:{port}");
                self.postgres = Some(steps.take("Starting PostgreSQL", &done, || Postgres::start(&options))?);
            }
        }
        Ok(())
    }

    fn setup(&self, plan: &Plan, steps: &Steps) -> Result<Setup> {
        let binaries = binaries(plan)?;
        let file = plan.data.join("secrets.env");
        let secrets = steps.take("Reading secrets", "Secrets in .onsale/secrets.env", || {
            Secrets::load_or_generate(&file, &binaries.join("gateway"))
        })?;
        let gateway_env = Settings::of(&binaries.join("gateway"))?.given();
        let core_api_env = Settings::of(&binaries.join("core-api"))?.given();
        let redis_url = self.redis.as_ref().map(Redis::url).or_else(|| plan.given_redis_url.clone());
        let database = |ours: fn(&Postgres, &str) -> String| {
            let url = self.postgres.as_ref().map(|it| ours(it, "onsale"));
            url.or_else(|| plan.given_database_url.clone()).context("no database")
        };
        Ok(Setup {
            binaries,
            logs: plan.logs(),
            secrets,
            redis_url: redis_url.context("no Redis")?,
            redis_mode: plan.redis_mode,
            database_url: database(Postgres::url)?,
            queue_database_url: database(Postgres::gateway_url)?,
            public_url: plan.url(),
            payment_provider: plan.sandbox_provider_port.map(PaymentProvider::sandbox).transpose()?,
            gateway_env,
            core_api_env,
        })
    }

    fn start_services(&mut self, plan: &Plan, setup: &Setup, steps: &Steps) -> Result<()> {
        match &setup.payment_provider {
            None => steps.line("  PAYMENT_PROVIDER_URL is set: that provider is used"),
            Some(provider) => {
                let done = format!("Sandbox of payments on {}", provider.url.trim_start_matches("http://"));
                let start = || setup.start_sandbox_provider(provider, &plan.url());
                self.sandbox_provider = Some(steps.take("Starting the sandbox of payments", &done, start)?);
            }
        }
        for (number, port) in (1..).zip(&plan.core_api_ports) {
            let name = format!("core-api-{number}");
            let done = format!("{name} on 127.0.0.1:{port}");
            let service =
                steps.take(&format!("Starting {name}"), &done, || setup.start_core_api(&name, Some(*port)))?;
            self.core_apis.push(service);
        }
        let core_apis: Vec<String> = self.core_apis.iter().map(Service::url).collect();
        for (number, port) in (1..).zip(&plan.gateway_ports) {
            let name = format!("gateway-{number}");
            let done = format!("{name} on 127.0.0.1:{port}");
            let service = steps
                .take(&format!("Starting {name}"), &done, || setup.start_gateway(&name, Some(*port), &core_apis))?;
            self.gateways.push(service);
        }
        let done = format!("nginx on 127.0.0.1:{}", plan.port);
        self.nginx = Some(steps.take("Starting nginx", &done, || start_nginx(plan, &self.gateways))?);
        Ok(())
    }

    /// Watches until a signal comes (`Ok`) or something ends by itself (an error with the end of
    /// its log).
    pub(super) fn supervise(&self) -> Result<()> {
        while !wait::is_cancelled() {
            for process in self.processes() {
                process.ensure_running()?;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Stops everything, front to back.
    pub(super) fn stop(&mut self) {
        if let Some(data) = self.told_in.take() {
            settings::remove_stack_file(&data);
        }
        if let Some(nginx) = self.nginx.take() {
            nginx.stop();
        }
        for services in [&mut self.gateways, &mut self.core_apis] {
            // Replicas drain at the same time.
            std::thread::scope(|scope| {
                for service in services.drain(..) {
                    scope.spawn(move || service.stop());
                }
            });
        }
        if let Some(sandbox) = self.sandbox_provider.take() {
            sandbox.stop();
        }
        if let Some(redis) = self.redis.take() {
            redis.stop();
        }
        if let Some(postgres) = self.postgres.take() {
            postgres.stop();
        }
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.nginx
            .iter()
            .map(Nginx::process)
            .chain(self.gateways.iter().chain(&self.core_apis).chain(&self.sandbox_provider).map(Service::process))
            .chain(self.redis.iter().map(Redis::process))
            .chain(self.postgres.iter().map(Postgres::process))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn binaries(plan: &Plan) -> Result<PathBuf> {
    let own = stack::profile_dir()?;
    let target = own.parent().context("no target folder")?;
    Ok(target.join(plan.profile.folder()))
}

fn build(plan: &Plan) -> Result<()> {
    let mut command = crate::cargo();
    command
        .args(["build", "--package", "gateway", "--package", "core-api", "--package", "sandbox-provider", "--bins"])
        .args(["--profile", plan.profile.name()])
        .current_dir(stack::project_root());
    let status = Foreground::start(&mut command)?.wait()?;
    ensure!(status.success(), "the build failed (see above)");
    Ok(())
}

fn start_nginx(plan: &Plan, gateways: &[Service]) -> Result<Nginx> {
    let prefix = plan.data.join("nginx");
    let addresses: Vec<_> = gateways.iter().map(Service::address).collect();
    let mut values = nginx_values(&addresses, &prefix, &plan.logs().join("nginx-access.log"));
    values.insert("LISTEN", format!("127.0.0.1:{}", plan.port));
    values.extend(plan.nginx_limits.clone());
    let http = nginx::render(&nginx::template()?, &values)?;
    Nginx::start_logging_to(&prefix, &http, plan.port, &plan.logs().join("nginx.log"))
}

/// Each start begins its logs anew, or they would grow for ever.
fn empty_logs(logs: &Path) -> Result<()> {
    make_folder(logs, PRIVATE_MODE)?;
    for entry in std::fs::read_dir(logs)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            std::fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}
