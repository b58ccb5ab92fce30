//! Steering a room and watching it, through nginx, with two gateways.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::site::Visitor;
use e2e::spec::Spec;
use http::Method;
use serde_json::{Value, json};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

/// How long a stream is watched that must stay silent.
const QUIET: Duration = Duration::from_secs(2);

/// nginx, two gateways and the demo, with one place in every room; a Redis of its own goes with it.
fn site_of_two_gateways() -> Result<(Onsale, Redis)> {
    let redis = Redis::start(&RedisOptions::default())?;
    let onsale = Onsale::start(&OnsaleOptions {
        gateways: 2,
        redis_url: Some(redis.url()),
        gateway_env: BTreeMap::from([("MAX_ACTIVE".to_owned(), "1".to_owned())]),
        ..OnsaleOptions::default()
    })?;
    Ok((onsale, redis))
}

/// A concert of the demo that is on sale.
async fn concert_on_sale(visitor: &Visitor) -> Result<String> {
    let concerts = visitor.get("/concerts?available=true").await?.ok()?;
    let id = concerts.body["data"][0]["id"].as_str();
    Ok(id.context("no concert is on sale")?.to_owned())
}

async fn administrator(site: &str) -> Result<Visitor> {
    let mut admin = Visitor::new(site)?;
    let login = json!({ "userId": "admin@example.com", "password": "onsale-demo" });
    admin.session = Some(admin.post("/auth/login", login).await?.ok()?.text("token")?);
    Ok(admin)
}

async fn fan(site: &str, name: &str, concert: &str) -> Result<(Visitor, Value)> {
    let mut fan = Visitor::new(site)?;
    fan.sign_up(name).await?;
    let joined = fan.post("/queue/token", json!({ "concertId": concert })).await?.ok()?;
    fan.queue_token = Some(joined.text("token")?);
    Ok((fan, joined.body))
}

