//! Redis loses everything while thousands wait.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use common::ids::UserId;
use e2e::site::Answer;
use futures_util::future::try_join_all;
use stack::redis::{Redis, RedisOptions};

use super::site::{BOTH, Room, Site, assert_stands, eventually, position, token};

/// Enough that positions which feed on their own jumps run away.
const PEOPLE: usize = 5_000;
/// People who ask where they are, of all parts of the line.
const ASKING: usize = 100;
/// How many fit inside.
const INSIDE: usize = 5;
/// How far positions jump at most with one loss: by five seconds of the fastest joins, had all joined in a quarter of a second.
const JUMP_MAX: u64 = 20 * PEOPLE as u64;
/// How often the highest position is looked at.
const LOOK: Duration = Duration::from_millis(5);

const SETTINGS: [(&str, &str); 3] = [("ADMIT_PER_SECOND", "100"), ("BURST", "100"), ("MAX_ACTIVE", "5")];

/// People of all parts of the line ask at once, through both gateways: they are at their positions.
async fn assert_kept(room: Room<'_>, answers: &[Answer]) -> Result<()> {
    let asking = answers.iter().step_by(PEOPLE / ASKING).zip(BOTH.iter().cycle());
    let answered = try_join_all(asking.map(async |(answer, through)| {
        let at = position(answer)?;
        let status = if at <= INSIDE as u64 { "admitted" } else { "waiting" };
        assert_stands(&room.status(*through, &token(answer)?).await?, status, at);
        anyhow::Ok(())
    }))
    .await?;
    assert_eq!(answered.len(), ASKING);
    Ok(())
}

/// What the room's highest position was in each epoch while `work` went on.
async fn watched(
    room: Room<'_>,
    redis: &Redis,
    work: impl Future<Output = Result<()>>,
) -> Result<BTreeMap<u64, BTreeSet<u64>>> {
    let mut seen: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    let watch = async {
        loop {
            if let Some((epoch, highest)) = room.highest_position(redis)? {
                seen.entry(epoch).or_default().insert(highest);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let ended: Result<()> = tokio::select! { ended = work => ended, ended = watch => ended };
    ended.map(|()| seen)
}

/// After one or more `losses` people ask until the room is rebuilt: positions jump once in each epoch, and not far. From then on
/// each newcomer gets the next one.
async fn assert_one_jump(
    room: Room<'_>,
    redis: &Redis,
    losses: impl Future<Output = Result<()>>,
    (answers, newcomers): (&[Answer], &[UserId]),
) -> Result<()> {
    let seen = watched(room, redis, async {
        losses.await?;
        assert_kept(room, answers).await?;
        room.until_rebuilt(redis).await
    })
    .await?;
    let mut highest = PEOPLE as u64;
    assert!(!seen.is_empty(), "a new epoch is seen");
    for (epoch, positions) in &seen {
        let [jumped] = positions.iter().copied().collect::<Vec<_>>()[..] else { bail!("epoch {epoch}: {positions:?}") };
        assert!(jumped > highest && jumped <= highest + JUMP_MAX, "epoch {epoch}: {jumped} after {highest}");
        highest = jumped;
    }
    for (number, user) in newcomers.iter().enumerate() {
        highest += 1;
        assert_stands(&room.join(BOTH[number % 2], *user).await?, "waiting", highest);
    }
    Ok(())
}

/// Fills a room. The answers are in the order of positions; the newcomers have not joined yet.
async fn fill(site: &Site, newcomers: usize) -> Result<(Room<'_>, Vec<Answer>, Vec<UserId>)> {
    let (room, mut users) = site.concert(PEOPLE + newcomers).await?;
    let newcomers = users.split_off(PEOPLE);
    let (first, rest) = users.split_at(INSIDE + 1);
    let mut answers = Vec::new();
    // One after the other, so that the people inside are the first.
    for user in first {
        answers.push(room.join(BOTH[0], *user).await?);
    }
    let mut joined = room.join_all(&BOTH, rest).await?;
    answers.append(&mut joined);
    answers.sort_by_key(|answer| position(answer).unwrap_or(0));
    let positions: Vec<u64> = answers.iter().map(position).collect::<Result<_>>()?;
    ensure!(positions == (1..=PEOPLE as u64).collect::<Vec<_>>(), "each position is given once");
    Ok((room, answers, newcomers))
}

/// The second gateway restarts and serves the room again: from now on it has measured no joins.
async fn restart_second(room: Room<'_>, last: &Answer) -> Result<()> {
    room.site.onsale.gateways()[1].restart()?;
    assert_stands(&room.status(BOTH[1], &token(last)?).await?, "waiting", PEOPLE as u64);
    Ok(())
}

/// Redis loses everything, and the second gateway opens the next epoch. The first one, which measured all joins, stands still
/// meanwhile.
async fn wipe(room: Room<'_>, redis: &Redis, last: &Answer) -> Result<()> {
    let first = room.site.onsale.gateways()[0].process();
    first.pause();
    redis.command(&["FLUSHALL"])?;
    eventually("the next epoch", async || {
        room.poll(BOTH[1], &token(last)?).await?;
        room.highest_position(redis)
    })
    .await?;
    first.resume();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_room_jumps_once_keeps_all_positions_and_admits_again() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let site = Site::start(&redis, &[], &SETTINGS).await?;
    let (room, answers, newcomers) = fill(&site, 10).await?;
    room.until_recorded(&redis).await?;

    let last = &answers[PEOPLE - 1];
    restart_second(room, last).await?;
    wipe(room, &redis, last).await?;
    assert_one_jump(room, &redis, async { Ok(()) }, (&answers, &newcomers)).await?;
    assert_kept(room, &answers).await?;
    // A person inside leaves, and the first in line follows.
    room.leave(BOTH[1], &token(&answers[0])?).await?;
    let next = room.until(BOTH[0], &token(&answers[INSIDE])?, "admitted").await?;
    assert_stands(&next, "admitted", INSIDE as u64 + 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_wiped_again_during_its_rebuild_keeps_all_positions() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let site = Site::start(&redis, &[], &SETTINGS).await?;
    let (room, answers, newcomers) = fill(&site, 10).await?;
    room.until_recorded(&redis).await?;

    let last = &answers[PEOPLE - 1];
    restart_second(room, last).await?;
    wipe(room, &redis, last).await?;
    let second_loss = async {
        eventually("the first are restored", async || {
            let restored: usize = redis.command(&["ZCARD", &room.key("waiting")])?.parse()?;
            Ok((restored > 0).then_some(()))
        })
        .await?;
        wipe(room, &redis, last).await
    };
    assert_one_jump(room, &redis, second_loss, (&answers, &newcomers)).await?;
    let waiting = room.set(&redis, "waiting")?;
    assert_eq!(waiting.len(), PEOPLE - INSIDE + newcomers.len(), "everybody who waited is back");
    room.leave(BOTH[1], &token(&answers[0])?).await?;
    room.until(BOTH[0], &token(&answers[INSIDE])?, "admitted").await?;
    Ok(())
}
