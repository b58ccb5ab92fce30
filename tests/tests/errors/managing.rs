//! What can go wrong with accounts, with what administrators do, and with requests that are sent twice.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chrono::NaiveDate;
use e2e::site::{Answer, Visitor};
use futures_util::future::{Either, join_all, select, try_join_all};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use stack::wait::PATIENCE;

use crate::buying::{concert_in, concert_on};
use crate::request::{PASSWORD, Request, World, name, signed_in};

/// As many webhooks as may be.
const WEBHOOKS_MAX: usize = 10;

pub(crate) async fn provoke(world: &World<'_>, database: &mut PgConnection) -> Result<()> {
    accounts(world).await?;
    let concert = concert_in(world, 60).await?;
    let admin = &world.admin;
    let over = concert_on(world, NaiveDate::from_ymd_opt(2020, 1, 1).context("no such day")?).await?;
    world.refuses(admin, "openSale", &[&over], None, "sales_closed").await?;
    let there = json!({ "sections": [{ "name": "A", "price": 1, "seats": 1 }] });
    world.refuses(admin, "addSections", &[&concert.id], Some(there), "section_exists").await?;
    let drawn = json!({ "order": "random_at_open" });
    world.refuses(admin, "changeQueue", &[&concert.id], Some(drawn), "draw_not_possible").await?;
    let old = json!({ "version": 99 });
    world.refuses(admin, "changeQueue", &[&concert.id], Some(old), "settings_changed").await?;
    for action in ["pauseQueue", "resumeQueue", "closeQueue"] {
        two_at_once(world, database, &concert.id, action).await?;
    }
    let webhook = json!({ "url": "https://hooks.example.com/onsale", "events": ["payment.refunded"] });
    for _ in 0..WEBHOOKS_MAX {
        world.ask(admin, "createWebhook", &[], Some(webhook.clone())).await?.ok()?;
    }
    world.refuses(admin, "createWebhook", &[], Some(webhook), "webhook_limit").await
}

async fn accounts(world: &World<'_>) -> Result<()> {
    let again = json!({ "username": "user", "email": "user@example.test", "password": PASSWORD });
    world.refuses(&world.user, "signUp", &[], Some(again), "email_taken").await?;
    let wrong = json!({ "currentPassword": "another password", "newPassword": "a longer password" });
    world.refuses(&world.user, "changePassword", &[], Some(wrong), "wrong_password").await
}

/// Two administrators do the same with a room, each for what they have read: a lock holds both where they have.
async fn two_at_once(world: &World<'_>, database: &mut PgConnection, concert: &str, action: &str) -> Result<()> {
    let mut transaction = database.begin().await?;
    sqlx::query("LOCK TABLE queue_settings IN EXCLUSIVE MODE").execute(&mut *transaction).await?;
    let ids = [concert];
    let both = join_all([(); 2].map(|()| world.ask(&world.admin, action, &ids, None)));
    let release = async {
        let begun = Instant::now();
        loop {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'queue_settings'::regclass",
            )
            .fetch_one(&mut *transaction)
            .await?;
            if waiting >= 2 {
                return Ok(transaction.rollback().await?);
            }
            ensure!(begun.elapsed() < PATIENCE, "nobody waits");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (answers, released) = tokio::join!(both, release);
    released?;
    let answers = answers.into_iter().collect::<Result<Vec<Answer>>>()?;
    let (done, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    ensure!(done.len() == 1 && refused.len() == 1, "{action}: {answers:?}");
    world.ledger.note(action, "settings_changed", refused[0]);
    Ok(())
}

/// Of every operation that takes an `Idempotency-Key`: the same key for another request, and the same request twice at
/// once.
pub(crate) async fn repeat(world: &World<'_>, database: &mut PgConnection) -> Result<()> {
    let keyed: Vec<_> =
        world.operations.iter().filter(|one| world.ledger.tells(name(one), "idempotency_key_reused")).collect();
    for operation in &keyed {
        let request = world.request(operation)?.header("idempotency-key", Some(name(operation)));
        world.send(&request.clone().body(b"{}".to_vec())?).await?;
        world.provoke(operation, "idempotency_key_reused", &request.body(b"{\"a\":1}".to_vec())?).await;
    }
    let staff = signed_in(&world.url, "staff@example.com").await?;
    let mut rival = Visitor::new(&world.url)?;
    rival.sign_up("again").await?;
    // Nobody reads these tables, and no balance is changed, until it is over; keys are taken all the same.
    let mut transaction = database.begin().await?;
    for lock in ["LOCK TABLE concerts, seats, reservations", "LOCK TABLE users IN SHARE MODE"] {
        sqlx::query(lock).execute(&mut *transaction).await?;
    }
    let tries = try_join_all(keyed.iter().map(async |operation| {
        let request = world.request(operation)?.header("idempotency-key", Some(&format!("{}-twice", name(operation))));
        // One user has three requests at work at most.
        let request = match name(operation) {
            "chargeBalance" => by(&rival, request),
            "checkIn" => by(&staff, request),
            _ => request,
        };
        let both = (Box::pin(send(world, request.clone())), Box::pin(send(world, request)));
        let (first, other) = match select(both.0, both.1).await {
            Either::Left((first, other)) | Either::Right((first, other)) => (first?, other),
        };
        world.ledger.note(name(operation), "idempotency_in_progress", &first);
        Ok::<_, anyhow::Error>(other)
    }));
    let others = tries.await?;
    transaction.rollback().await?;
    for other in others {
        other.await?;
    }
    Ok(())
}

async fn send(world: &World<'_>, request: Request) -> Result<Answer> {
    world.send(&request).await
}

fn by(who: &Visitor, request: Request) -> Request {
    let session = who.session.as_ref().map(|session| format!("Bearer {session}"));
    request.header("authorization", session.as_deref())
}