/// `POST {room}/{action}` through nginx, and then every gateway, asked by itself, shows it.
async fn steer(onsale: &Onsale, admin: &Visitor, room: &str, action: &str, paused: bool) -> Result<Value> {
    let done = admin.ask(Method::POST, &format!("{room}/{action}"), None, &[]).await?.ok()?.body;
    let deadline = Instant::now() + PATIENCE;
    for gateway in onsale.gateways() {
        let mut asked = Visitor::new(&gateway.url())?;
        asked.session.clone_from(&admin.session);
        loop {
            let shown = asked.get(room).await?.ok()?.body;
            if shown["paused"] == paused && shown["version"] == done["version"] {
                break;
            }
            ensure!(Instant::now() < deadline, "{action} is not shown by {}: {shown}", gateway.url());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(done)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_pauses_and_resumes_a_room_and_every_gateway_knows_it() -> Result<()> {
    let (spec, (onsale, _redis)) = (Spec::load()?, site_of_two_gateways()?);
    let admin = administrator(&onsale.url()).await?;
    let concert = concert_on_sale(&admin).await?;
    let room = format!("/admin/queues/{concert}");
    let before = admin.get(&room).await?.ok()?.body;
    assert_eq!((&before["version"], &before["paused"]), (&json!(0), &json!(false)));

    let paused = steer(&onsale, &admin, &room, "pause", true).await?;
    spec.check("AdminQueue", &paused)?;
    let frontier = admin.get(&format!("/queue/{concert}/frontier")).await?.ok()?.body;
    assert_eq!(frontier["status"], "paused");
    spec.check("Frontier", &frontier)?;
    let (mut waiting, told) = fan(&onsale.url(), "patient", &concert).await?;
    assert_eq!(told["status"], "waiting", "nobody is inside, and yet nobody is let in");
    spec.check("QueueState", &told)?;

    // Who is no administrator learns nothing and changes nothing.
    for (path, method) in [(room.clone(), Method::GET), (format!("{room}/resume"), Method::POST)] {
        let refused = waiting.ask(method.clone(), &path, None, &[]).await?;
        assert_eq!((refused.status.as_u16(), &refused.body["error"]), (403, &json!("forbidden")), "{path}");
        let stranger = Visitor::new(&onsale.url())?.ask(method, &path, None, &[]).await?;
        assert_eq!((stranger.status.as_u16(), &stranger.body["error"]), (401, &json!("unauthenticated")), "{path}");
    }
    // Whoever read the settings before the pause decides anew.
    let late = json!({ "burst": 7, "version": before["version"] });
    let late = admin.ask(Method::PUT, &room, Some(late), &[]).await?;
    assert_eq!((late.status.as_u16(), &late.body["error"]), (409, &json!("settings_changed")));

    steer(&onsale, &admin, &room, "resume", false).await?;
    assert!(waiting.be_admitted(&concert, PATIENCE).await?);

    let changes = admin.get(&format!("{room}/changes")).await?.ok()?.body;
    spec.check("QueueChangePage", &changes)?;
    let actions: Vec<_> = changes["data"].as_array().into_iter().flatten().map(|change| &change["action"]).collect();
    assert_eq!(actions, ["resume", "pause"]);
    spec.check("AdminQueuePage", &admin.get("/admin/queues").await?.ok()?.body)?;
    for (page, status) in [("0", 400), ("1000000", 200), ("1000001", 400)] {
        assert_eq!(admin.get(&format!("/admin/queues?page={page}")).await?.status.as_u16(), status, "page {page}");
    }
    Ok(())
}

/// An event stream through nginx, being read.
struct Events {
    response: reqwest::Response,
    read: String,
}

impl Events {
    async fn open(site: &str, token: &str) -> Result<Self> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        // Browsers offer gzip; compressed, an event would wait for the next ones.
        let request = client.get(format!("{site}/queue/events"));
        let request = request.header("x-queue-token", token).header("accept-encoding", "gzip");
        let response = tokio::time::timeout(PATIENCE, request.send()).await.context("no stream begins")??;
        ensure!(!response.headers().contains_key("content-encoding"), "the stream is compressed");
        Ok(Self { response: response.error_for_status()?, read: String::new() })
    }

    /// The name and the data of the next event, if it comes in time. Comments are read over.
    async fn next(&mut self, within: Duration) -> Result<(String, Value)> {
        let event = async {
            loop {
                while let Some((block, rest)) = self.read.split_once("\n\n") {
                    let field = |name| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    let event =
                        field("event").zip(field("data")).map(|(name, data)| (name.to_owned(), data.to_owned()));
                    self.read = String::from(rest);
                    if let Some((name, data)) = event {
                        return Ok((name, serde_json::from_str(&data)?));
                    }
                }
                let part = self.response.chunk().await?.context("the stream has ended")?;
                self.read.push_str(std::str::from_utf8(&part)?);
            }
        };
        tokio::time::timeout(within, event).await.context("no event")?
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_through_nginx_when_they_happen() -> Result<()> {
    let (spec, (onsale, _redis)) = (Spec::load()?, site_of_two_gateways()?);
    let concert = concert_on_sale(&Visitor::new(&onsale.url())?).await?;
    let (inside, told) = fan(&onsale.url(), "first", &concert).await?;
    assert_eq!(told["status"], "admitted");
    let (waiting, told) = fan(&onsale.url(), "second", &concert).await?;
    assert_eq!(told["status"], "waiting", "the one place is taken");
    let token = waiting.queue_token.context("no token")?;

    let mut events = Events::open(&onsale.url(), &token).await?;
    let (name, position) = events.next(PATIENCE).await?;
    assert_eq!((name.as_str(), &position["queueInfo"]["ahead"]), ("position", &json!(0)));
    spec.check("QueueState", &position)?;
    // Nothing happens, so nothing is told; what was told before was held up by nothing that came after.
    assert!(events.next(QUIET).await.is_err());
    inside.ask(Method::DELETE, "/queue/token", None, &[]).await?.ok()?;
    let (name, admitted) = events.next(PATIENCE).await?;
    assert_eq!((name.as_str(), &admitted["status"]), ("admitted", &json!("admitted")));
    spec.check("QueueState", &admitted)
}
