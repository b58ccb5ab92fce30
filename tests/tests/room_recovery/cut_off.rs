//! One gateway is cut off from Redis, the other is healthy: nginx and reconnecting streams keep everybody served.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use stack::fault_proxy::FaultProxy;
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

use super::site::{Room, Site, Through, eventually, position, token};

const CUT_OFF: Through = Through::Gateway(0);
/// Slow enough that people wait for longer than a gateway takes to notice that it is cut off.
const SETTINGS: [(&str, &str); 3] = [("ADMIT_PER_SECOND", "2"), ("BURST", "1"), ("MAX_ACTIVE", "500")];
const PEOPLE: usize = 40;
/// An event stream's client comes back after so long.
const RECONNECT: Duration = Duration::from_secs(2);

/// Polls through nginx as often as the answers say, until admitted. Every answer is a 200.
async fn poll_until_admitted(room: Room<'_>, mut queue_token: String) -> Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = room.poll(Through::Nginx, &queue_token).await?.ok()?;
        match answer.body["status"].as_str() {
            Some("admitted") => return position(&answer),
            Some("waiting") => queue_token = token(&answer)?,
            _ => ensure!(false, "{}", answer.body),
        }
        ensure!(Instant::now() < deadline, "not admitted in {PATIENCE:?}");
        let pause = answer.body["queueInfo"]["pollAfterMs"].as_u64().context("no time of the next poll")?;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Reads an event stream to its end or to the admission. Whether it brought the admission.
async fn read_stream(room: Room<'_>, through: Through, queue_token: &str) -> Result<bool> {
    let mut stream = room.events(through, queue_token).await?.error_for_status()?;
    let mut text = String::new();
    while let Some(bytes) = stream.chunk().await? {
        text.push_str(&String::from_utf8_lossy(&bytes));
        if text.contains("event: admitted\n") || text.contains("event:admitted\n") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Waits by event streams, first at the gateway that is cut off, then through nginx. Whether the first one ended early.
async fn stream_until_admitted(room: Room<'_>, queue_token: String) -> Result<bool> {
    let wait = async {
        if read_stream(room, CUT_OFF, &queue_token).await? {
            return Ok(false);
        }
        loop {
            tokio::time::sleep(RECONNECT).await;
            if read_stream(room, Through::Nginx, &queue_token).await? {
                return anyhow::Ok(true);
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.context("not admitted by its stream")?
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_healthy_gateway_one_that_is_cut_off_costs_nobody_an_answer_or_their_turn() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let proxy = FaultProxy::start(redis.port())?;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let site = Site::start(&redis, &[url], &SETTINGS).await?;
    let (room, users) = site.concert(PEOPLE).await?;
    let mut tokens = Vec::new();
    for user in &users {
        tokens.push(token(&room.join(Through::Nginx, *user).await?)?);
    }
    let (streaming, polling): (Vec<_>, Vec<_>) =
        tokens.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
    let streams = try_join_all(streaming.into_iter().map(|(_, token)| stream_until_admitted(room, token)));
    let polls = try_join_all(polling.into_iter().map(|(_, token)| poll_until_admitted(room, token)));
    let cut = async {
        eventually("the first are admitted", async || Ok((room.number(&redis, "admitted")? > 3).then_some(()))).await?;
        proxy.cut();
        Ok(())
    };
    let (moved, polled, ()) = tokio::try_join!(streams, polls, cut)?;
    assert_eq!(moved.len() + polled.len(), PEOPLE, "everybody is admitted");
    assert!(
        moved.iter().filter(|moved| **moved).count() > moved.len() / 2,
        "streams at the gateway that is cut off end"
    );
    assert_eq!(room.number(&redis, "passed_over")?, 0, "nobody present is skipped");
    Ok(())
}
