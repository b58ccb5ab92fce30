//! A gateway in this process, before a real Redis and a stand-in for core-api.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use common::clock::{Clock as _, ShiftedClock};
use common::http::{App, ServeLimits, SetCookie, serve};
use common::ids::{ConcertId, UserId};
use common::lifecycle::Lifecycle;
use common::tokens::{PassSigner, Role, Session, SessionKeys, TicketKeys, generate_pass_key};
use gateway::domain::RoomDefaults;
use gateway::rate_limits::RateLimits;
use gateway::{AppState, Config};
use http::{HeaderMap, Method, StatusCode};
use lua::RedisSettings;
use serde_json::{Value, json};
use stack::wait::PATIENCE;
use tokio::net::TcpListener;

/// What the stand-in for core-api knows and has seen.
#[derive(Default)]
pub struct Core {
    pub concerts: Mutex<HashMap<ConcertId, Value>>,
    pub look_ups: AtomicUsize,
    pub requests: Mutex<Vec<(Method, String, HeaderMap, Bytes)>>,
}

impl Core {
    pub fn concert(&self, status: &str, sale_opens_at: Option<DateTime<Utc>>) -> ConcertId {
        let id = ConcertId::generate();
        self.set(id, status, sale_opens_at);
        id
    }

    pub fn set(&self, id: ConcertId, status: &str, sale_opens_at: Option<DateTime<Utc>>) {
        self.concerts.lock().unwrap().insert(id, json!({"id": id, "status": status, "saleOpensAt": sale_opens_at}));
    }
}

async fn concert(State(core): State<Arc<Core>>, Path(id): Path<String>) -> Response {
    core.look_ups.fetch_add(1, Ordering::SeqCst);
    let known = id.parse().ok().and_then(|id: ConcertId| core.concerts.lock().unwrap().get(&id).cloned());
    known.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |concert| axum::Json(concert).into_response())
}

async fn echo(State(core): State<Arc<Core>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, 4 << 20).await else { return StatusCode::BAD_REQUEST.into_response() };
    core.requests.lock().unwrap().push((parts.method, parts.uri.to_string(), parts.headers, body.clone()));
    match parts.uri.path() {
        "/teapot" => {
            (StatusCode::IM_A_TEAPOT, [("x-from", "core"), ("connection", "x-hop"), ("x-hop", "1")], "short and stout")
                .into_response()
        }
        path if path.ends_with("/seats/events") => {
            // One event, and then silence.
            let event = futures_util::stream::iter([Ok::<_, std::io::Error>("event: seats\ndata: []\n\n")]);
            let stream = futures_util::StreamExt::chain(event, futures_util::stream::pending());
            ([("content-type", "text/event-stream")], axum::body::Body::from_stream(stream)).into_response()
        }
        "/health" => axum::Json(json!({"status": "OK", "checks": {"postgres": "OK", "redis": "OK"}})).into_response(),
        _ => body.into_response(),
    }
}

/// Serves the stand-in until the process ends.
pub async fn start_core() -> (Arc<Core>, SocketAddr) {
    let core = Arc::new(Core::default());
    let app =
        Router::new().route("/concerts/{id}", axum::routing::get(concert)).fallback(echo).with_state(Arc::clone(&core));
    (core, listen(app, &Lifecycle::default()).await)
}

async fn listen(app: impl App, lifecycle: &Lifecycle) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, app, ServeLimits::default(), lifecycle.draining()));
    address
}

/// A gateway and all that a test wants of it.
pub struct Site {
    pub url: String,
    pub address: SocketAddr,
    pub core: Arc<Core>,
    pub clock: Arc<ShiftedClock>,
    pub config: Config,
    pub state: AppState,
    pub lifecycle: Lifecycle,
    pub http: reqwest::Client,
}

impl Site {
    pub async fn start(room: RoomDefaults) -> Self {
        let (core, address) = start_core().await;
        Self::start_before(room, super::redis_settings(), core, &[address]).await
    }

    /// A gateway whose rooms are recorded, before this Redis. The database has to outlive it.
    pub async fn start_recorded(room: RoomDefaults, redis: RedisSettings, database_url: &str) -> Self {
        let (core, address) = start_core().await;
        let mut config = Self::config(room, redis, &[address]);
        config.record = Some(gateway::RecordSettings::new(database_url, 4));
        Self::start_with(config, core).await
    }

