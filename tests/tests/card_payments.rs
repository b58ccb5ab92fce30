//! Cards through the whole stack: nginx, gateway, core-api and the sandbox that takes them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::site::Visitor;
use loadtests::invariants::Database;
use serde_json::{Value, json};
use stack::onsale::{Onsale, OnsaleOptions};
use stack::redis::{Redis, RedisOptions};
use stack::wait::PATIENCE;

/// Each call to the provider may take so long; what comes earlier came otherwise.
const TIMEOUT_MS: u64 = 4_000;
/// So many are in the middle of paying when everybody dies.
const BUYERS: usize = 16;

fn stack(redis: &Redis, core_api_env: &[(&str, String)]) -> Result<Onsale> {
    let core_api_env = core_api_env.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    Onsale::start(&OnsaleOptions {
        core_apis: 2,
        sandbox_provider: true,
        redis_url: Some(redis.url()),
        gateway_env: BTreeMap::from([("MAX_ACTIVE".to_owned(), "500".to_owned())]),
        core_api_env: core_api_env.collect(),
        ..OnsaleOptions::default()
    })
}

/// Somebody without a balance who holds a seat; their reservation.
async fn holder(site: &str, name: &str) -> Result<(Visitor, String)> {
    let mut visitor = Visitor::new(site)?;
    visitor.sign_up(name).await?;
    let concerts = visitor.get("/concerts?available=true&limit=100").await?.ok()?;
    let on_sale = concerts.body["data"].as_array().and_then(|all| all.iter().find(|one| one["status"] == "on_sale"));
    let concert = on_sale.and_then(|concert| concert["id"].as_str()).context("nothing is on sale")?.to_owned();
    ensure!(visitor.be_admitted(&concert, PATIENCE).await?, "sold out");
    let body = json!({ "concertId": concert, "quantity": 1 });
    let reserved = visitor.post_surely("/reservation", &body, "reserve").await?.ok()?;
    Ok((visitor, reserved.text("reservationId")?))
}

fn by_card(reservation: &str, token: &str) -> Value {
    json!({ "reservationId": reservation, "paymentMethod": "card", "paymentToken": token })
}

/// Waits until the visitor's only payment is told to be `status`.
async fn becomes(visitor: &Visitor, status: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(answer) = visitor.get("/payment").await
            && answer.body["data"][0]["status"] == status
        {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no payment is {status}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_all_holds(onsale: &Onsale) -> Result<()> {
    for finding in Database::connect(&onsale.setup().database_url).await?.check().await? {
        ensure!(!finding.is_broken(), "{finding:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_card_buys_a_ticket_and_its_provider_is_heard() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let onsale = stack(&redis, &[("PAYMENT_PROVIDER_TIMEOUT_MS", TIMEOUT_MS.to_string())])?;
    let (visitor, reservation) = holder(&onsale.url(), "fan1").await?;
    let declined = visitor.post("/payment", by_card(&reservation, "tok_declined")).await?;
    assert_eq!((declined.status.as_u16(), &declined.body["error"]), (402, &json!("payment_declined")));
    let paid = visitor.post("/payment", by_card(&reservation, "tok_ok")).await?.ok()?;
    assert_eq!((&paid.body["status"], &paid.body["balance"]), (&json!("success"), &json!(0.0)));
    // Nobody is believed without a signature.
    let forged = visitor.post("/webhooks/payments/sandbox", json!({})).await?;
    assert_eq!((forged.status.as_u16(), &forged.body["error"]), (401, &json!("invalid_signature")));
    // An answer that never comes: the provider's message, through nginx and a gateway, is quicker than the timeout.
    let (visitor, reservation) = holder(&onsale.url(), "fan2").await?;
    let asking = tokio::spawn({
        let (visitor, body) = (visitor.clone(), by_card(&reservation, "tok_drop_response"));
        async move { visitor.post("/payment", body).await }
    });
    becomes(&visitor, "success").await?;
    // After the timeout it would be 202.
    assert_eq!(asking.await??.status.as_u16(), 200, "and who asked is told");
    assert_all_holds(&onsale).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_whoever_asks_the_provider_loses_neither_money_nor_ticket() -> Result<()> {
    let redis = Redis::start(&RedisOptions::default())?;
    let onsale = stack(&redis, &[])?;
    let mut buyers = Vec::new();
    for number in 0..BUYERS {
        buyers.push(holder(&onsale.url(), &format!("fan{number}")).await?);
    }
    let asking: Vec<_> = buyers
        .iter()
        .map(|(visitor, reservation)| {
            let (visitor, body) = (visitor.clone(), by_card(reservation, "tok_delay_2500"));
            tokio::spawn(async move { visitor.post("/payment", body).await })
        })
        .collect();
    for (visitor, _) in &buyers {
        becomes(visitor, "pending").await?;
    }
    // Whichever of the two it is. The provider goes on, and nobody is there to hear it.
    for core_api in onsale.core_apis() {
        core_api.process().kill();
    }
    for unanswered in asking {
        let unanswered = unanswered.await??;
        ensure!(unanswered.status.as_u16() == 503, "{}", unanswered.body);
    }
    for core_api in onsale.core_apis() {
        core_api.restart()?;
    }
    for (visitor, reservation) in &buyers {
        becomes(visitor, "success").await?;
        let ticket = visitor.get(&format!("/reservation/{reservation}")).await?.ok()?;
        assert_eq!(ticket.body["status"], "completed");
    }
    assert_all_holds(&onsale).await
}
