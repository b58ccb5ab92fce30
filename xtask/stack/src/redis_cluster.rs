//! A Redis Cluster of private nodes.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::redis::{Redis, RedisOptions};
use crate::{ports, wait};

const TIMEOUT: Duration = Duration::from_secs(30);
const MASTERS: u16 = 3;
const SLOTS: u16 = 16_384;

/// Three masters in cluster mode on 127.0.0.1, every slot served; with or without a replica each.
#[derive(Debug)]
pub struct RedisCluster {
    /// The first three began as masters.
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts three masters without replicas and waits until each sees the whole cluster in order.
    ///
    /// It does what `redis-cli --cluster create` does, without that command's seconds of waiting
    /// and with bus ports of our choice (by default they are the port plus 10,000, which may be
    /// taken).
    pub fn start() -> Result<Self> {
        let nodes = start_nodes(MASTERS, &[])?;
        share_slots(&nodes)?;
        introduce(&nodes)?;
        let cluster = Self { nodes: nodes.into_iter().map(|node| node.redis).collect() };
        cluster.wait_until_ok()?;
        Ok(cluster)
    }

    /// The same with a replica for each master, all in sync; a master that dies is replaced within
    /// seconds, and meanwhile takes only its own slots with it.
    pub fn start_with_replicas() -> Result<Self> {
        let nodes = start_nodes(2 * MASTERS, &["--cluster-require-full-coverage", "no"])?;
        let (masters, replicas) = nodes.split_at(usize::from(MASTERS));
        share_slots(masters)?;
        introduce(&nodes)?;
        for (master, replica) in masters.iter().zip(replicas) {
            let id = master.redis.command(&["CLUSTER", "MYID"])?;
            wait::until("the replica to be told of its master", TIMEOUT, || {
                Ok(replica.redis.command(&["CLUSTER", "REPLICATE", &id]).ok())
            })?;
        }
        let cluster = Self { nodes: nodes.into_iter().map(|node| node.redis).collect() };
        cluster.wait_until_ok()?;
        cluster.wait_until_in_sync()?;
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

    /// The master that serves a key's slot, as the nodes that run see it.
    pub fn master_of(&self, key: &str) -> Result<&Redis> {
        let asked = self.running().next().context("no node runs")?;
        let slot = asked.command(&["CLUSTER", "KEYSLOT", key])?.parse()?;
        let port = Table::of(asked)?.owner_of(slot).context("nobody serves the slot")?;
        self.nodes.iter().find(|node| node.port() == port).context("an unknown node serves the slot")
    }

    /// Kills (SIGKILL) the master that serves a key's slot, and answers which it was.
    pub fn kill_master_of(&self, key: &str) -> Result<&Redis> {
        let master = self.master_of(key)?;
        master.process().kill();
        Ok(master)
    }

    /// Waits until every node that answers sees a key's slot served by another than `old`, and the
    /// other answers; it is the one returned.
    pub fn wait_for_failover(&self, old: &Redis, key: &str) -> Result<&Redis> {
        let others = || self.running().filter(|node| node.port() != old.port());
        let asked = others().next().context("no other node runs")?;
        let slot = asked.command(&["CLUSTER", "KEYSLOT", key])?.parse()?;
        wait::until("the cluster's failover", TIMEOUT, || {
            let mut owners = others().map(|node| Table::of(node).ok()?.owner_of(slot));
            let Some(Some(port)) = owners.next() else { return Ok(None) };
            let agreed = port != old.port() && owners.all(|owner| owner == Some(port));
            Ok(self.nodes.iter().find(|node| agreed && node.port() == port))
        })
    }

    /// Waits until every node says that the cluster is in order, as after a node's restart.
    pub fn wait_until_ok(&self) -> Result<()> {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        let expected = ["cluster_state:ok", "cluster_slots_ok:16384", &known];
        wait::until("the Redis cluster to be in order", TIMEOUT, || {
            for node in &self.nodes {
                node.process().ensure_running()?;
                let info = node.command(&["CLUSTER", "INFO"]).unwrap_or_default();
                if !expected.iter().all(|expected| info.lines().any(|line| line == *expected)) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    /// Waits until every replica has its master's data, and every node knows all replicas: from
    /// then on each master can be done without.
    fn wait_until_in_sync(&self) -> Result<()> {
        wait::until("the replicas to be in sync", TIMEOUT, || {
            let (masters, replicas) = self.nodes.split_at(usize::from(MASTERS));
            let in_sync = replicas.iter().all(Redis::is_replica_in_sync)
                && masters.iter().all(|master| master.online_replicas() == 1)
                && self.nodes.iter().all(|node| Table::of(node).is_ok_and(|table| table.replicas() == replicas.len()));
            Ok(in_sync.then_some(()))
        })
    }

    fn running(&self) -> impl Iterator<Item = &Redis> {
        self.nodes.iter().filter(|node| node.process().is_running())
    }
}

struct Node {
    redis: Redis,
    bus_port: u16,
}

impl Node {
    fn start(more: &[&str]) -> Result<Self> {
        ports::with_port(None, |bus_port| {
            let bus = bus_port.to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
            let more = own.iter().chain(more).map(|word| (*word).to_owned()).collect();
            let redis = Redis::start(&RedisOptions { more, ..RedisOptions::default() })?;
            Ok(Self { redis, bus_port })
        })
    }
}

fn start_nodes(count: u16, more: &[&str]) -> Result<Vec<Node>> {
    (0..count).map(|_| Node::start(more)).collect()
}

/// Gives the three masters a third of the slots each.
fn share_slots(masters: &[Node]) -> Result<()> {
    for (index, node) in (0..MASTERS).zip(masters) {
        let first = index * (SLOTS / MASTERS);
        let last = if index == MASTERS - 1 { SLOTS - 1 } else { first + SLOTS / MASTERS - 1 };
        let (first, last) = (first.to_string(), last.to_string());
        node.redis.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
        // Nodes with the same epoch would have to settle who owns what first.
        let epoch = (index + 1).to_string();
        node.redis.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch])?;
    }
    Ok(())
}

/// Tells the first node of all others; the rest is gossip.
fn introduce(nodes: &[Node]) -> Result<()> {
    if let Some((first, others)) = nodes.split_first() {
        for other in others {
            let (port, bus) = (other.redis.port().to_string(), other.bus_port.to_string());
            first.redis.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus])?;
        }
    }
    Ok(())
}

/// `CLUSTER NODES`: one line for each node that the asked one knows,
/// `id 127.0.0.1:port@bus flags master pings pongs epoch link slots…`.
struct Table(String);

impl Table {
    fn of(node: &Redis) -> Result<Self> {
        node.command(&["CLUSTER", "NODES"]).map(Self)
    }

