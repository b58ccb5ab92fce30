//! The sandbox's messages: signed, sent again while nobody takes them, a bounded number at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::clock::SharedClock;
use common::signed_webhook::WebhookKeys;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::behaviour::Behaviour;
use crate::config::Config;
use crate::ledger::{Payment, State};

/// How many messages wait at most; further ones are lost, as with any provider that is overrun.
const MAX_WAITING: usize = 10_000;
/// How many are on their way at once.
const AT_ONCE: usize = 16;
/// How often one is tried, with pauses that double.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a message that is repeated is sent.
const REPEATS: usize = 3;
/// How many payments hold a message back at most.
const MAX_HELD_BACK: usize = 1_000;

/// A message that is to be sent.
#[derive(Debug, Clone)]
struct Message {
    id: String,
    payment: Uuid,
    body: Bytes,
    behaviour: Behaviour,
    is_first: bool,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: String,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    payment_id: Uuid,
    state: &'a str,
}

/// Takes messages.
#[derive(Debug, Clone)]
pub(crate) struct Webhooks {
    clock: Clock,
    queue: Option<mpsc::Sender<Message>>,
}

#[derive(Clone)]
struct Clock(SharedClock);

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock(…)")
    }
}

/// Sends them; see [`run`](Self::run).
pub(crate) struct Sending {
    queue: mpsc::Receiver<Message>,
    sender: Arc<Sender>,
}

struct Sender {
    url: Option<Uri>,
    keys: Arc<WebhookKeys>,
    clock: Clock,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Webhooks {
    pub(crate) fn new(config: &Config, clock: SharedClock) -> (Self, Sending) {
        let (sender, queue) = mpsc::channel(MAX_WAITING);
        let clock = Clock(clock);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build_http();
        let sending = Sender {
            url: config.webhook_url.clone(),
            keys: Arc::clone(&config.webhooks),
            clock: clock.clone(),
            client,
        };
        let queue_of_messages = config.webhook_url.is_some().then_some(sender);
        (Self { clock, queue: queue_of_messages }, Sending { queue, sender: Arc::new(sending) })
    }

    /// Tells how far a payment has come.
    pub(crate) fn tell(&self, payment: &Payment) {
        let Some(queue) = self.queue.as_ref().filter(|_| payment.behaviour != Behaviour::DropWebhook) else { return };
        let state = payment.state.as_str();
        let body = Body {
            kind: format!("payment.{state}"),
            timestamp: common::clock::rfc3339(self.clock.0.now()),
            data: Data { payment_id: payment.id, state },
        };
        let message = Message {
            id: format!("evt_{}_{}", payment.id.simple(), payment.version),
            payment: payment.id,
            body: serde_json::to_vec(&body).unwrap_or_default().into(),
            behaviour: payment.behaviour,
            is_first: payment.state == State::Authorised,
        };
        if queue.try_send(message).is_err() {
            tracing::warn!("too many messages wait; one is lost");
        }
    }
}

impl Sending {
    /// Sends until `stopping`.
    pub(crate) async fn run(mut self, stopping: CancellationToken) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut held_back: HashMap<Uuid, Message> = HashMap::new();
        loop {
            let message = tokio::select! {
                Some(message) = self.queue.recv() => message,
                () = stopping.cancelled() => return,
            };
            if message.behaviour == Behaviour::ReorderWebhook && message.is_first && held_back.len() < MAX_HELD_BACK {
                held_back.insert(message.payment, message);
                continue;
            }
            let earlier = held_back.remove(&message.payment);
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let sender = Arc::clone(&self.sender);
            tokio::spawn(async move {
                let _place = place;
                let times = if message.behaviour == Behaviour::RepeatWebhook { REPEATS } else { 1 };
                for _ in 0..times {
                    sender.send(&message).await;
                }
                if let Some(earlier) = earlier {
                    sender.send(&earlier).await;
                }
            });
        }
    }
}

impl Sender {
    async fn send(&self, message: &Message) {
        let Some(url) = &self.url else { return };
        let mut pause = FIRST_PAUSE;
        for _ in 0..TRIES {
            if self.try_once(url, message).await {
                return;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        tracing::warn!(message = message.id, "nobody takes a message; it is given up");
    }

    async fn try_once(&self, url: &Uri, message: &Message) -> bool {
        let mut request = Request::post(url).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(headers) = request.headers_mut() {
            // Each try is signed at its own time.
            headers.extend(self.keys.sign(&message.id, self.clock.0.now(), &message.body));
        }
        let Ok(request) = request.body(Full::new(message.body.clone())) else { return true };
        let answer = tokio::time::timeout(TIMEOUT, self.client.request(request)).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|response| response.status().is_success()))
    }
}
