//! Somebody who receives webhooks, and answers as a test says.

use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Options, Person, World, eventually, world_with};

/// What lets a core-api in a test deliver to this machine.
pub(crate) const LOCAL: [(&str, &str); 3] = [
    ("WEBHOOK_SECRET_KEYS", "a-key-for-the-secrets-of-webhooks-in-tests"),
    ("WEBHOOK_ALLOW_HTTP", "true"),
    ("WEBHOOK_ALLOW_NETWORKS", "127.0.0.0/8"),
];

/// A world that may deliver to this machine.
pub(crate) async fn local_world() -> World {
    world_with(Options { settings: LOCAL.to_vec(), ..Options::default() }).await
}

/// How a letter is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Status(u16),
    RedirectTo(String),
    /// Never, as long as the connection lasts.
    Silence,
}

/// A letter that came.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) id: String,
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Letter {
    pub(crate) fn kind(&self) -> &str {
        self.json["type"].as_str().unwrap()
    }

    pub(crate) fn sequence(&self) -> i64 {
        self.json["sequence"].as_i64().unwrap()
    }

    /// Whether it tells of this reservation.
    pub(crate) fn is_of(&self, reservation: Uuid) -> bool {
        self.json["data"]["reservationId"] == json!(reservation)
    }
}

type Answering = Box<dyn FnMut(&Letter) -> Reply + Send>;

/// It.
pub(crate) struct Receiver {
    pub(crate) url: String,
    letters: Arc<Mutex<Vec<Letter>>>,
    answering: Arc<Mutex<Answering>>,
}

impl Receiver {
    /// One that answers so.
    pub(crate) async fn start(answering: impl FnMut(&Letter) -> Reply + Send + 'static) -> Self {
        let letters: Arc<Mutex<Vec<Letter>>> = Arc::default();
        let answering: Arc<Mutex<Answering>> = Arc::new(Mutex::new(Box::new(answering)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?site=1", listener.local_addr().unwrap());
        let (kept, asked) = (Arc::clone(&letters), Arc::clone(&answering));
        let receive =
            move |headers: HeaderMap, body: Bytes| receive(Arc::clone(&kept), Arc::clone(&asked), headers, body);
        let router = axum::Router::new().route("/hook", axum::routing::post(receive));
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { url, letters, answering }
    }

    /// One that takes everything.
    pub(crate) async fn content() -> Self {
        Self::start(|_| Reply::Status(204)).await
    }

    /// Answers otherwise from now on.
    pub(crate) fn answer(&self, answering: impl FnMut(&Letter) -> Reply + Send + 'static) {
        *self.answering.lock().unwrap() = Box::new(answering);
    }

    /// Everything that came, in the order in which it came.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    /// The same once there are so many.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Letter> {
        eventually(&format!("{count} letters"), async || Some(self.letters()).filter(|all| all.len() >= count)).await
    }
}

async fn receive(
    letters: Arc<Mutex<Vec<Letter>>>,
    answering: Arc<Mutex<Answering>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/json");
    let letter = Letter {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        text: String::from_utf8(body.to_vec()).unwrap(),
        json: serde_json::from_slice(&body).unwrap(),
    };
    assert_eq!(letter.json["id"], letter.id.as_str());
    let reply = (answering.lock().unwrap())(&letter);
    letters.lock().unwrap().push(letter);
    match reply {
        Reply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Reply::RedirectTo(url) => (StatusCode::TEMPORARY_REDIRECT, [("location", url)]).into_response(),
        Reply::Silence => std::future::pending().await,
    }
}

/// Subscribes; the webhook's id and its secret.
pub(crate) async fn subscribe(world: &World, admin: &Person, url: &str, events: Option<&[&str]>) -> (Uuid, String) {
    let body = events.map_or_else(|| json!({ "url": url }), |events| json!({ "url": url, "events": events }));
    let answer = world.post("/admin/webhooks", &body).by(admin).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (answer.uuid("webhookId"), answer.json["secret"].as_str().unwrap().to_owned())
}

/// Waits until nothing is left to be delivered.
pub(crate) async fn all_delivered(world: &World) {
    eventually("all is delivered", async || {
        (world.sql("SELECT count(*) FROM webhook_deliveries").await == "0").then_some(())
    })
    .await;
}
