//! Polls and joins, straight to one gateway on a core of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use gateway::store::RoomKeys;
use stack::plain_nginx::PlainNginx;

use crate::compare::{Extent, Side, compare};
use crate::concerts::concert;
use crate::figures::{Row, Target, What};
use crate::people::{self, Waiting};
use crate::site::{STILL, Site, context};
use crate::wrk::{Answers, CONNECTIONS, Requests};
use crate::{cpu, progress};

pub(super) const NAMES: &[&str] = &[
    "status",
    "status-nginx",
    "status-million",
    "frontier",
    "token",
    "joins-redis",
    "token-million",
    "gateway-memory",
    "redis-memory",
];

const STATUS: What = What {
    name: "status",
    path: "GET /queue/status, far from the front",
    ceiling: "nginx `return 200`, the same body",
    unit: "/s",
    target: Target::AtLeast(0.9),
};
const STATUS_NGINX: What = What {
    name: "status-nginx",
    path: "GET /queue/status through nginx",
    ceiling: "gateway straight",
    unit: "/s",
    target: Target::None,
};
const STATUS_MILLION: What = What {
    name: "status-million",
    path: "GET /queue/status at 1,000,000 waiting",
    ceiling: "the same at 1,000",
    unit: "/s",
    target: Target::AtLeast(0.97),
};
const FRONTIER: What = What {
    name: "frontier",
    path: "GET frontier through nginx' cache",
    ceiling: "nginx `return 200`, the same body",
    unit: "/s",
    target: Target::AtLeast(0.8),
};
const TOKEN: What = What {
    name: "token",
    path: "POST /queue/token, new users",
    ceiling: "GET /queue/status",
    unit: "/s",
    target: Target::AtLeast(0.5),
};
const JOINS_REDIS: What = What {
    name: "joins-redis",
    path: "CPU of Redis a join, at saturation",
    ceiling: "one EVALSHA a join",
    unit: "µs",
    target: Target::AtMost(0.35),
};
const TOKEN_MILLION: What = What {
    name: "token-million",
    path: "POST /queue/token at 1,000,000 waiting",
    ceiling: "the same at 1,000",
    unit: "/s",
    target: Target::AtLeast(0.9),
};
const GATEWAY_MEMORY: What = What {
    name: "gateway-memory",
    path: "memory of a gateway at 1,000,000 waiting",
    ceiling: "64 MiB",
    unit: "MiB",
    target: Target::AtMost(1.0),
};
const REDIS_MEMORY: What = What {
    name: "redis-memory",
    path: "memory of Redis a waiting person at 1,000,000",
    ceiling: "200 B",
    unit: "B",
    target: Target::AtMost(1.0),
};

/// The concerts of the bench that have rooms here.
const MILLION: u32 = 0;
const THOUSAND: u32 = 1;
const FIRST_OF_JOINS: u32 = 10;
/// How many people ask, one after the other.
const ASKING: usize = 1_000;
/// More than a gateway on one core lets join in a second.
const JOINS_PER_SECOND: u64 = 90_000;
const MIB: f64 = 1_048_576.0;

