//! Joining, waiting, being admitted, leaving: over HTTP, on a real Redis.

mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use common::ids::{ConcertId, UserId};
use common::tokens::{Pass, PassId, Ticket};
use gateway::domain::RoomDefaults;
use serde_json::json;
use stack::wait::PATIENCE;
use support::DEFAULTS;
use support::server::{Answer, Site, start_core};

/// One inside, and nobody follows before they leave.
const ONE_INSIDE: RoomDefaults = RoomDefaults { admit_per_second: 50.0, burst: 50, max_active: 1, ..DEFAULTS };

#[tokio::test]
async fn an_idle_room_answers_a_join_with_a_pass() {
    let site = Site::start(DEFAULTS).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    let answer = site.join(user, concert).await;
    assert_eq!((answer.status.as_u16(), answer.body["status"].as_str()), (200, Some("admitted")), "{answer:?}");
    let info = &answer.body["queueInfo"];
    assert_eq!(
        (info["concertId"].as_str(), &info["position"], &info["ahead"]),
        (Some(&*concert.to_string()), &json!(1), &json!(0))
    );
    assert_eq!(info["waitTime"], "0초");
    assert_eq!(answer.body["admission"]["expiresInSeconds"], 60);
    assert!(answer.body["admission"]["expiresAt"].as_str().unwrap().ends_with('Z'));
    let token = answer.token();
    assert_eq!(answer.headers["set-cookie"], format!("QueueToken={token}; HttpOnly; SameSite=Strict; Path=/"));
    let pass = site.config.passes.public_keys().verify(&token).unwrap();
    assert_eq!((pass.user, pass.concert), (user, concert));
    assert!(token.len() <= 255);
    assert_eq!(site.status(&token).await.body["status"], "admitted");
}

