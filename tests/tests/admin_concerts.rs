//! A sale from making the concert to its report, through nginx and a gateway, as the API's description says it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::site::Visitor;
use e2e::spec::Spec;
use http::Method;
use serde_json::{Value, json};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

/// So that each stranger has a name of their own.
static STRANGERS: AtomicU32 = AtomicU32::new(0);

struct Site {
    onsale: Onsale,
    spec: Spec,
    admin: Visitor,
    _redis: Redis,
}

async fn site() -> Result<Site> {
    let redis = Redis::start(&RedisOptions::default())?;
    let onsale =
        Onsale::start(&OnsaleOptions { gateways: 2, redis_url: Some(redis.url()), ..OnsaleOptions::default() })?;
    let mut admin = Visitor::new(&onsale.url())?;
    let login = json!({ "userId": "admin@example.com", "password": "onsale-demo" });
    admin.session = Some(admin.post("/auth/login", login).await?.ok()?.text("token")?);
    Ok(Site { onsale, spec: Spec::load()?, admin, _redis: redis })
}

impl Site {
    /// What an administrator is answered, which has to be what the description says.
    async fn administer(&self, method: Method, path: &str, body: Option<Value>, schema: &str) -> Result<Value> {
        let answer = self.admin.ask(method, path, body, &[]).await?.ok().context(path.to_owned())?.body;
        self.spec.check(schema, &answer)?;
        Ok(answer)
    }

    /// Waits until joining is answered like this by either gateway.
    async fn joining_answers(&self, concert: &str, status: u16, error: &Value) -> Result<()> {
        let begun = Instant::now();
        for gateway in self.onsale.gateways() {
            let mut stranger = Visitor::new(&gateway.url())?;
            stranger.sign_up(&format!("stranger{}", STRANGERS.fetch_add(1, Ordering::Relaxed))).await?;
            loop {
                let answer = stranger.post("/queue/token", json!({ "concertId": concert })).await?;
                if answer.status.as_u16() == status && &answer.body["error"] == error {
                    break;
                }
                ensure!(begun.elapsed() < PATIENCE, "{}: {}", answer.status, answer.body);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concert_is_made_sold_held_back_closed_and_reported() -> Result<()> {
    let site = site().await?;
    let body = json!({ "name": "축제", "date": "2999-01-01", "venue": "Park",
                       "sections": [{ "name": "A", "price": 1000, "rows": [{ "seats": 2 }, { "seats": 2 }] }] });
    let made = site.administer(Method::POST, "/admin/concerts", Some(body), "AdminConcert").await?;
    let concert = made["id"].as_str().context("no id")?.to_owned();
    let path = format!("/admin/concerts/{concert}");

    let mut fan = Visitor::new(&site.onsale.url())?;
    fan.sign_up("fan").await?;
    ensure!(fan.be_admitted(&concert, PATIENCE).await?);
    let kept = json!({ "section": "A-2" });
    let kept = site.administer(Method::POST, &format!("{path}/held-back"), Some(kept), "HeldBackChange").await?;
    assert_eq!(kept["changed"], 2);
    site.administer(Method::GET, &format!("{path}/held-back"), None, "HeldBackPage").await?;
    fan.post("/balance", json!({ "amount": 5000 })).await?.ok()?;
    let wish = json!({ "concertId": concert, "quantity": 2 });
    let held = fan.post("/reservation", wish).await?.ok()?.body;
    let reservations: Vec<_> = held["reservations"]
        .as_array()
        .context("no reservations")?
        .iter()
        .map(|one| one["reservationId"].clone())
        .collect();
    fan.post("/payment", json!({ "reservationIds": reservations })).await?.ok()?;
    // What is left is not in the sale: both gateways send people away.
    site.joining_answers(&concert, 410, &json!("sold_out")).await?;

    let release = json!({ "section": "A-2", "fromSeatNumber": 2 });
    let released =
        site.administer(Method::DELETE, &format!("{path}/held-back"), Some(release), "HeldBackChange").await?;
    assert_eq!((&released["changed"], &released["heldBack"]), (&json!(1), &json!(1)));
    site.joining_answers(&concert, 200, &Value::Null).await?;
    site.administer(Method::POST, &format!("{path}/close"), None, "AdminConcert").await?;
    site.joining_answers(&concert, 409, &json!("sales_closed")).await?;
    site.administer(Method::POST, &format!("{path}/open"), None, "AdminConcert").await?;
    site.joining_answers(&concert, 200, &Value::Null).await?;
    let dearer = json!({ "prices": [{ "section": "A-2", "price": 1500.5 }] });
    site.administer(Method::PATCH, &path, Some(dearer), "AdminConcert").await?;

    let report = site.administer(Method::GET, &format!("{path}/sales?by=hour"), None, "SalesReport").await?;
    assert_eq!(report["totals"]["net"], 2000.0);
    let detail = site.administer(Method::GET, &path, None, "AdminConcertDetail").await?;
    assert_eq!(detail["seats"], json!({ "total": 4, "available": 1, "held": 0, "sold": 2, "heldBack": 1 }));
    site.administer(Method::GET, "/admin/concerts?limit=3", None, "AdminConcertPage").await?;
    let audit =
        site.administer(Method::GET, &format!("/admin/audit?concertId={concert}"), None, "AdminChangePage").await?;
    let actions: Vec<_> = audit["data"].as_array().into_iter().flatten().map(|change| &change["action"]).collect();
    assert_eq!(actions, ["change", "open", "close", "release", "hold_back", "create"]);
    for (file, lines) in [("sales.csv", 3), ("orders.csv", 3)] {
        let answer = site.admin.get(&format!("{path}/{file}")).await?.ok()?;
        assert_eq!(answer.body.as_str().context("no text")?.lines().count(), lines, "{file}");
        assert_eq!(answer.headers["content-type"], "text/csv; charset=utf-8; header=present");
        // Who is no administrator is told so through the gateway as well.
        let refused = fan.get(&format!("{path}/{file}")).await?;
        assert_eq!((refused.status.as_u16(), &refused.body["error"]), (403, &json!("forbidden")));
    }
    Ok(())
}
