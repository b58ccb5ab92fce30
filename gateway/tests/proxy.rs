//! What goes on to core-api, and what is kept from it.

mod support;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use common::ids::UserId;
use common::tokens::{Pass, PassSigner, generate_pass_key};
use serde_json::json;
use stack::wait::PATIENCE;
use support::DEFAULTS;
use support::server::{Answer, Site, start_core};

#[tokio::test]
async fn requests_and_answers_pass_through_as_they_are() {
    let site = Site::start(DEFAULTS).await;
    let request = site
        .http
        .post(format!("{}/balance?x=1%202", site.url))
        .header("x-request-id", "abc-1")
        .header("idempotency-key", "k");
    let answer =
        Answer::of(request.header("x-real-ip", "203.0.113.9").header("x-forwarded-for", "1.1.1.1").body("hello")).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, Some("hello")));
    assert_eq!(answer.headers["x-request-id"], "abc-1");
    let (method, uri, headers, body) = site.core.requests.lock().unwrap().pop().unwrap();
    assert_eq!((method.as_str(), uri.as_str(), &body[..]), ("POST", "/balance?x=1%202", &b"hello"[..]));
    assert_eq!(headers["idempotency-key"], "k");
    assert_eq!(headers["x-request-id"], "abc-1");
    assert_eq!(headers["x-real-ip"], "203.0.113.9", "this test stands where nginx does, and is trusted");
    assert_eq!(headers["x-forwarded-for"], "203.0.113.9", "what the client says in it does not get through");

    let teapot = Answer::of(site.http.get(format!("{}/teapot", site.url))).await;
    assert_eq!(
        (teapot.status.as_u16(), teapot.body.as_str()),
        (418, Some("short and stout")),
        "an upstream's refusal is its own"
    );
    assert_eq!(teapot.headers["x-from"], "core");
    assert!(!teapot.headers.contains_key("x-hop"));
}

#[tokio::test]
async fn a_request_id_that_is_none_is_replaced() {
    let site = Site::start(DEFAULTS).await;
    let answer = Answer::of(site.http.get(format!("{}/teapot", site.url)).header("x-request-id", "a b<c>")).await;
    assert_eq!(answer.headers["x-request-id"].len(), 32);
}

#[tokio::test]
async fn a_replica_that_is_away_is_stepped_around_and_none_left_is_a_503() {
    let (core, alive) = start_core().await;
    let dead = (std::net::Ipv4Addr::LOCALHOST, stack::ports::free_port().unwrap()).into();
    let site = Site::start_before(DEFAULTS, support::redis_settings(), core, &[dead, alive]).await;
    for _ in 0..6 {
        let answer = Answer::of(site.http.post(format!("{}/payment", site.url)).body("once")).await;
        assert_eq!(answer.status.as_u16(), 200);
    }
    assert_eq!(site.core.requests.lock().unwrap().len(), 6);

    let (core, _) = start_core().await;
    let site = Site::start_before(DEFAULTS, support::redis_settings(), core, &[dead]).await;
    Answer::of(site.http.get(format!("{}/concerts", site.url))).await.is_problem(503, "service_unavailable");
    let health = Answer::of(site.http.get(format!("{}/health", site.url))).await;
    assert_eq!(
        (health.status.as_u16(), health.body["status"].as_str(), health.body["checks"]["core"].as_str()),
        (500, Some("ERROR"), Some("ERROR"))
    );
    assert_eq!(Answer::of(site.http.get(format!("{}/health/ready", site.url))).await.status.as_u16(), 200);
    site.join(UserId::generate(), common::ids::ConcertId::generate()).await.is_problem(503, "service_unavailable");
}

#[tokio::test]
async fn a_request_that_a_replica_broke_off_is_not_sent_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaks_off = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            use tokio::io::AsyncReadExt as _;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let (core, alive) = start_core().await;
    let site = Site::start_before(DEFAULTS, support::redis_settings(), core, &[breaks_off, alive]).await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(Answer::of(site.http.post(format!("{}/payment", site.url)).body("once")).await.status.as_u16());
    }
    assert_eq!(answers.iter().filter(|status| **status == 503).count(), 2, "{answers:?}");
    assert_eq!(site.core.requests.lock().unwrap().len(), 2);
    let reads =
        futures_util::future::join_all((0..4).map(|_| Answer::of(site.http.get(format!("{}/concerts", site.url)))))
            .await;
    assert!(reads.iter().all(|answer| answer.status.as_u16() == 200), "reading again changes nothing");
}

