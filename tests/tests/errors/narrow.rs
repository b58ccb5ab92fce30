//! A site of few means: no record, no key for webhooks, and little room at every edge.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::spec::Spec;
use http::Method;
use stack::onsale::{Onsale, OnsaleOptions};
use stack::proc_fs::{PROC, Processes};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

use crate::any::provoke_of;
use crate::ledger::{Ledger, OUT_OF_FILES};
use crate::raw::Connection;
use crate::request::{NOBODY, Request, World, name};

/// Requests in progress that one address may have.
const CONNECTIONS: usize = 2;
/// Fewer files than a process has open as it starts, and as many as nginx is given in tests.
const FEW_FILES: u32 = 3;
const ENOUGH_FILES: u32 = 8_192;

/// The site, with a Redis of its own.
pub(crate) struct Narrow {
    onsale: Onsale,
    _redis: Redis,
}

fn environment(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl Narrow {
    pub(crate) fn start() -> Result<Self> {
        let redis = Redis::start(&RedisOptions::default())?;
        let onsale = Onsale::start(&OnsaleOptions {
            redis_url: Some(redis.url()),
            gateway_env: environment(&[("QUEUE_DATABASE_URL", "")]),
            core_api_env: environment(&[("HOLD_EXTEND_SECONDS", "0")]),
            nginx_values: BTreeMap::from([("CONNECTIONS_PER_ADDRESS", CONNECTIONS.to_string())]),
            ..OnsaleOptions::default()
        })?;
        Ok(Self { onsale, _redis: redis })
    }

    pub(crate) async fn provoke(&self, spec: &Spec, ledger: &Ledger) -> Result<()> {
        let mut world = World::of(spec, ledger, self.onsale.url()).await?;
        let concerts = world.user.get("/concerts?available=true").await?.ok()?;
        let concert = concerts.body["data"][0]["id"].as_str().context("no concert is on sale")?.to_owned();
        world.ids.insert("concertId", concert.clone());
        for operation in &world.operations {
            for code in ["record_not_configured", "webhooks_not_configured"] {
                if ledger.tells(name(operation), code) {
                    world.provoke(operation, code, &world.request(operation)?).await;
                }
            }
        }
        world.refuses(&world.user, "extendReservation", &[NOBODY], None, "not_extendable").await?;
        self.too_many(&world, &concert).await?;
        self.overloaded(&world).await?;
        if OUT_OF_FILES {
            self.out_of_files(&world).await?;
        }
        self.onsale.gateways().iter().for_each(|gateway| gateway.process().kill());
        provoke_one_by_one(&world, "service_unavailable").await
    }

    /// All that one address may have in progress is: streams, which don't end by themselves.
    async fn too_many(&self, world: &World<'_>, concert: &str) -> Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = client.get(format!("{}/concerts/{concert}/seats/events", world.url)).send().await?;
            streams.push(stream.error_for_status()?);
        }
        provoke_of(world, "too_many_requests", |_| true).await?;
        drop(streams);
        self.serves_again(world, "/health/live", 200).await
    }

    /// The one request that a gateway may have under way is: its body does not come. Health is always told.
    async fn overloaded(&self, world: &World<'_>) -> Result<()> {
        let gateway = &self.onsale.gateways()[0];
        gateway.restart_with(&environment(&[("GATEWAY_MAX_IN_FLIGHT", "1")]))?;
        let mut slow = Connection::open(gateway.address()).await?;
        slow.send_slowly(&world.request(world.operation("joinQueue")?)?).await?;
        self.serves_again(world, "/.well-known/jwks.json", 503).await?;
        for operation in world.operations.iter().filter(|one| world.ledger.tells(name(one), "overloaded")) {
            world.provoke(operation, "overloaded", &world.request(operation)?).await;
        }
        drop(slow);
        gateway.restart_with(&environment(&[("GATEWAY_MAX_IN_FLIGHT", "10000")]))
    }

    /// nginx can open nothing any more, not even a connection to a gateway. Those of clients it has already, and none
    /// to a gateway, which has only just started.
    async fn out_of_files(&self, world: &World<'_>) -> Result<()> {
        let nginx = self.onsale.nginx();
        let mut connections = Vec::new();
        for operation in &world.operations {
            let mut connection = Connection::open(([127, 0, 0, 1], nginx.port()).into()).await?;
            // What nginx answers by itself, having accepted the connection, which stays open.
            let path = "/_problem".to_owned();
            connection.send(&Request { method: Method::GET, path, headers: Vec::new(), body: None }).await?;
            connection.answer().await?;
            connections.push((operation, connection));
        }
        limit_files(nginx.process().pid(), FEW_FILES)?;
        for (operation, mut connection) in connections {
            let answered = async {
                connection.send(&world.request(operation)?).await?;
                connection.answer().await
            };
            match answered.await {
                Ok(answer) => world.ledger.note(name(operation), "internal_error", &answer),
                Err(error) => world.ledger.fault(format!("{} internal_error: {error:#}", name(operation))),
            }
        }
        limit_files(nginx.process().pid(), ENOUGH_FILES)
    }

    /// Waits until `path` is answered with `status`.
    async fn serves_again(&self, world: &World<'_>, path: &str, status: u16) -> Result<()> {
        let begun = Instant::now();
        while world.user.get(path).await?.status != status {
            ensure!(begun.elapsed() < PATIENCE, "{path} is not answered {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// Asks for everything, in no more requests at once than this site takes of one address.
async fn provoke_one_by_one(world: &World<'_>, code: &str) -> Result<()> {
    for operation in &world.operations {
        world.provoke(operation, code, &world.request(operation)?).await;
    }
    Ok(())
}

/// Lets the workers of an nginx have so many files open.
fn limit_files(master: u32, files: u32) -> Result<()> {
    let processes = Processes::read(Path::new(PROC))?;
    let workers = processes.children(master);
    ensure!(!workers.is_empty(), "nginx has no workers");
    for worker in workers {
        let limited = std::process::Command::new("prlimit")
            .args(["--pid", &worker.to_string(), &format!("--nofile={files}:")])
            .status()
            .context("prlimit")?;
        ensure!(limited.success(), "prlimit: {limited}");
    }
    Ok(())
}
