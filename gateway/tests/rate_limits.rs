//! Who asks too often is told when to come back, loses nothing, and harms nobody else. Time is moved, not waited for.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use common::config::Reader;
use common::ids::{ConcertId, UserId};
use common::rate_limit::Rate;
use common::tokens::Ticket;
use gateway::domain::RoomDefaults;
use gateway::rate_limits::RateLimits;
use http::Method;
use lua::Redis;
use reqwest::RequestBuilder;
use serde_json::json;
use stack::wait::PATIENCE;
use support::DEFAULTS;
use support::server::{Answer, Site};

/// One inside, and nobody follows before they leave.
const ONE_INSIDE: RoomDefaults = RoomDefaults { admit_per_second: 50.0, burst: 50, max_active: 1, ..DEFAULTS };
/// Two at once, then one in ten seconds: slow enough for a slow test to see no other count.
const TWO: Rate = Rate { per_minute: 6, burst_seconds: 20 };
/// One in a minute.
const ONE: Rate = Rate { per_minute: 1, burst_seconds: 0 };
const HERE: &str = "203.0.113.9";
const ELSEWHERE: &str = "203.0.113.10";

async fn site(rate_limits: RateLimits) -> Site {
    let plain = Site::start(ONE_INSIDE).await;
    let config = gateway::Config { rate_limits, ..plain.config.clone() };
    Site::start_with(config, plain.core).await
}

/// A request as it comes through nginx, from that address.
fn from(site: &Site, address: &str, method: Method, path: &str) -> RequestBuilder {
    site.http.request(method, format!("{}{path}", site.url)).header("x-real-ip", address)
}

fn join(site: &Site, address: &str, user: UserId, concert: ConcertId) -> RequestBuilder {
    from(site, address, Method::POST, "/queue/token")
        .bearer_auth(site.session_of(user))
        .json(&json!({ "concertId": concert }))
}

fn poll(site: &Site, address: &str, token: &str) -> RequestBuilder {
    from(site, address, Method::GET, "/queue/status").header("x-queue-token", token)
}

/// The requests that need a token, with one that nobody made.
fn forgeries<'a>(site: &'a Site, address: &'a str) -> impl Iterator<Item = RequestBuilder> + 'a {
    let forged = |method, path| {
        from(site, address, method, path).header("x-queue-token", "a.b.c").bearer_auth("a.b.c").json(&json!({}))
    };
    let paths = [
        (Method::POST, "/queue/token"),
        (Method::GET, "/queue/status"),
        (Method::DELETE, "/queue/token"),
        (Method::POST, "/reservation"),
    ];
    paths.into_iter().map(move |(method, path)| forged(method, path))
}

/// Asserts that it was refused for about `seconds`; the time it took to get here may have shortened that.
#[track_caller]
fn is_refused_for(answer: &Answer, seconds: u64) -> TimeDelta {
    answer.is_problem(429, "too_many_requests");
    let told: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((seconds - seconds / 4..=seconds).contains(&told), "{told} s");
    TimeDelta::seconds(told.try_into().unwrap())
}

#[tokio::test]
async fn who_joins_too_often_is_told_when_to_come_back_and_nobody_else_is() {
    let site = site(RateLimits { joins_per_user: TWO, ..RateLimits::OFF }).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    for _ in 0..2 {
        assert_eq!(Answer::of(join(&site, HERE, user, concert)).await.body["queueInfo"]["position"], 1);
    }
    let wait = is_refused_for(&Answer::of(join(&site, HERE, user, concert)).await, 10);
    is_refused_for(&Answer::of(join(&site, ELSEWHERE, user, concert)).await, 10);
    let neighbour = Answer::of(join(&site, HERE, UserId::generate(), concert)).await;
    assert_eq!(neighbour.status.as_u16(), 200, "another user at the same address");
    site.clock.advance(wait);
    assert_eq!(Answer::of(join(&site, HERE, user, concert)).await.status.as_u16(), 200, "as told");
}

#[tokio::test]
async fn leaving_counts_as_joining_does() {
    let site = site(RateLimits { joins_per_user: TWO, ..RateLimits::OFF }).await;
    let token = site.join(UserId::generate(), site.core.concert("on_sale", None)).await.token();
    assert_eq!(site.leave(&token).await.status.as_u16(), 200);
    let wait = is_refused_for(&site.leave(&token).await, 10);
    site.clock.advance(wait);
    assert_eq!(site.leave(&token).await.status.as_u16(), 200);
}

