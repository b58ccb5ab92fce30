//! Redis goes on without its last writes: a replica that lacked them takes over, or a restart reads an old file.

use std::collections::BTreeSet;

use anyhow::Result;
use common::ids::UserId;
use e2e::site::Answer;
use stack::fault_proxy::FaultProxy;
use stack::redis::{Redis, RedisOptions};

use super::site::{BOTH, Room, Site, assert_stands, eventually, position, token};

/// Nobody follows the three people inside within the time of a test.
const FULL: [(&str, &str); 3] = [("ADMIT_PER_SECOND", "100"), ("BURST", "100"), ("MAX_ACTIVE", "3")];
const INSIDE: u64 = 3;
/// People who join before the state that Redis falls back to.
const KEPT: usize = 21;
/// People who join after it.
const LOST: usize = 5;
/// People who join once Redis is back: more calls than were lost.
const NEWCOMERS: usize = 20;

/// Everybody has their own position, through both gateways, and none was given twice.
async fn assert_kept_and_unique(room: Room<'_>, first: &[Answer], newcomers: &[Answer]) -> Result<()> {
    for answer in first.iter().chain(newcomers) {
        let at = position(answer)?;
        for through in BOTH {
            let status = if at <= INSIDE { "admitted" } else { "waiting" };
            assert_stands(&room.status(through, &token(answer)?).await?, status, at);
        }
    }
    let positions = first.iter().chain(newcomers).map(position).collect::<Result<BTreeSet<_>>>()?;
    assert_eq!(positions.len(), first.len() + newcomers.len(), "each position is given once: {positions:?}");
    Ok(())
}

/// Has people join one after the other through the first gateway.
async fn join_in_order(room: Room<'_>, users: &[UserId]) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    for user in users {
        answers.push(room.join(BOTH[0], *user).await?);
    }
    Ok(answers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_saw_none_of_the_lost_writes_gives_none_of_their_positions_again() -> Result<()> {
    let master = Redis::start(&RedisOptions::default())?;
    let following = ["--replicaof".to_owned(), format!("127.0.0.1 {}", master.port())];
    let replica = Redis::start(&RedisOptions { more: following.into(), ..RedisOptions::default() })?;
    let proxies = [FaultProxy::start(master.port())?, FaultProxy::start(master.port())?];
    let urls = proxies.each_ref().map(|proxy| format!("redis://127.0.0.1:{}", proxy.port()));
    let site = Site::start(&master, &urls, &FULL).await?;
    let (room, users) = site.concert(KEPT + LOST + NEWCOMERS).await?;
    let (kept, rest) = users.split_at(KEPT);
    let (lost, newcomers) = rest.split_at(LOST);
    let mut first = join_in_order(room, kept).await?;
    // Both gateways know the room as it is now, and so does the replica.
    room.status(BOTH[1], &token(&first[KEPT - 1])?).await?;
    room.until_recorded(&master).await?;
    let in_line = master.command(&["ZCARD", &room.key("waiting")])?;
    eventually("the replica has them all", async || {
        Ok((replica.is_replica_in_sync() && replica.command(&["ZCARD", &room.key("waiting")])? == in_line)
            .then_some(()))
    })
    .await?;

    // The replica, the second gateway and the record hear of nothing that follows.
    replica.process().pause();
    master.command(&["CLIENT", "KILL", "TYPE", "replica"])?;
    proxies[1].cut();
    let record = site.hold_record().await?;
    first.extend(join_in_order(room, lost).await?);
    room.leave(BOTH[0], &token(&first[KEPT])?).await?;
    proxies[0].cut();
    master.process().kill();
    replica.process().resume();
    replica.command(&["REPLICAOF", "NO", "ONE"])?;

    // The second gateway is the first to find the new master, and is alone with it for a while.
    proxies[1].restore_to(replica.port());
    let newcomers = room.join_all(&BOTH[1..], newcomers).await?;
    proxies[0].restore_to(replica.port());
    record.rollback().await?;
    let left = first.remove(KEPT);
    room.until_rebuilt(&replica).await?;
    assert_kept_and_unique(room, &first, &newcomers).await?;
    // Only the gateway that let this person leave knows of it; the other one learns it from its answer.
    for through in BOTH {
        assert_eq!(room.status(through, &token(&left)?).await?.body["status"], "left");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_file_and_new_gateways_give_nothing_twice() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let site = Site::start(&redis, &[], &FULL).await?;
    let (room, users) = site.concert(KEPT + 2 * LOST + NEWCOMERS).await?;
    let (kept, rest) = users.split_at(KEPT);
    let (recorded, rest) = rest.split_at(LOST);
    let (unrecorded, newcomers) = rest.split_at(LOST);
    let mut first = join_in_order(room, kept).await?;
    // The file lacks what follows: people of whom the record knows, and people of whom it may not.
    redis.command(&["SAVE"])?;
    first.extend(join_in_order(room, recorded).await?);
    room.until_recorded(&redis).await?;
    first.extend(join_in_order(room, unrecorded).await?);
    for gateway in site.onsale.gateways() {
        gateway.process().kill();
    }
    redis.process().kill();
    redis.restart()?;
    assert_eq!(redis.command(&["ZCARD", &room.key("waiting")])?, (KEPT as u64 - INSIDE).to_string());
    for gateway in site.onsale.gateways() {
        gateway.restart()?;
    }

    // Newcomers are the first to ask.
    let newcomers = room.join_all(&BOTH, newcomers).await?;
    assert_kept_and_unique(room, &first, &newcomers).await
}