    fn owner_of(&self, slot: u16) -> Option<u16> {
        let serves = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse().is_ok_and(|first: u16| first <= slot) && last.parse().is_ok_and(|last: u16| slot <= last)
        };
        let owner = |line: &str| {
            let mut words = line.split(' ');
            let address = words.nth(1)?;
            words.skip(6).any(serves).then_some(())?;
            let (_, port) = address.split_once('@')?.0.rsplit_once(':')?;
            port.parse().ok()
        };
        self.0.lines().find_map(owner)
    }

    fn replicas(&self) -> usize {
        let is_replica = |line: &&str| line.split(' ').nth(2).is_some_and(|flags| flags.contains("slave"));
        self.0.lines().filter(is_replica).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_slot_is_read_from_the_table() {
        let table = Table(
            "a 127.0.0.1:12001@12002,, myself,master - 0 0 1 connected 0-5460 7000\n\
             b 127.0.0.1:12003@12004,, slave a 0 0 1 connected\n\
             c 127.0.0.1:12005@12006,, master,fail - 0 0 2 disconnected 5461-6999\n"
                .to_owned(),
        );
        let owners = [0, 5460, 5461, 7000, 7001].map(|slot| table.owner_of(slot));
        assert_eq!(owners, [Some(12_001), Some(12_001), Some(12_005), Some(12_001), None]);
        assert_eq!(table.replicas(), 1);
    }
}
