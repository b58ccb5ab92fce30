//! A gateway and a core-api are killed in the middle of a sale: nothing is sold twice, no money is lost, and everybody
//! else goes on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use e2e::site::Visitor;
use loadtests::invariants::Database;
use serde_json::json;
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;
use tokio::sync::watch;

/// More buyers than the fifty seats that there are.
const BUYERS: usize = 80;

/// A ticket bought, or the news that there is none left.
async fn buy(site: String, concert: String, number: usize, sold: watch::Sender<usize>) -> Result<Option<String>> {
    let mut visitor = Visitor::new(&site)?;
    let name = format!("buyer{number}");
    let account = json!({"username": name, "email": format!("{name}@example.test"), "password": "a long password"});
    // Signing up has no idempotency key: an answer that was lost is found by signing in.
    let signed_up = visitor.post_surely("/auth/signup", &account, "signup").await?;
    let login = json!({"userId": account["email"], "password": account["password"]});
    let signed_in = if signed_up.status.is_success() {
        signed_up
    } else {
        visitor.post_surely("/auth/login", &login, "login").await?
    };
    visitor.session = Some(signed_in.text("token")?);
    visitor.post_surely("/balance", &json!({"amount": 1_000_000}), "charge").await?.ok()?;
    if !visitor.be_admitted(&concert, PATIENCE).await? {
        return Ok(None);
    }
    let deadline = Instant::now() + PATIENCE;
    let mut attempt = 0;
    while Instant::now() < deadline {
        attempt += 1;
        let Ok(seats) = visitor.available_seats(&concert).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some(seat) = seats.get((number * 7 + attempt) % seats.len().max(1)) else { return Ok(None) };
        let body = json!({"concertId": concert, "seatId": seat});
        let reserved = visitor.post_surely("/reservation", &body, &format!("reserve{attempt}")).await?;
        match reserved.status.as_u16() {
            200 => {
                let id = reserved.text("reservationId")?;
                visitor.post_surely("/payment", &json!({ "reservationId": id }), "pay").await?.ok()?;
                sold.send_modify(|sold| *sold += 1);
                return Ok(Some(id));
            }
            // What a killed core-api had just locked is free again after some seconds: no need to hurry.
            409 => tokio::time::sleep(Duration::from_millis(200)).await,
            other => bail!("{other}: {}", reserved.body),
        }
    }
    bail!("no seat was to be had in {PATIENCE:?}, and none was sold out")
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_gateway_and_a_core_api_in_the_middle_sells_nothing_twice() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let generous = [("ADMIT_PER_SECOND", "200"), ("BURST", "20"), ("MAX_ACTIVE", "500")];
    let onsale = Onsale::start(&OnsaleOptions {
        gateways: 2,
        core_apis: 2,
        redis_url: Some(redis.url()),
        gateway_env: BTreeMap::from(generous.map(|(name, value)| (name.to_owned(), value.to_owned()))),
        ..OnsaleOptions::default()
    })?;
    let concerts = Visitor::new(&onsale.url())?.get("/concerts?limit=100").await?.ok()?;
    let small = concerts.body["data"].as_array().and_then(|all| all.iter().find(|concert| concert["totalSeats"] == 50));
    let concert = small.and_then(|concert| concert["id"].as_str()).context("no concert of fifty seats")?.to_owned();

    let sold = watch::Sender::new(0);
    let buyers: Vec<_> =
        (0..BUYERS).map(|number| tokio::spawn(buy(onsale.url(), concert.clone(), number, sold.clone()))).collect();
    // In the middle: some have their tickets, most are still at it.
    let mut count = sold.subscribe();
    tokio::time::timeout(PATIENCE, count.wait_for(|sold| *sold >= 10)).await.context("the sale does not begin")??;
    onsale.gateways()[0].process().kill();
    onsale.core_apis()[0].process().kill();

    let mut bought = Vec::new();
    for buyer in buyers {
        bought.extend(buyer.await??);
    }
    assert_eq!(bought.len(), 50, "all seats are sold");
    let mut database = Database::connect(&onsale.setup().database_url).await?;
    for finding in database.check().await? {
        assert!(!finding.is_broken(), "{finding:?}");
    }
    let ids = bought.iter().map(|id| id.parse()).collect::<Result<Vec<_>, _>>()?;
    let promised = database.check_bought(&ids).await?;
    assert!(!promised.is_broken(), "{promised:?}");
    Ok(())
}