#[tokio::test]
async fn who_polls_too_often_is_slowed_down_and_keeps_their_place() {
    let site = site(RateLimits { polls_per_user: TWO, ..RateLimits::OFF }).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    let inside = site.join(UserId::generate(), concert).await.token();
    let waiting = site.join(user, concert).await.token();
    let neighbour = site.join(UserId::generate(), concert).await.token();
    for _ in 0..2 {
        assert_eq!(Answer::of(poll(&site, HERE, &waiting)).await.body["status"], "waiting");
    }
    let mut wait = TimeDelta::zero();
    for address in [HERE, ELSEWHERE] {
        wait = is_refused_for(&Answer::of(poll(&site, address, &waiting)).await, 10);
    }
    for token in [&neighbour, &inside] {
        assert_eq!(Answer::of(poll(&site, HERE, token)).await.status.as_u16(), 200, "another user at the address");
    }
    site.clock.advance(wait);
    let back = Answer::of(poll(&site, HERE, &waiting)).await;
    assert_eq!((back.body["status"].as_str(), &back.body["queueInfo"]["position"]), (Some("waiting"), &json!(2)));
    // The bearer of a pass is counted too.
    for _ in 0..2 {
        assert_eq!(site.status(&inside).await.status.as_u16(), 200);
    }
    is_refused_for(&site.status(&inside).await, 10);
}

/// How long a user still counts as there, by Redis' own clock.
async fn present_for(redis: &Redis, concert: ConcertId, user: UserId) -> Option<Duration> {
    let key = format!("wr:v1:{{{concert}}}:present");
    let until: Option<String> = redis.run(redis::cmd("ZSCORE").arg(key).arg(user.compact()).to_owned()).await.unwrap();
    let (seconds, micros): (u64, u64) = redis.run(redis::cmd("TIME")).await.unwrap();
    let until_ms = until?.parse::<f64>().unwrap();
    let until = Duration::from_secs_f64(until_ms / 1_000.0);
    Some(until.saturating_sub(Duration::from_secs(seconds) + Duration::from_micros(micros)))
}

