//! Sessions that core-api has ended open nothing here any more.
#![expect(clippy::unwrap_used, reason = "a test's helper fails as the test does")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use common::clock::Clock as _;
use common::ids::{ConcertId, SessionId, UserId};
use common::tokens::{Role, Session};
use lua::sessions::{LOG, REFLECTED, SessionScripts, entry};
use lua::{Redis, RedisSettings};
use serde_json::json;
use stack::wait::PATIENCE;
use support::DEFAULTS;
use support::server::{Answer, Core, Site, start_core};

/// A Redis of its own, since the log is everybody's.
fn own_redis() -> (Arc<stack::redis::Redis>, RedisSettings) {
    let redis = Arc::new(stack::redis::Redis::start(&stack::redis::RedisOptions::default()).unwrap());
    let settings = RedisSettings {
        urls: vec![redis.url()],
        call_timeout: Duration::from_millis(500),
        ..support::redis_settings()
    };
    (redis, settings)
}

async fn site(settings: &RedisSettings) -> Site {
    let (core, address) = start_core().await;
    Site::start_before(DEFAULTS, settings.clone(), core, &[address]).await
}

/// Writes to the log, as core-api does.
async fn end(settings: &RedisSettings, sessions: &[SessionId]) {
    let redis = Redis::new(settings).unwrap();
    let until = (chrono::Utc::now() + TimeDelta::hours(1)).timestamp();
    for some in sessions.chunks(1_000) {
        let scripts = SessionScripts::default();
        let mut call = scripts.end.call().key(LOG).key(REFLECTED).arg(3_600_000).arg(0);
        for session in some {
            call = call.arg(entry(&session.compact(), until));
        }
        call.run::<i64>(&redis).await.unwrap();
    }
}

fn token(site: &Site, id: Option<SessionId>) -> String {
    let issued_at = site.clock.now();
    let expires_at = issued_at + TimeDelta::hours(1);
    site.config.sessions.sign(&Session { id, user: UserId::generate(), role: Role::User, issued_at, expires_at })
}

async fn join(site: &Site, token: &str, concert: ConcertId) -> Answer {
    let request = site.http.post(format!("{}/queue/token", site.url)).bearer_auth(token);
    Answer::of(request.json(&json!({ "concertId": concert }))).await
}

fn concert(core: &Core) -> ConcertId {
    core.concert("on_sale", None)
}

/// Waits until a session is refused.
async fn until_refused(site: &Site, token: &str, concert: ConcertId) {
    let begun = Instant::now();
    loop {
        let answer = join(site, token, concert).await;
        if answer.status == 401 {
            answer.is_problem(401, "invalid_session");
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it is still let in");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_ended_session_is_refused_and_no_other() {
    let (_redis, settings) = own_redis();
    let site = site(&settings).await;
    let concert = concert(&site.core);
    let (ended, open) = (SessionId::generate(), SessionId::generate());
    let (ended_token, open_token, foreign) = (token(&site, Some(ended)), token(&site, Some(open)), token(&site, None));
    for token in [&ended_token, &open_token, &foreign] {
        assert_eq!(join(&site, token, concert).await.status, 200);
    }
    end(&settings, &[ended]).await;
    until_refused(&site, &ended_token, concert).await;
    for token in [&open_token, &foreign] {
        assert_eq!(join(&site, token, concert).await.status, 200);
    }
    let reserve = site.http.post(format!("{}/reservation", site.url)).bearer_auth(&ended_token).json(&json!({}));
    Answer::of(reserve).await.is_problem(401, "invalid_session");
    assert!(site.core.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_gateway_that_starts_later_reads_all_of_a_long_log() {
    let (_redis, settings) = own_redis();
    let many: Vec<SessionId> = (0..12_000).map(|_| SessionId::generate()).collect();
    end(&settings, &many).await;
    let site = site(&settings).await;
    let deadline = Instant::now() + PATIENCE;
    while site.state.ended_sessions().count() < many.len() {
        assert!(Instant::now() < deadline, "{} are known", site.state.ended_sessions().count());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // And goes on from there.
    let one_more = SessionId::generate();
    let token = token(&site, Some(one_more));
    end(&settings, &[one_more]).await;
    until_refused(&site, &token, concert(&site.core)).await;
}

#[tokio::test]
async fn what_is_known_stays_while_redis_is_away_and_after_it_has_lost_everything() {
    let (redis, settings) = own_redis();
    let site = site(&settings).await;
    let concert = concert(&site.core);
    let (before, after) = (SessionId::generate(), SessionId::generate());
    let tokens = (token(&site, Some(before)), token(&site, Some(after)));
    end(&settings, &[before]).await;
    until_refused(&site, &tokens.0, concert).await;
    redis.stop();
    join(&site, &tokens.0, concert).await.is_problem(401, "invalid_session");
    tokio::time::timeout(PATIENCE, async {
        redis.restart().unwrap();
        end(&settings, &[after]).await;
    })
    .await
    .unwrap();
    until_refused(&site, &tokens.1, concert).await;
    join(&site, &tokens.0, concert).await.is_problem(401, "invalid_session");
}
