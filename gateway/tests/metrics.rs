//! What Prometheus reads of a gateway. The recorder is the process's own, so this is a test binary with one test.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]
#![expect(clippy::float_cmp, reason = "what is compared is counted, and whole")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::ids::{ConcertId, UserId};
use common::lifecycle::Lifecycle;
use gateway::domain::RoomDefaults;
use stack::wait::PATIENCE;
use support::recorded::Recorded;
use support::server::Site;
use support::{DEFAULTS, redis_settings};

const ONE_INSIDE: RoomDefaults = RoomDefaults { admit_per_second: 50.0, burst: 50, max_active: 1, ..DEFAULTS };

/// Figures by name and labels, as the text has them.
struct Scrape {
    text: String,
    figures: BTreeMap<String, f64>,
}

impl Scrape {
    async fn of(url: &str) -> Self {
        let response = reqwest::get(url).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        let text = response.text().await.unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let figures = lines.map(|line| line.rsplit_once(' ').unwrap());
        let figures = figures.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect();
        Self { text, figures }
    }

    fn get(&self, name: &str) -> f64 {
        *self.figures.get(name).unwrap_or_else(|| panic!("{name} is not in\n{}", self.text))
    }

    /// A figure of a room, in which `{concert}` stands for its label.
    fn room(&self, name: &str, concert: ConcertId) -> f64 {
        self.get(&name.replace("{concert}", &format!("{{concert=\"{concert}\"}}")))
    }

    fn has(&self, metric: &str) -> bool {
        self.text.contains(&format!("# HELP {metric} ")) && self.text.contains(&format!("# TYPE {metric} "))
    }
}

