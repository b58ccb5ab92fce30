//! Positions that ended never come back, whatever old token is shown after Redis lost everything.

use anyhow::Result;
use stack::redis::{Redis, RedisOptions};

use super::site::{BOTH, Site, assert_stands, eventually, position, token};

/// One person at a time inside, the next at once.
const ONE_INSIDE: [(&str, &str); 3] = [("ADMIT_PER_SECOND", "100"), ("BURST", "100"), ("MAX_ACTIVE", "1")];
const PEOPLE: usize = 50;

#[tokio::test(flavor = "multi_thread")]
async fn an_old_token_of_an_expired_session_never_returns_to_the_front() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let site = Site::start(&redis, &[], &ONE_INSIDE).await?;
    let (room, users) = site.concert(PEOPLE).await?;
    let mut tokens = Vec::new();
    for (number, user) in users.iter().enumerate() {
        tokens.push(token(&room.join(BOTH[number % 2], *user).await?)?);
    }
    // The second person waited, was admitted, and the session ran out.
    room.leave(BOTH[0], &tokens[0]).await?;
    let pass = token(&room.until(BOTH[0], &tokens[1], "admitted").await?)?;
    redis.command(&["ZADD", &room.key("leases"), "XX", "1", &users[1].compact()])?;
    room.until(BOTH[1], &pass, "expired").await?;
    room.until(BOTH[0], &tokens[2], "admitted").await?;
    room.until_recorded(&redis).await?;

    redis.command(&["FLUSHALL"])?;
    for rebuilt in [false, true] {
        if rebuilt {
            room.until_rebuilt(&redis).await?;
            // An hour later Redis remembers no end.
            redis.command(&["DEL", &room.key("expired"), &room.key("left")])?;
        }
        for through in BOTH {
            for old in [&tokens[1], &pass] {
                assert_eq!(room.status(through, old).await?.body["status"], "expired", "rebuilt: {rebuilt}");
            }
            assert_eq!(room.status(through, &tokens[0]).await?.body["status"], "left", "rebuilt: {rebuilt}");
        }
    }
    // Everybody else is where they were.
    assert_stands(&room.status(BOTH[1], &tokens[2]).await?, "admitted", 3);
    for (number, kept) in tokens.iter().enumerate().skip(3) {
        assert_stands(&room.status(BOTH[number % 2], kept).await?, "waiting", number as u64 + 1);
    }
    room.leave(BOTH[1], &tokens[2]).await?;
    room.until(BOTH[0], &tokens[3], "admitted").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_given_after_leaving_through_another_gateway_survives_a_wipe() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let site = Site::start(&redis, &[], &ONE_INSIDE).await?;
    let (room, users) = site.concert(PEOPLE).await?;
    let [a, b] = BOTH;
    let mut old = Vec::new();
    for user in &users {
        old.push(room.join(a, *user).await?);
    }
    let mut new = Vec::new();
    for number in 10..20 {
        room.leave(a, &token(&old[number])?).await?;
        new.push(room.join(b, users[number]).await?);
        assert!(position(&new[number - 10])? > PEOPLE as u64);
    }

    redis.command(&["FLUSHALL"])?;
    for rebuilt in [false, true] {
        if rebuilt {
            room.until_rebuilt(&redis).await?;
            redis.command(&["DEL", &room.key("expired"), &room.key("left")])?;
        }
        for (number, new) in (10..).zip(&new) {
            let kept = position(new)?;
            for through in BOTH {
                // The token of the position that was left: it stands for nothing, or for the person's present position.
                let answer = room.status(through, &token(&old[number])?).await?;
                assert!(answer.body["status"] == "left" || position(&answer)? == kept, "{}", answer.body);
                assert_stands(&room.status(through, &token(new)?).await?, "waiting", kept);
            }
        }
    }
    let waiting = eventually("the line", async || room.set(&redis, "waiting").map(Some)).await?;
    assert_eq!(waiting.len(), PEOPLE - 1, "each person is in line once");
    Ok(())
}