#[tokio::test]
async fn people_wait_in_order_and_the_next_is_admitted_when_one_leaves() {
    let site = Site::start(ONE_INSIDE).await;
    let concert = site.core.concert("on_sale", None);
    let inside = site.join(UserId::generate(), concert).await;
    let (user, other) = (UserId::generate(), UserId::generate());
    let first = site.join(user, concert).await;
    let second = site.join(other, concert).await;
    for (answer, position) in [(&first, 2), (&second, 3)] {
        assert_eq!(answer.body["status"], "waiting", "{answer:?}");
        assert_eq!(answer.body["queueInfo"]["position"], position);
        let poll_after_ms = answer.body["queueInfo"]["pollAfterMs"].as_u64().unwrap();
        assert!((1_000..=2_000).contains(&poll_after_ms), "near the front: {poll_after_ms}");
        assert!(answer.body.get("admission").is_none());
    }
    assert_eq!(site.status(&second.token()).await.body["status"], "waiting");
    let again = site.join(user, concert).await;
    assert_eq!(again.body["queueInfo"]["position"], 2, "joining again gives the same place");

    let left = site.leave(&inside.token()).await;
    assert_eq!((left.status.as_u16(), left.body["status"].as_str()), (200, Some("left")));
    assert!(left.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    let admitted = site.until(&first.token(), "admitted").await;
    assert_eq!(admitted.body["queueInfo"]["position"], 2);
    assert_eq!(site.status(&second.token()).await.body["status"], "waiting");
    assert_eq!(site.status(&first.token()).await.body["status"], "admitted", "an older ticket of an admitted person");
}

#[tokio::test]
async fn leaving_is_told_at_once_and_a_new_join_goes_to_the_end() {
    let site = Site::start(ONE_INSIDE).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    let inside = site.join(UserId::generate(), concert).await;
    let waiting = site.join(user, concert).await;
    assert_eq!(site.leave(&waiting.token()).await.body["status"], "left");
    assert_eq!(site.leave(&waiting.token()).await.status.as_u16(), 200, "leaving twice is no error");
    assert_eq!(site.status(&waiting.token()).await.body["status"], "left");
    assert_eq!(site.join(user, concert).await.body["queueInfo"]["position"], 3);
    site.leave(&inside.token()).await;
    assert_eq!(site.status(&inside.token()).await.body["status"], "left", "a pass ends with its owner's leaving");
}

#[tokio::test]
async fn joining_with_a_ticket_gets_a_place_back_that_the_room_has_forgotten() {
    let redis = stack::redis::Redis::start(&stack::redis::RedisOptions::default()).unwrap();
    let settings = lua::RedisSettings { urls: vec![redis.url()], ..support::redis_settings() };
    let (core, address) = start_core().await;
    let site = Site::start_before(ONE_INSIDE, settings, core, &[address]).await;
    let concert = site.core.concert("on_sale", None);
    site.join(UserId::generate(), concert).await;
    let (first, second) = (UserId::generate(), UserId::generate());
    site.join(first, concert).await;
    let ticket = site.join(second, concert).await.token();
    let deadline = std::time::Instant::now() + PATIENCE;
    while Answer::of(site.http.get(format!("{}/queue/{concert}/frontier", site.url))).await.body["waiting"] != 2 {
        assert!(std::time::Instant::now() < deadline, "the gateway does not see who waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    redis.command(&["FLUSHALL"]).unwrap();
    // A page that is loaded again joins again, with the cookie that it has.
    let again = loop {
        let request = site.http.post(format!("{}/queue/token", site.url)).bearer_auth(site.session_of(second));
        let request = request.header("cookie", format!("QueueToken={ticket}"));
        let answer = Answer::of(request.json(&json!({ "concertId": concert }))).await;
        if site
            .config
            .tickets
            .verify(&answer.token())
            .is_ok_and(|new| new.epoch != site.config.tickets.verify(&ticket).unwrap().epoch)
        {
            break answer;
        }
        assert!(std::time::Instant::now() < deadline, "the gateway does not notice the loss");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((again.body["status"].as_str(), &again.body["queueInfo"]["position"]), (Some("waiting"), &json!(3)));
    let stranger = site.join(UserId::generate(), concert).await;
    assert_eq!(stranger.body["status"], "waiting", "nobody walks in while others are coming back");
    assert!(stranger.body["queueInfo"]["position"].as_u64().unwrap() > 1_000);
}

#[tokio::test]
async fn what_someone_is_told_to_be_ahead_never_rises() {
    let site = Site::start(ONE_INSIDE).await;
    let concert = site.core.concert("on_sale", None);
    site.join(UserId::generate(), concert).await;
    let others = [site.join(UserId::generate(), concert).await, site.join(UserId::generate(), concert).await];
    let user = UserId::generate();
    let answer = site.join(user, concert).await;
    assert_eq!(answer.body["queueInfo"]["ahead"], 2);
    // A ticket that says that fewer were ahead is believed over the count.
    let ticket = site.config.tickets.verify(&answer.token()).unwrap();
    let told = site.config.tickets.sign(&Ticket { ahead: Some(1), ..ticket });
    assert_eq!(site.status(&told).await.body["queueInfo"]["ahead"], 1);
    for other in others {
        site.leave(&other.token()).await;
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    while site.status(&answer.token()).await.body["queueInfo"]["ahead"] != 0 {
        assert!(std::time::Instant::now() < deadline, "people who left still count");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn sales_that_are_over_or_unknown_refuse_a_join() {
    let site = Site::start(ONE_INSIDE).await;
    let user = UserId::generate();
    site.join(user, site.core.concert("sold_out", None)).await.is_problem(410, "sold_out");
    site.join(user, site.core.concert("closed", None)).await.is_problem(409, "sales_closed");
    site.join(user, ConcertId::generate()).await.is_problem(404, "not_found");

    let concert = site.core.concert("on_sale", None);
    let inside = site.join(user, concert).await;
    let waiting = site.join(UserId::generate(), concert).await;
    site.core.set(concert, "sold_out", None);
    assert_eq!(site.until(&waiting.token(), "sold_out").await.status.as_u16(), 200);
    assert_eq!(site.status(&inside.token()).await.body["status"], "admitted", "who is inside may finish");
    site.core.set(concert, "closed", None);
    site.until(&waiting.token(), "closed").await;
}

#[tokio::test]
async fn before_the_opening_people_wait_for_it() {
    let site = Site::start(DEFAULTS).await;
    let concert = site.core.concert("scheduled", Some(Utc::now() + TimeDelta::hours(1)));
    let answer = site.join(UserId::generate(), concert).await;
    assert_eq!(answer.body["status"], "waiting");
    let wait = answer.body["queueInfo"]["waitSeconds"].as_u64().unwrap();
    assert!((3_590..=3_610).contains(&wait), "{wait}");
    assert_eq!(answer.body["queueInfo"]["waitTime"], "61분");
    let frontier = Answer::of(site.http.get(format!("{}/queue/{concert}/frontier", site.url))).await;
    assert_eq!(frontier.body["status"], "scheduled");
}

#[tokio::test]
async fn an_admission_that_ran_out_is_told_so() {
    let site = Site::start(RoomDefaults { session: Duration::from_secs(10), ..DEFAULTS }).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    let token = site.join(user, concert).await.token();
    let pass = site.config.passes.public_keys().verify(&token).unwrap();
    // Another admission's pass is none of this one's, and a pass past its end says so by itself.
    let over = Pass {
        id: PassId { position: 99, nonce: 1 },
        user: UserId::generate(),
        expires_at: pass.expires_at - TimeDelta::hours(1),
        ..pass
    };
    assert_eq!(site.status(&site.config.passes.sign(&over)).await.body["status"], "expired");
}

#[tokio::test]
async fn the_frontier_is_public_and_cacheable_for_a_second() {
    let site = Site::start(ONE_INSIDE).await;
    let concert = site.core.concert("on_sale", None);
    let ask = || Answer::of(site.http.get(format!("{}/queue/{concert}/frontier", site.url)));
    assert_eq!(ask().await.body["status"], "idle");
    for _ in 0..3 {
        site.join(UserId::generate(), concert).await;
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    let answer = loop {
        let answer = ask().await;
        if answer.body["waiting"] == 2 {
            break answer;
        }
        assert!(std::time::Instant::now() < deadline, "{answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer.headers["cache-control"], "public, max-age=1");
    assert_eq!((&answer.body["frontier"], answer.body["status"].as_str()), (&json!(1), Some("queueing")));
    assert!(answer.body["epoch"].as_u64().unwrap() > 0 && answer.body["serverTime"].is_string());
    assert!(answer.body["admittedPerSecond"].is_number() && answer.body["concertId"] == concert.to_string());
    let nowhere = Answer::of(site.http.get(format!("{}/queue/{}/frontier", site.url, ConcertId::generate()))).await;
    nowhere.is_problem(404, "not_found");
    Answer::of(site.http.get(format!("{}/queue/7/frontier", site.url))).await.is_problem(400, "invalid_request");
}

#[tokio::test]
async fn bad_requests_are_told_what_is_wrong() {
    let site = Site::start(DEFAULTS).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    let session = site.session_of(user);
    let join = |body: &'static str, kind: &'static str| {
        site.http
            .post(format!("{}/queue/token", site.url))
            .bearer_auth(&session)
            .header("content-type", kind)
            .body(body)
    };
    for (body, kind, status, error) in [
        ("{", "application/json", 400, "malformed_json"),
        ("", "application/json", 400, "malformed_json"),
        ("{}", "application/json", 400, "invalid_request"),
        ("{\"concertId\":7}", "application/json", 400, "invalid_request"),
        ("{\"concertId\":\"7\"}", "application/json", 400, "invalid_request"),
        ("{}", "text/plain", 415, "unsupported_media_type"),
    ] {
        Answer::of(join(body, kind)).await.is_problem(status, error);
    }
    let large = "x".repeat(100_000);
    let oversize =
        site.http.post(format!("{}/queue/token", site.url)).bearer_auth(&session).json(&json!({ "concertId": large }));
    Answer::of(oversize).await.is_problem(413, "payload_too_large");
    let url = |path: &str| format!("{}{path}", site.url);
    let body = json!({ "concertId": concert });
    Answer::of(site.http.post(url("/queue/token")).json(&body)).await.is_problem(401, "unauthenticated");
    Answer::of(site.http.post(url("/queue/token")).bearer_auth("a.b.c").json(&body))
        .await
        .is_problem(401, "invalid_session");
    Answer::of(site.http.get(url("/queue/status"))).await.is_problem(401, "missing_queue_token");
    Answer::of(site.http.delete(url("/queue/token"))).await.is_problem(401, "missing_queue_token");
    for forged in ["x", "a.b.c", &session, &format!("{}x", site.join(user, concert).await.token())] {
        site.status(forged).await.is_problem(401, "invalid_queue_token");
    }
    let wrong = Answer::of(site.http.get(url("/queue/token"))).await;
    wrong.is_problem(405, "method_not_allowed");
    assert_eq!(wrong.headers["allow"], "POST,DELETE");
    Answer::of(site.http.get(url("/queue/nonsense"))).await.is_problem(404, "not_found");
    assert!(site.core.requests.lock().unwrap().is_empty(), "none of it is core-api's");
}

#[tokio::test]
async fn the_queue_token_may_come_as_a_cookie_and_sentences_in_english() {
    let site = Site::start(ONE_INSIDE).await;
    let concert = site.core.concert("on_sale", None);
    site.join(UserId::generate(), concert).await;
    let token = site.join(UserId::generate(), concert).await.token();
    let request = site.http.get(format!("{}/queue/status", site.url)).header("cookie", format!("QueueToken={token}"));
    let answer = Answer::of(request.header("accept-language", "en-US,en;q=0.9")).await;
    assert_eq!(answer.body["status"], "waiting");
    assert!(answer.body["queueInfo"]["waitTime"].as_str().unwrap().contains("second"), "{answer:?}");
    let refused = Answer::of(site.http.get(format!("{}/queue/status", site.url)).header("accept-language", "en")).await;
    assert_eq!(refused.body["message"], "A queue token is needed. Join the queue first.");
}

#[tokio::test]
async fn a_flood_of_arrivals_gets_distinct_places_and_asks_core_once() {
    let site = Site::start(ONE_INSIDE).await;
    let concert = site.core.concert("on_sale", None);
    let answers = futures_util::future::join_all((0..300).map(|_| site.join(UserId::generate(), concert))).await;
    let mut positions: Vec<u64> =
        answers.iter().map(|answer| answer.body["queueInfo"]["position"].as_u64().unwrap()).collect();
    positions.sort_unstable();
    assert_eq!(positions, (1..=300).collect::<Vec<_>>());
    assert_eq!(answers.iter().filter(|answer| answer.body["status"] == "admitted").count(), 1);
    assert!(site.core.look_ups.load(Ordering::SeqCst) <= 5, "one look-up and a second or two of keeping up");
}

#[tokio::test]
async fn polls_far_from_the_front_do_not_touch_redis() {
    // Its own server, where nobody else's scripts count.
    let redis = stack::redis::Redis::start(&stack::redis::RedisOptions::default()).unwrap();
    let settings = lua::RedisSettings { urls: vec![redis.url()], ..support::redis_settings() };
    let (core, address) = start_core().await;
    let site = Site::start_before(ONE_INSIDE, settings.clone(), core, &[address]).await;
    let concert = site.core.concert("on_sale", None);
    let answers = futures_util::future::join_all((0..50).map(|_| site.join(UserId::generate(), concert))).await;
    let waiting = answers.iter().find(|answer| answer.body["status"] == "waiting").unwrap().token();
    let redis = lua::Redis::new(&settings).unwrap();
    let scripts = async || {
        let stats: String = redis.run(redis::cmd("INFO").arg("commandstats").to_owned()).await.unwrap();
        let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap();
        calls.split(',').next().unwrap().parse::<u128>().unwrap()
    };
    // The first poll waits for the view to reach the one who is inside.
    site.until(&waiting, "waiting").await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while Answer::of(site.http.get(format!("{}/queue/{concert}/frontier", site.url))).await.body["waiting"] != 49 {
        assert!(std::time::Instant::now() < deadline, "the view does not show who waits");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (before, begun) = (scripts().await, std::time::Instant::now());
    for _ in 0..500 {
        assert_eq!(site.status(&waiting).await.body["status"], "waiting");
    }
    let (calls, ticks) = (scripts().await - before, begun.elapsed().as_millis() / 250 + 2);
    assert!(calls <= 3 * ticks, "{calls} scripts in {ticks} ticks and 500 polls");
}

#[tokio::test]
async fn public_keys_verify_passes() {
    let site = Site::start(DEFAULTS).await;
    let answer = Answer::of(site.http.get(format!("{}/.well-known/jwks.json", site.url))).await;
    let key = &answer.body["keys"][0];
    assert_eq!(
        (key["kty"].as_str(), key["crv"].as_str(), key["use"].as_str()),
        (Some("OKP"), Some("Ed25519"), Some("sig"))
    );
    let keys = common::tokens::PassKeys::new(&[key["x"].as_str().unwrap()]).unwrap();
    let token = site.join(UserId::generate(), site.core.concert("on_sale", None)).await.token();
    assert!(keys.verify(&token).is_ok());
}