#[tokio::test]
async fn bodies_go_through_up_to_what_is_taken_behind() {
    let core_api = Site::start(DEFAULTS).await;
    let (core, address) = start_core().await;
    let mut config = Site::config(DEFAULTS, support::redis_settings(), &[address]);
    config.site = Some(gateway::config::ProtectedSite {
        urls: vec![format!("http://{address}").parse().unwrap()],
        routes: std::sync::Arc::new(format!("* /checkout/** {}", common::ids::ConcertId::generate()).parse().unwrap()),
        anonymous: false,
    });
    let any_site = Site::start_with(config, core).await;
    for (site, length, too_long) in [(&core_api, 64 * 1024, 64 * 1024 + 1), (&any_site, 900_000, 1_100_000)] {
        let upload = |length: usize| site.http.post(format!("{}/upload", site.url)).body("x".repeat(length));
        let answer = Answer::of(upload(length)).await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str().map(str::len)), (200, Some(length)));
        let before = site.core.requests.lock().unwrap().len();
        Answer::of(upload(too_long)).await.is_problem(413, "payload_too_large");
        assert_eq!(site.core.requests.lock().unwrap().len(), before, "nobody behind has to read it");
    }
}

#[tokio::test]
async fn a_body_that_is_the_clients_fault_is_told_as_theirs() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let site = Site::start(DEFAULTS).await;
    let chunks = futures_util::stream::iter((0..1_300).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1_000])));
    let oversize = site.http.post(format!("{}/upload", site.url)).body(reqwest::Body::wrap_stream(chunks));
    Answer::of(oversize).await.is_problem(413, "payload_too_large");

    let mut stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let malformed = b"POST /upload HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n";
    stream.write_all(malformed).await.unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 400");
}

#[tokio::test]
async fn a_core_api_that_hangs_takes_half_of_the_places_and_no_more() {
    // Accepts, and never answers.
    let hangs = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (core, alive) = start_core().await;
    let site = Site::start_before(DEFAULTS, support::redis_settings(), core, &[alive]).await;
    let mut config = site.config.clone();
    config.max_in_flight = 8;
    config.core_api_urls = vec![format!("http://{}", hangs.local_addr().unwrap()).parse().unwrap()];
    let hung = Site::start_with(config, Arc::clone(&site.core)).await;
    let slow = format!("{}/concerts/slow", hung.url);
    let mut asked: tokio::task::JoinSet<_> = (0..20).map(|_| Answer::of(hung.http.get(&slow))).collect();
    for _ in 0..16 {
        asked.join_next().await.unwrap().unwrap().is_problem(503, "overloaded");
    }
    // Half of the places are left to what needs no core-api.
    let keys = Answer::of(hung.http.get(format!("{}/.well-known/jwks.json", hung.url))).await;
    assert_eq!(keys.status.as_u16(), 200);
}

