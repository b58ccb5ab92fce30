//! A core-api with a payment provider: the sandbox, in this process.

use std::sync::Arc;

use common::clock::SharedClock;
use common::config::Reader;
use common::lifecycle::Lifecycle;
use common::signed_webhook::WebhookKeys;
use sandbox_provider::ledger::Totals;
use sandbox_provider::{Config, Sandbox};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::client::Answer;
use crate::support::{Concert, Options, Person, World, eventually, world_with};

const KEY: &str = "a-key-for-tests-of-core-api-and-its-provider";
pub(crate) const WEBHOOK_SECRET: &str = "a-webhook-secret-for-tests-of-core-api";
/// The secret before that one.
pub(crate) const OLD_WEBHOOK_SECRET: &str = "an-older-webhook-secret-for-tests-of-core-api";
/// Short, so that what is never answered does not hold a test up.
const TIMEOUT_MS: &str = "700";

/// For tests in which the provider takes its time.
pub(crate) const PATIENT: [(&str, &str); 1] = [("PAYMENT_PROVIDER_TIMEOUT_MS", "4000")];

/// Both, and what stops the sandbox.
pub(crate) struct CardWorld {
    pub(crate) world: World,
    pub(crate) sandbox: Sandbox,
    lifecycle: Lifecycle,
}

impl Drop for CardWorld {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

impl std::ops::Deref for CardWorld {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// Settings for a provider at `url`.
pub(crate) fn provider_settings(url: &str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("PAYMENT_PROVIDER_URL", String::leak(url.to_owned())),
        ("PAYMENT_PROVIDER_KEY", KEY),
        ("PAYMENT_WEBHOOK_SECRETS", String::leak(format!("{WEBHOOK_SECRET},{OLD_WEBHOOK_SECRET}"))),
        ("PAYMENT_PROVIDER_TIMEOUT_MS", TIMEOUT_MS),
    ]
}

pub(crate) async fn card_world() -> CardWorld {
    card_world_with(Vec::new()).await
}

pub(crate) async fn card_world_with(more: Vec<(&'static str, &'static str)>) -> CardWorld {
    card_world_on(Options { settings: more, ..Options::default() }).await
}

pub(crate) async fn card_world_on(options: Options) -> CardWorld {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = provider_settings(&format!("http://{}", listener.local_addr().unwrap()));
    settings.extend(options.settings.iter().copied());
    let world = world_with(Options { settings, ..options }).await;
    let webhook_url = format!("http://{}/webhooks/payments/sandbox", world.address);
    let settings = [
        ("PAYMENT_PROVIDER_KEY", KEY),
        ("PAYMENT_WEBHOOK_SECRETS", WEBHOOK_SECRET),
        ("SANDBOX_PROVIDER_WEBHOOK_URL", &webhook_url),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::read(Reader::new(settings)).unwrap();
    let lifecycle = Lifecycle::default();
    let sandbox = Sandbox::new(&config, Arc::clone(&world.clock) as SharedClock, &lifecycle);
    tokio::spawn(sandbox.clone().serve(listener, lifecycle.clone()));
    CardWorld { world, sandbox, lifecycle }
}

/// The body of a payment by card.
pub(crate) fn by_card(reservation: Uuid, token: &str) -> Value {
    json!({ "reservationId": reservation, "paymentMethod": "card", "paymentToken": token })
}

impl CardWorld {
    /// Holds a seat; somebody without a balance and their reservation.
    pub(crate) async fn holder(&self, concert: &Concert, seat: usize) -> (Person, Uuid) {
        let person = self.user("0").await;
        let reservation = self.hold(&person, concert, seat).await;
        (person, reservation)
    }

    pub(crate) async fn pay(&self, person: &Person, reservation: Uuid, token: &str) -> Answer {
        self.post("/payment", &by_card(reservation, token)).by(person).send().await
    }

    /// What the user is told of a payment.
    pub(crate) async fn told(&self, person: &Person, payment: Uuid) -> Value {
        let answer = self.get(&format!("/payment/{payment}")).by(person).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    }

    /// Waits until a payment is what it should be.
    pub(crate) async fn becomes(&self, person: &Person, payment: Uuid, status: &str) {
        eventually(status, async || (self.told(person, payment).await["status"] == status).then_some(())).await;
    }

    /// Waits until nothing is left to be settled with the provider.
    pub(crate) async fn settled(&self) {
        let left = "SELECT (SELECT count(*) FROM provider_payments WHERE next_look_at IS NOT NULL)
                         + (SELECT count(*) FROM provider_refunds WHERE next_look_at IS NOT NULL)";
        eventually("all is settled", async || (self.sql(left).await == "0").then_some(())).await;
    }

    /// How many payments of a concert operators are told have failed.
    pub(crate) async fn failed_payments(&self, concert: &Concert) -> String {
        let sums = format!("wr:v1:{{{}}}:chart:counted", concert.id);
        self.redis(&["HGET", &sums, "failed_payments"]).await.unwrap_or_else(|| "0".to_owned())
    }

    pub(crate) async fn state(&self) -> String {
        self.sql("SELECT string_agg(state, ' ' ORDER BY id) FROM provider_payments").await
    }

    /// That everything holds, and that the provider has what our books say it has.
    pub(crate) async fn assert_books(&self) {
        self.assert_invariants().await;
        let Totals { authorised, kept } = self.sandbox.ledger().totals();
        let owed =
            self.sql("SELECT coalesce(-sum(amount), 0)::numeric(12, 2) FROM ledger_entries WHERE account = 'provider'");
        assert_eq!((authorised, kept.to_string()), (0, owed.await));
    }

    /// What the sandbox took and still has.
    pub(crate) fn kept(&self) -> String {
        self.sandbox.ledger().totals().kept.to_string()
    }
}

/// What signs as the provider does.
pub(crate) fn keys(secret: &str) -> WebhookKeys {
    WebhookKeys::new(&[secret]).unwrap()
}