pub(super) async fn measure(extent: Extent, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Row>> {
    let site = Site::start_with_gateway(&STILL).await?;
    site.pin_gateway()?;
    let mut bench = Bench { site, extent, memory_before: 0.0, million: Vec::new(), thousand: Vec::new() };
    bench.fill().await?;
    let mut rows = Vec::new();
    if wanted(STATUS.name) {
        rows.push(bench.status().await?);
    }
    if wanted(STATUS_NGINX.name) {
        rows.push(bench.status_nginx()?);
    }
    if wanted(STATUS_MILLION.name) {
        rows.push(bench.status_million()?);
    }
    if wanted(GATEWAY_MEMORY.name) {
        rows.push(bench.gateway_memory()?);
    }
    if wanted(REDIS_MEMORY.name) {
        rows.push(bench.redis_memory()?);
    }
    if wanted(FRONTIER.name) {
        rows.push(bench.frontier().await?);
    }
    if wanted(TOKEN.name) || wanted(JOINS_REDIS.name) {
        rows.extend(bench.token().await?.into_iter().filter(|row| wanted(row.name)));
    }
    if wanted(TOKEN_MILLION.name) {
        rows.push(bench.token_million().await?);
    }
    Ok(rows)
}

struct Bench {
    site: Site,
    extent: Extent,
    /// What Redis used before anybody came.
    memory_before: f64,
    /// Polls of people far back in the two rooms.
    million: Vec<String>,
    thousand: Vec<String>,
}

impl Bench {
    async fn fill(&mut self) -> Result<()> {
        progress::say("people join", 0, 1);
        // Whoever walks in while a room is idle is not in line.
        for room in [MILLION, THOUSAND] {
            people::join(&self.site, concert(room), &STILL, 1).await?;
        }
        self.memory_before = self.site.redis_info("memory", "used_memory")?;
        let (million, _) = people::join(&self.site, concert(MILLION), &STILL, self.extent.million).await?;
        self.million = people::polls(&self.site, concert(MILLION), &far_back(&million)).await?;
        let (thousand, _) = people::join(&self.site, concert(THOUSAND), &STILL, 1_000).await?;
        self.thousand = people::polls(&self.site, concert(THOUSAND), &far_back(&thousand)).await?;
        Ok(())
    }

    fn gateway(&self) -> Result<u32> {
        Ok(self.site.gateway()?.process().pid())
    }

    fn polls<'a>(&self, polls: &'a [String]) -> Result<Side<'a>> {
        Ok(Side::repeating(&self.site.gateway()?.address(), &[self.gateway()?], polls))
    }

    async fn status(&self) -> Result<Row> {
        let ceiling = self.returning(&self.million).await?;
        let theirs = Side::nginx(ceiling.nginx(), &self.million);
        compare(self.extent, STATUS, self.polls(&self.million)?, theirs, "One gateway with one worker on one core.")
    }

    fn status_nginx(&self) -> Result<Row> {
        let nginx = self.site.start_nginx()?;
        cpu::pin(nginx.process().pid(), cpu::SERVERS)?;
        let mut ours = Side::nginx(&nginx, &self.million);
        ours.servers.push(self.gateway()?);
        let how =
            "nginx and gateway share one core, as the gateway alone has it: what nginx costs a poll is the difference.";
        compare(self.extent, STATUS_NGINX, ours, self.polls(&self.million)?, how)
    }

    /// An nginx that returns what the gateway answered to the first of these requests.
    async fn returning(&self, requests: &[String]) -> Result<PlainNginx> {
        let (_, body) = people::try_one(self.site.gateway()?.address(), requests.first().map_or("", |one| one)).await?;
        let body = String::from_utf8(body)?;
        Site::ceiling(&format!("default_type application/json; return 200 '{body}';"))
    }

    fn status_million(&self) -> Result<Row> {
        let (ours, theirs) = (self.polls(&self.million)?, self.polls(&self.thousand)?);
        let how = format!("{} people in line, all asking from behind the middle.", self.extent.million);
        compare(self.extent, STATUS_MILLION, ours, theirs, &how)
    }

    fn gateway_memory(&self) -> Result<Row> {
        let used = cpu::resident_bytes(self.gateway()?)? / MIB;
        let how = format!("Resident, with {} people in line, after it was polled about them.", self.extent.million);
        Ok(GATEWAY_MEMORY.row(&[(used, 64.0)], how))
    }

    fn redis_memory(&self) -> Result<Row> {
        let people = f64::from(u32::try_from(self.extent.million + 1_000)?);
        let used = (self.site.redis_info("memory", "used_memory")? - self.memory_before) / people;
        let how = format!("`used_memory` of Redis with {} people in line.", self.extent.million);
        Ok(REDIS_MEMORY.row(&[(used, 200.0)], how))
    }

    async fn frontier(&self) -> Result<Row> {
        let nginx = self.site.start_nginx()?;
        cpu::pin(nginx.process().pid(), cpu::SERVERS)?;
        let path = format!("/queue/{}/frontier", concert(MILLION));
        let requests = [people::request("GET", &path, &[], None)];
        let ceiling = self.returning(&requests).await?;
        let keeping_warm = keep_warm(nginx.port(), requests[0].clone());
        let (ours, theirs) = (Side::nginx(&nginx, &requests), Side::nginx(ceiling.nginx(), &requests));
        let how = "The project's nginx, two workers on one core beside the gateway; somebody asked before.";
        let row = compare(self.extent, FRONTIER, ours, theirs, how);
        keeping_warm.abort();
        row
    }

    /// New people of a room, as many as a measurement may need.
    fn joins(&self, room: u32) -> Result<Requests> {
        let people = usize::try_from(JOINS_PER_SECOND * self.extent.time.as_secs())?;
        Ok(Requests::once(people::joins(&self.site, concert(room), people)?))
    }

    fn joining<'a>(&'a self, room: impl Fn(u32) -> u32 + 'a) -> Result<Side<'a>> {
        Ok(Side {
            address: self.site.gateway()?.address().to_string(),
            requests: Box::new(move |round| self.joins(room(round))),
            answers: Answers::Good,
            servers: vec![self.gateway()?],
        })
    }

    async fn token(&self) -> Result<Vec<Row>> {
        let (mut pairs, mut costs) = (Vec::new(), Vec::new());
        let (mut joins, mut polls) = (self.joining(|round| FIRST_OF_JOINS + round)?, self.polls(&self.thousand)?);
        let mut busy = Vec::new();
        for round in 0..self.extent.rounds {
            progress::say(TOKEN.name, round, self.extent.rounds);
            people::join(&self.site, concert(FIRST_OF_JOINS + round), &STILL, 2).await?;
            let before = self.site.redis_cpu()?;
            let (joined, gateway) = joins.measure(round, self.extent.time)?;
            let grouped = (self.site.redis_cpu()? - before) * 1e6 / f64::from(u32::try_from(joined.answers)?);
            let (polled, _) = polls.measure(round, self.extent.time)?;
            let single = self.one_call_a_join(FIRST_OF_JOINS + 20 + round).await?;
            pairs.push((joined.per_second, polled.per_second));
            costs.push((grouped, single));
            busy.push(format!("gateway {:.0} %, wrk {:.0} %", gateway * 100.0, joined.generator * 100.0));
        }
        let token = format!(
            "Every request is a new user's, its session and its body checked, its ticket signed; nothing is recorded in \
             PostgreSQL. One gateway with one worker on one core; Redis shares the other core with wrk ({CONNECTIONS} \
             connections). In each round: {}.",
            busy.join("; ")
        );
        let redis = format!(
            "CPU by `INFO cpu` during the joins of `token`, all else that Redis does for the gateway included; one call a \
             join: the same script with one user a call, on {CONNECTIONS} connections with one call under way each."
        );
        Ok(vec![TOKEN.row(&pairs, token), JOINS_REDIS.row(&costs, redis)])
    }

    /// µs of Redis' CPU for a join that is a call of its own.
    async fn one_call_a_join(&self, room: u32) -> Result<f64> {
        const JOINS: u32 = 300;
        people::join(&self.site, concert(room), &STILL, 2).await?;
        let clients = (0..CONNECTIONS).map(|_| self.site.queue()).collect::<Result<Vec<_>>>()?;
        let (keys, context) = (RoomKeys::of(concert(room)), context(&STILL));
        let before = self.site.redis_cpu()?;
        let calls = clients.iter().map(|client| async {
            for _ in 0..JOINS {
                client.join(&keys, &context, &[common::ids::UserId::generate()]).await?;
            }
            Ok::<_, anyhow::Error>(())
        });
        futures_util::future::try_join_all(calls).await?;
        Ok((self.site.redis_cpu()? - before) * 1e6 / f64::from(CONNECTIONS * JOINS))
    }

    async fn token_million(&self) -> Result<Row> {
        const ROOMS: u32 = FIRST_OF_JOINS + 40;
        for round in 0..self.extent.rounds {
            people::join(&self.site, concert(ROOMS + round), &STILL, 1_000).await?;
        }
        let (ours, theirs) = (self.joining(|_| MILLION)?, self.joining(|round| ROOMS + round)?);
        let how = "The smaller room is a new one of 1,000 people in each round, and grows while it is joined.";
        compare(self.extent, TOKEN_MILLION, ours, theirs, how)
    }
}

/// Asks an nginx twice a second: whoever is first after a pause waits for the gateway, and that is not what is measured.
fn keep_warm(port: u16, request: String) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            // Whatever comes of it: a failure shows in what is measured.
            let _ = people::try_one(SocketAddr::from(([127, 0, 0, 1], port)), &request).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
}

/// Some of the people in the back half, spread evenly.
fn far_back(people: &[Waiting]) -> Vec<Waiting> {
    let back = people.get(people.len() / 2..).unwrap_or_default();
    back.iter().step_by((back.len() / ASKING).max(1)).copied().collect()
}