#[tokio::test]
async fn a_refused_poll_near_the_front_is_a_sign_of_presence() {
    let site = site(RateLimits { polls_per_user: ONE, ..RateLimits::OFF }).await;
    let redis = Redis::new(&site.config.redis).unwrap();
    let concert = site.core.concert("on_sale", None);
    site.join(UserId::generate(), concert).await;
    let (far, near, silent) = (UserId::generate(), UserId::generate(), UserId::generate());
    let mut tickets = Vec::new();
    for user in [far, near, silent] {
        let token = site.join(user, concert).await.token();
        assert_eq!(site.status(&token).await.body["status"], "waiting");
        tickets.push(token);
    }
    // The same place, but by this ticket thousands are before it.
    let ticket = site.config.tickets.verify(&tickets[0]).unwrap();
    let far_back = site.config.tickets.sign(&Ticket { position: 9_000, ahead: Some(8_999), ..ticket });
    is_refused_for(&site.status(&far_back).await, 60);
    is_refused_for(&site.status(&tickets[1]).await, 60);
    // Who was told to come back in a minute is there for longer than that; who polls in time, for some seconds.
    let long = Duration::from_secs(40);
    let deadline = Instant::now() + PATIENCE;
    while present_for(&redis, concert, near).await.is_none_or(|left| left < long) {
        assert!(Instant::now() < deadline, "a refused poll was not noted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for user in [far, silent] {
        assert!(present_for(&redis, concert, user).await.is_some_and(|left| left < long));
    }
}

#[tokio::test]
async fn forging_costs_the_address_and_nobody_else_there() {
    let site = site(RateLimits { unverified_per_address: TWO, ..RateLimits::OFF }).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    // Each of the four costs the same two.
    for (turn, request) in forgeries(&site, HERE).enumerate() {
        let answer = Answer::of(request).await;
        assert_eq!(answer.status.as_u16(), if turn < 2 { 401 } else { 429 }, "{turn}");
    }
    for request in forgeries(&site, HERE).chain([from(&site, HERE, Method::POST, "/queue/token")]) {
        is_refused_for(&Answer::of(request).await, 10);
    }
    let token = Answer::of(join(&site, HERE, user, concert)).await.token();
    for _ in 0..20 {
        assert_eq!(Answer::of(poll(&site, HERE, &token)).await.body["status"], "admitted");
    }
    let reserve = from(&site, HERE, Method::POST, "/reservation").bearer_auth(site.session_of(user));
    let reserved = Answer::of(reserve.header("x-queue-token", &token).json(&json!({ "concertId": concert }))).await;
    assert_eq!(reserved.status.as_u16(), 200);
    let left = from(&site, HERE, Method::DELETE, "/queue/token").header("x-queue-token", &token);
    assert_eq!(Answer::of(left).await.status.as_u16(), 200);
    let other = forgeries(&site, ELSEWHERE).next().unwrap();
    Answer::of(other).await.is_problem(401, "invalid_session");
    site.clock.advance(TimeDelta::seconds(10));
    Answer::of(forgeries(&site, HERE).next().unwrap()).await.is_problem(401, "invalid_session");
}

#[tokio::test]
async fn an_ipv6_client_is_its_network_and_one_can_not_choose_an_address() {
    let limits = RateLimits { unverified_per_address: ONE, ..RateLimits::OFF };
    let site = site(limits).await;
    let first = async |address: &str| Answer::of(forgeries(&site, address).next().unwrap()).await.status.as_u16();
    assert_eq!(first("2001:db8:0:1::1").await, 401);
    assert_eq!(first("2001:db8:0:1:9:9:9:9").await, 429, "the same network");
    assert_eq!(first("2001:db8:0:2::1").await, 401);

    let config = gateway::Config { trusted_proxies: [].into(), ..site.config.clone() };
    let open = Site::start_with(config, site.core).await;
    let statuses = [HERE, ELSEWHERE, "2001:db8::1"].map(|address| forgeries(&open, address).next().unwrap());
    let mut refused = 0;
    for request in statuses {
        refused += u32::from(Answer::of(request).await.status.as_u16() == 429);
    }
    assert_eq!(refused, 2, "a client that is no proxy is not believed");
}

#[tokio::test]
async fn what_takes_a_secret_is_counted_together_by_address() {
    let site = site(RateLimits { logins_per_address: TWO, ..RateLimits::OFF }).await;
    let sign_in = |address, path| from(&site, address, Method::POST, path).json(&json!({ "userId": "a@b.c" }));
    assert_eq!(Answer::of(sign_in(HERE, "/auth/login")).await.body["userId"], "a@b.c", "it is core-api's to answer");
    assert_eq!(Answer::of(sign_in(HERE, "/auth/signup")).await.status.as_u16(), 200);
    let mut wait = TimeDelta::zero();
    for path in ["/auth/login", "/auth/signup", "/auth/refresh", "/auth/password"] {
        wait = is_refused_for(&Answer::of(sign_in(HERE, path)).await, 10);
    }
    assert_eq!(site.core.requests.lock().unwrap().len(), 2, "what is refused does not reach core-api");
    assert_eq!(Answer::of(sign_in(ELSEWHERE, "/auth/login")).await.status.as_u16(), 200);
    for (method, path) in [(Method::POST, "/auth/logout"), (Method::GET, "/auth/login"), (Method::GET, "/teapot")] {
        assert_ne!(Answer::of(from(&site, HERE, method, path)).await.status.as_u16(), 429, "{path}");
    }
    site.clock.advance(wait);
    assert_eq!(Answer::of(sign_in(HERE, "/auth/login")).await.status.as_u16(), 200);
}

#[tokio::test]
async fn reservations_are_counted_by_user_whatever_comes_of_them() {
    let limits = RateLimits { reservations_per_user: TWO, ..RateLimits::OFF };
    let site = site(limits).await;
    let (user, neighbour) = (UserId::generate(), UserId::generate());
    let reserve = |user| from(&site, HERE, Method::POST, "/reservation").bearer_auth(site.session_of(user));
    for _ in 0..2 {
        Answer::of(reserve(user)).await.is_problem(403, "not_admitted");
    }
    let wait = is_refused_for(&Answer::of(reserve(user)).await, 10);
    Answer::of(reserve(neighbour)).await.is_problem(403, "not_admitted");
    let read = from(&site, HERE, Method::GET, "/reservation").bearer_auth(site.session_of(user));
    assert_eq!(Answer::of(read).await.status.as_u16(), 200, "reading is not reserving");
    site.clock.advance(wait);
    Answer::of(reserve(user)).await.is_problem(403, "not_admitted");
}

#[tokio::test]
async fn two_devices_that_poll_every_second_are_never_refused_and_one_that_hammers_is() {
    let limits = RateLimits::read(&mut Reader::new([])).unwrap();
    let site = site(limits).await;
    let concert = site.core.concert("on_sale", None);
    site.join(UserId::generate(), concert).await;
    let token = site.join(UserId::generate(), concert).await.token();
    // Both come back a second after their last poll, the least that pollAfterMs says, for two minutes.
    for _ in 0..120 {
        for _device in 0..2 {
            assert_eq!(site.status(&token).await.status.as_u16(), 200);
        }
        site.clock.advance(TimeDelta::seconds(1));
    }
    let mut refused = 0;
    for _ in 0..100 {
        let answer = site.status(&token).await;
        if answer.status.as_u16() != 200 {
            answer.is_problem(429, "too_many_requests");
            assert_eq!(answer.headers["retry-after"], "1");
            refused += 1;
        }
        site.clock.advance(TimeDelta::milliseconds(20));
    }
    assert!(refused > 40, "{refused} of 100 within two seconds");
}

#[tokio::test]
async fn who_does_nothing_is_forgotten() {
    let limits = RateLimits::read(&mut Reader::new([])).unwrap();
    let site = site(limits).await;
    let concert = site.core.concert("on_sale", None);
    for _ in 0..10 {
        site.join(UserId::generate(), concert).await;
    }
    for request in forgeries(&site, HERE) {
        Answer::of(request).await;
    }
    let remembered = site.state.remembered();
    assert!((1..=11).contains(&remembered), "{remembered}");
    site.clock.advance(TimeDelta::minutes(1));
    let deadline = Instant::now() + PATIENCE;
    while site.state.remembered() > 0 {
        assert!(Instant::now() < deadline, "{} are still remembered", site.state.remembered());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