/// Waits until the figures are as wanted; gives up after a time that is far beyond any expected.
async fn until(url: &str, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let scrape = Scrape::of(url).await;
        if wanted(&scrape) {
            return scrape;
        }
        assert!(Instant::now() < deadline, "still\n{}", scrape.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_scrape_tells_what_happened() {
    let lifecycle = Lifecycle::default();
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let address = common::metrics::start(listen, gateway::metrics::ALL, &lifecycle).await.unwrap().unwrap();
    let url = format!("http://{address}/metrics");
    let recorded = Recorded::new().await;
    let site = Site::start_recorded(ONE_INSIDE, redis_settings(), &recorded.url()).await;
    let concert = site.core.concert("on_sale", None);
    let users = recorded.populate(concert, 4).await;

    // One inside, three in line; the last of them asks from far behind the frontier.
    let inside = site.join(users[0], concert).await;
    let next = site.join(users[1], concert).await;
    let leaver = site.join(users[2], concert).await;
    let last = site.join(users[3], concert).await;
    for _ in 0..5 {
        assert_eq!(site.status(&last.token()).await.body["status"], "waiting");
    }
    let scrape = until(&url, |scrape| scrape.room("onsale_room_waiting{concert}", concert) >= 3.0).await;
    assert_eq!(scrape.room("onsale_room_active{concert}", concert), 1.0);
    assert_eq!(scrape.room("onsale_room_capacity{concert}", concert), 1.0);
    assert_eq!(scrape.room("onsale_room_frontier{concert}", concert), 1.0);
    assert_eq!(scrape.room("onsale_room_admitting{concert}", concert), 1.0);
    assert_eq!(scrape.room("onsale_room_rebuilding{concert}", concert), 0.0);
    assert_eq!(scrape.get("onsale_gateway_joins_total"), 4.0);
    assert_eq!(scrape.get("onsale_gateway_polls_total{answered=\"memory\"}"), 5.0);
    assert_eq!(scrape.get("onsale_gateway_polls_total{answered=\"redis\"}"), 0.0);
    assert_eq!(scrape.get("onsale_gateway_batch_people_sum{kind=\"join\"}"), 4.0);
    assert_eq!(scrape.get("onsale_http_requests_total{route=\"/queue/token\",status=\"2xx\"}"), 4.0);
    assert_eq!(scrape.get("onsale_http_request_duration_seconds_count{route=\"/queue/status\"}"), 5.0);
    assert_eq!(scrape.get("onsale_redis_script_duration_seconds_count{script=\"queue/join\"}"), 4.0);
    assert_eq!(scrape.get("onsale_redis_errors_total{kind=\"timeout\"}"), 0.0);

    // Who leaves makes way: the next one is offered the turn and takes it up.
    site.leave(&leaver.token()).await;
    site.leave(&inside.token()).await;
    site.until(&next.token(), "admitted").await;
    let scrape = until(&url, |scrape| scrape.room("onsale_room_claims_total{concert}", concert) >= 2.0).await;
    assert_eq!(scrape.room("onsale_room_claim_lag_seconds_count{concert}", concert), 1.0);
    let came = |came: &str| {
        scrape.get(&format!("onsale_room_eta_error_seconds_count{{concert=\"{concert}\",came=\"{came}\"}}"))
    };
    assert_eq!(came("sooner") + came("later"), 1.0, "of the one who was told a wait and is in");
    assert!(scrape.get("onsale_gateway_polls_total{answered=\"redis\"}") >= 1.0);
    let scrape = until(&url, |scrape| scrape.room("onsale_room_turns_given_total{concert}", concert) >= 2.0).await;
    assert_eq!(scrape.room("onsale_room_turns_given_total{concert}", concert), 2.0);
    let reason = |reason: &str| format!("onsale_room_no_shows_total{{concert=\"{concert}\",reason=\"{reason}\"}}");
    assert_eq!(scrape.get(&reason("absent")) + scrape.get(&reason("unclaimed")), 0.0);
    until(&url, |scrape| scrape.room("onsale_room_unrecorded_batches{concert}", concert) == 0.0).await;

    // What is core-api's, what fails, and a stream while it is open.
    site.http.get(format!("{}/teapot", site.url)).send().await.unwrap();
    site.http.get(format!("{}/queue/nonsense", site.url)).send().await.unwrap();
    let stream = site.http.get(format!("{}/queue/events", site.url)).header("x-queue-token", last.token());
    let stream = stream.send().await.unwrap();
    let scrape = Scrape::of(&url).await;
    assert_eq!(scrape.get("onsale_gateway_proxied_requests_total{status=\"4xx\"}"), 1.0);
    assert_eq!(scrape.get("onsale_gateway_proxy_duration_seconds_count"), 1.0);
    assert_eq!(scrape.get("onsale_http_problems_total{error=\"not_found\"}"), 1.0);
    assert_eq!(scrape.get("onsale_gateway_event_streams"), 1.0);
    drop(stream);
    until(&url, |scrape| scrape.get("onsale_gateway_event_streams") == 0.0).await;

    // A paused room gives no turns, and says so.
    let settings = serde_json::json!({ "paused": true });
    let answer = site.admin(http::Method::PUT, &concert.to_string(), Some(settings)).await;
    assert!(answer.status.is_success(), "{answer:?}");
    until(&url, |scrape| scrape.room("onsale_room_admitting{concert}", concert) == 0.0).await;

    let scrape = Scrape::of(&url).await;
    for metric in gateway::metrics::ALL.iter().copied().flatten() {
        assert!(scrape.has(metric.name), "{} is declared, and not in\n{}", metric.name, scrape.text);
    }
    assert!(!scrape.text.contains(&UserId::to_string(&users[1])), "figures tell nobody's name");
    keep(&scrape.text);

    // Nothing else is told there, and none of it on the public address.
    for (method, path) in [("GET", "/"), ("GET", "/health"), ("POST", "/metrics")] {
        let request = site.http.request(method.parse().unwrap(), format!("http://{address}{path}"));
        assert_eq!(request.send().await.unwrap().status(), 404, "{method} {path}");
    }
    let public = site.http.get(format!("{}/metrics", site.url)).send().await.unwrap().text().await.unwrap();
    assert!(!public.contains("onsale_"), "{public}");

    // It ends with the process.
    lifecycle.stop();
    assert!(lifecycle.finished(PATIENCE).await);
    assert!(reqwest::get(&url).await.is_err());
}

/// Leaves the scrape where `cargo xtask test` has promtool check it.
fn keep(text: &str) {
    let folder = stack::profile_dir().unwrap().parent().unwrap().join("metrics");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("gateway.txt"), text).unwrap();
}
