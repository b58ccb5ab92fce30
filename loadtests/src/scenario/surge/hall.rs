//! A concert that is made for one run, and the room before it, by an administrator who is made for it as well.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use common::ids::UserId;
use common::tokens::Role;
use reqwest::Method;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::super::accounts::SessionMaker;
use super::super::options::rate;
use crate::catalog::Concert;
use crate::client::{Answer, Client, Request};

/// What one section holds at most.
const SECTION_SEATS: u32 = 50;
/// The first section costs this, the last half of it.
const PRICE_WON: u32 = 110_000;
/// Prices are whole thousands.
const PRICE_STEP_WON: u32 = 1_000;
/// Every core-api and gateway has heard of a new concert within this time.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// PostgreSQL may take so long to take a role away.
const DISMISSED_WITHIN: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(250);
/// A gateway sees new settings with its next tick, four times a second.
const SETTINGS_SEEN_WITHIN: Duration = Duration::from_secs(1);

/// What is set of a room; the rest is what the stack was started with.
#[derive(Debug, Clone, Copy, Default, clap::Args)]
pub(super) struct RoomArgs {
    /// Lets so many people in a second, fractions allowed [default: what the stack was started with]
    #[arg(id = "set_admit_per_second", long = "set-admit-per-second", value_name = "PERSONS", value_parser = rate)]
    admit_per_second: Option<f64>,
    /// Lets so many in at once after a lull [default: what the stack was started with]
    #[arg(id = "set_burst", long = "set-burst", value_name = "PERSONS",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    burst: Option<u32>,
    /// Lets so many be inside at a time [default: what the stack was started with]
    #[arg(id = "set_max_active", long = "set-max-active", value_name = "PERSONS",
        value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    max_active: Option<u32>,
}