    pub async fn start_before(room: RoomDefaults, redis: RedisSettings, core: Arc<Core>, cores: &[SocketAddr]) -> Self {
        Self::start_with(Self::config(room, redis, cores), core).await
    }

    pub fn config(room: RoomDefaults, redis: RedisSettings, cores: &[SocketAddr]) -> Config {
        Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            metrics_listen: None,
            cookies: SetCookie::for_site("http://localhost"),
            core_api_urls: cores.iter().map(|address| format!("http://{address}").parse().unwrap()).collect(),
            site: None,
            redis,
            record: None,
            sessions: Arc::new(SessionKeys::new(&["a-session-secret-of-sufficient-length"]).unwrap()),
            tickets: Arc::new(TicketKeys::new(&["a-ticket-secret-of-sufficient-length!"]).unwrap()),
            passes: Arc::new(PassSigner::new(&[generate_pass_key().unwrap().0]).unwrap()),
            trusted_proxies: Arc::new(["127.0.0.0/8".parse().unwrap()]),
            room,
            max_in_flight: 1_000,
            max_streams: 100,
            max_connections: 10_000,
            // Tests ask faster than people do; those of the limits set their own.
            rate_limits: RateLimits::OFF,
        }
    }

    pub async fn start_with(config: Config, core: Arc<Core>) -> Self {
        let (clock, lifecycle) = (Arc::new(ShiftedClock::default()), Lifecycle::default());
        let state = gateway::state(config.clone(), clock.clone(), &lifecycle).unwrap();
        let address = listen(gateway::app(state.clone()), &lifecycle).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url: format!("http://{address}"), address, core, clock, config, state, lifecycle, http }
    }

    pub fn session_of(&self, user: UserId) -> String {
        self.session_as(user, Role::User)
    }

    pub fn session_as(&self, user: UserId, role: Role) -> String {
        let issued_at = self.clock.now();
        self.config.sessions.sign(&Session {
            id: None,
            user,
            role,
            issued_at,
            expires_at: issued_at + TimeDelta::hours(1),
        })
    }

    pub async fn join(&self, user: UserId, concert: ConcertId) -> Answer {
        let request = self.http.post(format!("{}/queue/token", self.url)).bearer_auth(self.session_of(user));
        Answer::of(request.json(&json!({ "concertId": concert }))).await
    }

    pub async fn status(&self, token: &str) -> Answer {
        Answer::of(self.http.get(format!("{}/queue/status", self.url)).header("x-queue-token", token)).await
    }

    /// Asks as an administrator.
    pub async fn admin(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let session = self.session_as(UserId::generate(), Role::Admin);
        let request = self.http.request(method, format!("{}/admin/queues/{path}", self.url)).bearer_auth(session);
        Answer::of(if let Some(body) = body { request.json(&body) } else { request }).await
    }

    pub async fn leave(&self, token: &str) -> Answer {
        Answer::of(self.http.delete(format!("{}/queue/token", self.url)).header("x-queue-token", token)).await
    }

    /// Polls until the status is `wanted`; gives up after a time that is far beyond any expected.
    pub async fn until(&self, token: &str, wanted: &str) -> Answer {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut token = token.to_owned();
        loop {
            let answer = self.status(&token).await;
            if answer.body["status"] == wanted {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "still {:?}", answer.body);
            token = answer.token();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

/// An answer, read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        Self { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    pub fn token(&self) -> String {
        self.body["token"].as_str().unwrap().to_owned()
    }

    /// Asserts that this is a problem of that kind, complete.
    #[track_caller]
    pub fn is_problem(&self, status: u16, error: &str) {
        assert_eq!((self.status.as_u16(), self.body["error"].as_str()), (status, Some(error)), "{:?}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["code"], status);
        assert_eq!(self.body["message"], self.body["detail"]);
        assert_eq!(self.body["requestId"], self.headers["x-request-id"].to_str().unwrap());
        assert!(self.body["type"].is_string() && self.body["title"].is_string());
        assert_eq!(self.headers.contains_key("retry-after"), matches!(status, 429 | 503));
        assert_eq!(self.headers.contains_key("www-authenticate"), status == 401);
    }
}
