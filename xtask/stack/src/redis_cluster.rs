//! A Redis Cluster of private nodes.

use std::time::Duration;

use anyhow::Result;

use crate::redis::{Redis, RedisOptions};
use crate::{ports, wait};

const TIMEOUT: Duration = Duration::from_secs(30);
const MASTERS: u16 = 3;
const SLOTS: u16 = 16_384;

/// Three masters in cluster mode on 127.0.0.1, every slot served, no replicas.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts the nodes and waits until each sees the whole cluster in order.
    ///
    /// It does what `redis-cli --cluster create` does, without that command's seconds of waiting
    /// and with bus ports of our choice (by default they are the port plus 10,000, which may be
    /// taken).
    pub fn start() -> Result<Self> {
        let nodes = (0..MASTERS).map(|_| Node::start()).collect::<Result<Vec<Node>>>()?;
        for (index, node) in (0..MASTERS).zip(&nodes) {
            let first = index * (SLOTS / MASTERS);
            let last = if index == MASTERS - 1 { SLOTS - 1 } else { first + SLOTS / MASTERS - 1 };
            let (first, last) = (first.to_string(), last.to_string());
            node.redis.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            // Nodes with the same epoch would have to settle who owns what first.
            let epoch = (index + 1).to_string();
            node.redis.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])?;
        }
        if let Some((first, others)) = nodes.split_first() {
            for other in others {
                let (port, bus) = (other.redis.port().to_string(), other.bus_port.to_string());
                first.redis.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
            }
        }
        let cluster = Self { nodes: nodes.into_iter().map(|node| node.redis).collect() };
        cluster.wait_until_ok()?;
        Ok(cluster)
    }

    /// The nodes' URLs, comma-separated.
    pub fn urls(&self) -> String {
        let urls: Vec<String> = self.nodes.iter().map(Redis::url).collect();
        urls.join(",")
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// Waits until every node says that the cluster is in order, as after a node's restart.
    pub fn wait_until_ok(&self) -> Result<()> {
        const EXPECTED: [&str; 3] = ["cluster_state:ok", "cluster_slots_ok:16384", "cluster_known_nodes:3"];
        wait::until("the Redis cluster to be in order", TIMEOUT, || {
            for node in &self.nodes {
                node.process().ensure_running()?;
                let info = node.command(&["CLUSTER", "INFO"]).unwrap_or_default();
                if !EXPECTED.iter().all(|expected| info.lines().any(|line| line == *expected)) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }
}

struct Node {
    redis: Redis,
    bus_port: u16,
}

impl Node {
    fn start() -> Result<Self> {
        ports::with_port(None, |bus_port| {
            let bus = bus_port.to_string();
            let more = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
            let redis =
                Redis::start(&RedisOptions { more: more.map(str::to_owned).to_vec(), ..RedisOptions::default() })?;
            Ok(Self { redis, bus_port })
        })
    }
}