impl RoomArgs {
    /// The fields of `PUT /admin/queues/{concertId}`.
    pub(super) fn fields(self) -> serde_json::Map<String, Value> {
        let fields = [
            ("admitPerSecond", self.admit_per_second.map(Value::from)),
            ("burst", self.burst.map(Value::from)),
            ("maxActive", self.max_active.map(Value::from)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// For the report.
    pub(super) fn describe(self) -> String {
        let set: Vec<_> = self.fields().into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        if set.is_empty() {
            return "The room is run as the stack was started.".to_owned();
        }
        format!("Of the room was set: {}; the rest is what the stack was started with.", set.join(", "))
    }
}

/// An account that may run sales for as long as it is needed. Nobody can log in to it: it has no password.
pub(super) struct Manager<'a> {
    client: &'a Client,
    session: String,
}

#[derive(Deserialize)]
struct Made {
    id: Uuid,
}

impl<'a> Manager<'a> {
    pub(super) async fn appoint(
        client: &'a Client,
        database: &mut PgConnection,
        sessions: &SessionMaker,
    ) -> Result<Self> {
        let user = UserId::generate();
        sqlx::query(
            "INSERT INTO users (id, username, email, role)
             VALUES ($1, 'load test', format('load-admin-%s@load.example', $1), 'admin')",
        )
        .bind(user.as_uuid())
        .execute(database)
        .await
        .context("an administrator for the run can't be made")?;
        Ok(Self { client, session: sessions.session(user, Role::Admin) })
    }

    /// What was needed is done: whoever was made for this run, or for one that was killed before it could do this, may run
    /// sales no longer.
    pub(super) async fn dismiss_all(database: &mut PgConnection) -> Result<()> {
        let dismissed = sqlx::query(
            "UPDATE users SET role = 'user' WHERE email LIKE 'load-admin-%@load.example' AND role <> 'user'",
        )
        .execute(database);
        tokio::time::timeout(DISMISSED_WITHIN, dismissed)
            .await
            .context("PostgreSQL does not answer")
            .and_then(|done| Ok(done?))
            .context("an administrator may be left: UPDATE users SET role = 'user' WHERE email LIKE 'load-admin-%@load.example'")?;
        Ok(())
    }

    /// Makes a concert of `seats` seats, on sale at once, and waits until everybody knows it.
    pub(super) async fn make_concert(&self, name: &str, seats: u32) -> Result<Concert> {
        let body = json!({
            "name": name,
            "venue": "load test",
            "date": (Utc::now() + TimeDelta::days(30)).format("%Y-%m-%d").to_string(),
            "seatsPerUser": 1,
            "sections": sections(seats),
        });
        let answer = self.ask(Method::POST, "/admin/concerts", &body).await?;
        ensure!(answer.is_ok(), "the concert can't be made: {}", answer.describe());
        let id = answer.json::<Made>()?.id;
        // A core-api that did not make it knows it within a second.
        self.until_known(Method::GET, &format!("/concerts/{id}"), &json!({})).await?;
        Ok(Concert {
            id,
            name: name.to_owned(),
            total_seats: seats.into(),
            available_seats: seats.into(),
            status: "on_sale".to_owned(),
        })
    }

    /// Sets these fields of `PUT /admin/queues/{concertId}`.
    pub(super) async fn set_up_room(&self, concert: Uuid, fields: serde_json::Map<String, Value>) -> Result<()> {
        if fields.is_empty() {
            return Ok(());
        }
        self.until_known(Method::PUT, &format!("/admin/queues/{concert}"), &Value::Object(fields)).await?;
        tokio::time::sleep(SETTINGS_SEEN_WITHIN).await;
        Ok(())
    }

    /// Asks again while the concert is not known.
    async fn until_known(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        let deadline = Instant::now() + KNOWN_WITHIN;
        loop {
            let answer = self.ask(method.clone(), path, body).await?;
            if answer.is_ok() {
                return Ok(answer);
            }
            ensure!(answer.status == 404 && Instant::now() < deadline, "{method} {path}: {}", answer.describe());
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        let body = (method != Method::GET).then(|| body.to_string());
        let request =
            Request { method: method.clone(), path, session: Some(&self.session), body, ..Request::default() };
        self.client.send(&request).await.map_err(|why| anyhow::anyhow!("{method} {path}: {}", why.name()))
    }
}

/// What a visitor needs for any seat.
pub(super) fn highest_price() -> Decimal {
    PRICE_WON.into()
}

/// Sections of 50 seats, the last one smaller, the nearer the dearer.
fn sections(seats: u32) -> Vec<Value> {
    let count = seats.div_ceil(SECTION_SEATS);
    let section = |index: u32| {
        let price = PRICE_WON - PRICE_WON / 2 * index / count.max(2).saturating_sub(1);
        json!({
            "name": format!("S{:03}", index + 1),
            "price": price / PRICE_STEP_WON * PRICE_STEP_WON,
            "seats": SECTION_SEATS.min(seats - index * SECTION_SEATS),
        })
    };
    (0..count).map(section).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_hold_all_seats_and_none_costs_more_than_the_first() {
        for seats in [1, 50, 51, 2_000, 50_000] {
            let made = sections(seats);
            let sum: u64 = made.iter().filter_map(|section| section["seats"].as_u64()).sum();
            assert_eq!(sum, u64::from(seats));
            let prices: Vec<_> = made.iter().filter_map(|section| section["price"].as_u64()).collect();
            assert!(prices.iter().all(|price| (55_000..=110_000).contains(price)), "{prices:?}");
            assert!(prices.is_sorted_by(|one, other| one >= other) && prices[0] == 110_000, "{prices:?}");
        }
    }

    #[test]
    fn only_what_is_given_is_set() {
        assert!(RoomArgs::default().fields().is_empty());
        let some = RoomArgs { admit_per_second: Some(0.5), max_active: Some(9), ..RoomArgs::default() };
        assert_eq!(Value::Object(some.fields()), json!({ "admitPerSecond": 0.5, "maxActive": 9 }));
        assert!(some.describe().contains("maxActive 9"));
    }
}
