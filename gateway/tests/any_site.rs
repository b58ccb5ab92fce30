//! The gateway before a site that knows nothing of us: a plain nginx that serves files.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use common::ids::{ConcertId, UserId};
use gateway::config::ProtectedSite;
use gateway::domain::RoomDefaults;
use http::Method;
use serde_json::json;
use stack::plain_nginx::PlainNginx;
use stack::wait::PATIENCE;
use support::server::{Answer, Core, Site};
use support::{DEFAULTS, redis_settings};

const ONE_INSIDE: RoomDefaults = RoomDefaults { admit_per_second: 50.0, burst: 50, max_active: 1, ..DEFAULTS };

/// A gateway before an nginx with a shop's files, of which `/checkout` is protected.
async fn shop(anonymous: bool) -> (PlainNginx, Site, ConcertId) {
    let nginx = tokio::task::spawn_blocking(|| {
        PlainNginx::start(&[("index.html", "welcome"), ("checkout/pay", "paid"), ("checkout/index.html", "your cart")])
    });
    let nginx = nginx.await.unwrap().unwrap();
    let room = ConcertId::generate();
    let mut config = Site::config(ONE_INSIDE, redis_settings(), &["127.0.0.1:1".parse().unwrap()]);
    config.site = Some(ProtectedSite {
        urls: vec![nginx.url().parse().unwrap()],
        routes: std::sync::Arc::new(format!("* /checkout/** {room}").parse().unwrap()),
        anonymous,
    });
    let site = Site::start_with(config, std::sync::Arc::new(Core::default())).await;
    (nginx, site, room)
}

async fn get(site: &Site, path: &str, token: Option<&str>) -> Answer {
    let request = site.http.get(format!("{}{path}", site.url));
    Answer::of(if let Some(token) = token { request.header("x-queue-token", token) } else { request }).await
}

async fn join(site: &Site, room: ConcertId, token: Option<&str>) -> Answer {
    let request = site.http.post(format!("{}/queue/token", site.url)).json(&json!({ "concertId": room }));
    Answer::of(if let Some(token) = token { request.header("x-queue-token", token) } else { request }).await
}

#[tokio::test]
async fn what_is_protected_needs_a_pass_and_the_rest_does_not() {
    let (_nginx, site, room) = shop(true).await;
    let home = get(&site, "/index.html", None).await;
    assert_eq!((home.status.as_u16(), home.body.as_str()), (200, Some("welcome")));
    get(&site, "/checkout/pay", None).await.is_problem(403, "not_admitted");
    let inside = join(&site, room, None).await;
    assert_eq!(inside.body["status"], "admitted", "an idle room admits: {inside:?}");
    let paid = get(&site, "/checkout/pay", Some(&inside.token())).await;
    assert_eq!((paid.status.as_u16(), paid.body.as_str()), (200, Some("paid")));

    let waiting = join(&site, room, None).await;
    assert_eq!(waiting.body["status"], "waiting");
    get(&site, "/checkout/pay", Some(&waiting.token())).await.is_problem(403, "not_admitted");
    let again = join(&site, room, Some(&waiting.token())).await;
    assert_eq!(again.body["queueInfo"]["position"], waiting.body["queueInfo"]["position"], "who has a ticket is known");

    site.leave(&inside.token()).await;
    get(&site, "/checkout/pay", Some(&inside.token())).await.is_problem(403, "not_admitted");
    let admitted = site.until(&waiting.token(), "admitted").await;
    assert_eq!(get(&site, "/checkout/", Some(&admitted.token())).await.body.as_str(), Some("your cart"));
}

#[tokio::test]
async fn its_pages_are_its_own() {
    let (_nginx, site, room) = shop(true).await;
    assert_eq!(get(&site, "/", None).await.body.as_str(), Some("welcome"), "not our list of concerts");
    for path in ["/my".to_owned(), "/login".to_owned(), format!("/sale/{room}"), format!("/wait/{room}")] {
        assert_eq!(get(&site, &path, None).await.status, 404, "{path} is the site's to answer");
    }
}

#[tokio::test]
async fn no_way_of_writing_the_path_leads_around_the_room() {
    let (_nginx, site, _) = shop(true).await;
    for path in ["/checkout/pay", "/checkout/pay?x=1", "/checkout/pay;x=1", "/checkout"] {
        get(&site, path, None).await.is_problem(403, "not_admitted");
    }
    // Sent as they are: an HTTP library would tidy them up.
    for path in ["/%63heckout/pay", "//checkout/pay", "/x/../checkout/pay", "/x/%2e%2e/checkout/pay", "/checkout%2fpay"]
    {
        let answer = raw(&site, path).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(!answer.contains("paid"), "{path}");
    }
    let request = site.http.get(format!("{}/index.html", site.url)).header("x-original-url", "/checkout/pay");
    assert_eq!(Answer::of(request).await.body.as_str(), Some("welcome"));
}

/// One request, written by hand.
async fn raw(site: &Site, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(site.address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_pass_of_another_room_or_another_s_is_none() {
    let (_nginx, site, room) = shop(false).await;
    let user = UserId::generate();
    let join = |user| site.join(user, room);
    let pass = join(user).await.token();
    let ask = |user: UserId, token: &str| {
        let request = site.http.get(format!("{}/checkout/pay", site.url)).bearer_auth(site.session_of(user));
        Answer::of(request.header("x-queue-token", token))
    };
    assert_eq!(ask(user, &pass).await.body.as_str(), Some("paid"));
    ask(UserId::generate(), &pass).await.is_problem(403, "not_admitted");
    get(&site, "/checkout/pay", Some(&pass)).await.is_problem(401, "unauthenticated");
    // Rooms are those that the rules name, and no others.
    site.join(user, ConcertId::generate()).await.is_problem(404, "not_found");
}

#[tokio::test]
async fn health_tells_of_the_site_and_a_site_that_is_away_is_told() {
    let (nginx, site, room) = shop(true).await;
    let health = get(&site, "/health", None).await;
    assert_eq!((health.status.as_u16(), &health.body["status"]), (200, &json!("OK")), "{health:?}");
    let list = site.admin(Method::GET, "", None).await;
    assert_eq!(list.status, 404, "a slash at the end is another path: {list:?}");
    let pass = join(&site, room, None).await.token();
    drop(nginx);
    get(&site, "/index.html", None).await.is_problem(503, "service_unavailable");
    get(&site, "/checkout/pay", Some(&pass)).await.is_problem(503, "service_unavailable");
    assert_eq!(get(&site, "/health", None).await.status, 500);
    assert_eq!(site.status(&pass).await.body["status"], "admitted", "the room goes on");
}