#[tokio::test]
async fn only_live_passes_of_the_person_who_asks_open_the_door() {
    let site = Site::start(DEFAULTS).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    let session = site.session_of(user);
    let reserve = |token: Option<String>| {
        let request = site
            .http
            .post(format!("{}/reservation", site.url))
            .bearer_auth(&session)
            .json(&json!({ "concertId": concert }));
        token.map_or_else(
            || request.try_clone().unwrap(),
            |token| request.try_clone().unwrap().header("x-queue-token", token),
        )
    };
    let keys = &site.config.passes;
    let token = site.join(user, concert).await.token();
    let pass = keys.public_keys().verify(&token).unwrap();
    let ticket = site.config.tickets.sign(&common::tokens::Ticket {
        user,
        concert,
        position: 1,
        epoch: 1,
        issued_at: 0,
        ahead: Some(0),
    });

    Answer::of(reserve(None)).await.is_problem(403, "not_admitted");
    Answer::of(reserve(Some(ticket))).await.is_problem(403, "not_admitted");
    Answer::of(reserve(Some(format!("{token}x")))).await.is_problem(401, "invalid_queue_token");
    Answer::of(reserve(Some("nonsense".to_owned()))).await.is_problem(401, "invalid_queue_token");
    let forged = PassSigner::new(&[generate_pass_key().unwrap().0]).unwrap().sign(&pass);
    Answer::of(reserve(Some(forged))).await.is_problem(401, "invalid_queue_token");
    for other in [
        Pass { user: UserId::generate(), ..pass },
        Pass { expires_at: pass.expires_at - TimeDelta::hours(1), ..pass },
        Pass { id: common::tokens::PassId { nonce: pass.id.nonce + 1, ..pass.id }, ..pass },
    ] {
        Answer::of(reserve(Some(keys.sign(&other)))).await.is_problem(403, "not_admitted");
    }
    let unsigned = site.http.post(format!("{}/reservation", site.url)).header("x-queue-token", &token);
    Answer::of(unsigned).await.is_problem(401, "unauthenticated");
    assert!(site.core.requests.lock().unwrap().is_empty(), "nobody got through");

    assert_eq!(Answer::of(reserve(Some(token.clone()))).await.status.as_u16(), 200);
    assert_eq!(site.core.requests.lock().unwrap().len(), 1);
    site.leave(&token).await;
    Answer::of(reserve(Some(token))).await.is_problem(403, "not_admitted");
    let list = site.http.get(format!("{}/reservation", site.url));
    assert_eq!(Answer::of(list).await.status.as_u16(), 200, "reading needs no pass here");
}

#[tokio::test]
async fn a_stopped_redis_is_told_and_all_goes_on_after() {
    let redis = Arc::new(stack::redis::Redis::start(&stack::redis::RedisOptions::default()).unwrap());
    let settings = lua::RedisSettings {
        urls: vec![redis.url()],
        call_timeout: Duration::from_millis(500),
        ..support::redis_settings()
    };
    let (core, address) = start_core().await;
    let site = Site::start_before(DEFAULTS, settings, core, &[address]).await;
    let (concert, user) = (site.core.concert("on_sale", None), UserId::generate());
    let before = site.join(user, concert).await;
    assert_eq!(before.status.as_u16(), 200);
    redis.stop();
    site.status(&before.token()).await.is_problem(503, "service_unavailable");
    site.join(UserId::generate(), concert).await.is_problem(503, "service_unavailable");
    Answer::of(site.http.get(format!("{}/health/ready", site.url))).await.is_problem(503, "service_unavailable");
    let health = Answer::of(site.http.get(format!("{}/health", site.url))).await;
    assert_eq!((health.status.as_u16(), health.body["checks"]["redis"].as_str()), (500, Some("ERROR")));
    assert_eq!(health.body["error"], "unhealthy");
    redis.restart().unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while site.status(&before.token()).await.status.as_u16() != 200 {
        assert!(std::time::Instant::now() < deadline, "it stays away");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn streams_that_pass_through_are_counted_for_as_long_as_they_are_open() {
    let (core, address) = start_core().await;
    let mut config = Site::config(DEFAULTS, support::redis_settings(), &[address]);
    config.max_streams = 1;
    let site = Site::start_with(config, core).await;
    let url = format!("{}/concerts/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20/seats/events", site.url);
    let mut open = site.http.get(&url).send().await.unwrap();
    assert_eq!(open.chunk().await.unwrap().unwrap(), "event: seats\ndata: []\n\n", "at once, though more may follow");
    let refused = Answer::of(site.http.get(&url)).await;
    assert_eq!((refused.status.as_u16(), &refused.body["error"]), (503, &json!("overloaded")));
    assert_eq!(Answer::of(site.http.get(format!("{}/teapot", site.url))).await.status, 418, "all else goes on");
    drop(open);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let again = site.http.get(&url).send().await.unwrap();
        if again.status() == 200 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "its place stays taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn pages_load_while_nothing_else_is_taken_in() {
    let (core, address) = start_core().await;
    let mut config = Site::config(DEFAULTS, support::redis_settings(), &[address]);
    config.max_in_flight = 0;
    let site = Site::start_with(config, core).await;
    let get = |path: &str| Answer::of(site.http.get(format!("{}{path}", site.url)));
    get("/concerts").await.is_problem(503, "overloaded");
    get("/wait").await.is_problem(503, "overloaded");
    for path in ["/", "/my", "/login", "/sale/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20"] {
        let page = get(path).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert!(page.headers.contains_key("x-request-id"), "{path}");
    }
}
