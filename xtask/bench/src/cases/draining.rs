//! Admission: many who are there, let in at a rate.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use common::ids::UserId;
use gateway::domain::RoomDefaults;
use gateway::store::RoomKeys;

use crate::compare::Extent;
use crate::concerts::concert;
use crate::figures::{Row, Target, What};
use crate::people::{self, Waiting};
use crate::progress;
use crate::site::{STILL, Site, context};

pub(super) const NAMES: &[&str] = &["draining"];

const PER_SECOND: f64 = 5_000.0;
const DRAINING: What = What {
    name: "draining",
    path: "draining a room of present waiters at admitPerSecond 5,000",
    ceiling: "the rate asked for",
    unit: "/s",
    target: Target::Within(0.99, 1.01),
};
const ROOM: u32 = 0;
/// The rate, and a second's worth of it at once.
const ROOMS: RoomDefaults = RoomDefaults { admit_per_second: PER_SECOND, burst: 5_000, ..STILL };
/// For how long people count as there.
const PRESENT_MS: u32 = 300_000;
/// Where the offers are among a room's keys (`lua/queue/room.lua`).
const OFFERS: usize = 4;

pub(super) async fn measure(extent: Extent) -> Result<Vec<Row>> {
    let mut pairs = Vec::new();
    let mut inversions = 0;
    for round in 0..extent.rounds {
        progress::say(DRAINING.name, round, extent.rounds);
        let mut site = Site::start(&ROOMS).await?;
        let people = fill(&site, extent.drained).await?;
        site.start_gateway()?;
        let offered = drain(&site, people.len()).await?;
        let (per_second, passed) = judge(&people, &offered)?;
        pairs.push((per_second, PER_SECOND));
        inversions += passed;
    }
    let how = format!(
        "{} people, all of them there, one gateway; the rate is that between the turns given after a second and those before the last. \
         Turns given before one with a lower position: {inversions}. Other servers on the same cores were idle.",
        extent.drained
    );
    ensure!(inversions == 0, "{inversions} turns were given before one with a lower position");
    Ok(vec![DRAINING.row(&pairs, how)])
}

/// People in line, each of whom was just heard of.
async fn fill(site: &Site, people: usize) -> Result<Vec<Waiting>> {
    // Nobody walks in while it fills.
    let (waiting, _) = people::join(site, concert(ROOM), &STILL, people + 1).await?;
    let (queue, keys, context) = (site.queue()?, RoomKeys::of(concert(ROOM)), context(&STILL));
    for part in waiting.chunks(500) {
        let seen: Vec<(UserId, u32)> = part.iter().map(|one| (one.user, PRESENT_MS)).collect();
        queue.note_present(&keys, &context, &seen).await?;
    }
    Ok(waiting)
}

/// When each had their turn, in ms, once all had it.
async fn drain(site: &Site, people: usize) -> Result<HashMap<UserId, f64>> {
    // The gateway looks after a room that somebody asks for.
    let path = format!("/queue/{}/frontier", concert(ROOM));
    let address = site.gateway()?.address();
    let (keys, begun) = (RoomKeys::of(concert(ROOM)), Instant::now());
    let offers = keys.all().get(OFFERS).context("no offers")?.clone();
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    let patience = Duration::from_secs_f64(people as f64 / PER_SECOND * 2.0 + 20.0);
    loop {
        ensure!(begun.elapsed() < patience, "not all had their turn in {patience:?}");
        let (status, _) = people::try_one(address, &people::request("GET", &path, &[], None)).await?;
        ensure!(status == 200, "the frontier is answered {status}");
        let given: usize = site.redis.command(&["ZCARD", &offers])?.trim().parse()?;
        if given >= people {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let command = redis::cmd("ZRANGE").arg(&offers).arg(0).arg(-1).arg("WITHSCORES").to_owned();
    let listed: Vec<(String, f64)> = site.redis_client()?.run(command).await?;
    listed.into_iter().map(|(user, until_ms)| Ok((UserId::from_compact(&user)?, until_ms))).collect()
}

/// Turns a second, and how many were given before one with a lower position.
fn judge(people: &[Waiting], until_ms: &HashMap<UserId, f64>) -> Result<(f64, usize)> {
    let mut by_position: Vec<(u32, f64)> = people
        .iter()
        .map(|one| Ok((one.position, *until_ms.get(&one.user).context("somebody had no turn")?)))
        .collect::<Result<_>>()?;
    by_position.sort_by_key(|(position, _)| *position);
    let inversions =
        by_position.windows(2).filter(|two| matches!(two, [(_, before), (_, after)] if after < before)).count();
    // Whatever was saved up before the beginning is given in the first second.
    let first = by_position.first().context("nobody")?.1;
    let last = by_position.last().context("nobody")?.1;
    // And at the end there may be fewer people than turns.
    let steady: Vec<f64> =
        by_position.iter().map(|(_, at)| *at).filter(|at| (first + 1_000.0..last).contains(at)).collect();
    let (Some(begin), Some(end)) = (steady.first(), steady.last()) else {
        anyhow::bail!("it was over within a second")
    };
    #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
    let after_the_first = steady.iter().filter(|at| *at > begin).count() as f64;
    Ok((after_the_first / ((end - begin) / 1e3), inversions))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_after_the_first_second_and_order_is_looked_at() {
        let people: Vec<Waiting> =
            (0..40).map(|position| Waiting { user: UserId::generate(), position, epoch: 1 }).collect();
        // Ten at once, then one every 100 ms.
        let at = |position: u32| if position < 10 { 0.0 } else { f64::from(position - 9) * 100.0 };
        let mut until: HashMap<UserId, f64> = people.iter().map(|one| (one.user, at(one.position))).collect();
        let (per_second, inversions) = judge(&people, &until).unwrap();
        assert!((per_second - 10.0).abs() < 1e-9 && inversions == 0, "{per_second}, {inversions}");
        until.insert(people[20].user, 0.0);
        assert_eq!(judge(&people, &until).unwrap().1, 1);
    }
}
