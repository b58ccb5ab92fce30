//! One HTTP client for all of core-api's replicas: takes turns, steps around the ones that are away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longer than core-api's own limit for a request, so that its answer is what clients see.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// After this long no other replica is asked: nginx has a limit of its own, and would blame the gateway.
const ATTEMPTS_FOR: Duration = Duration::from_secs(10);
/// Shorter than servers keep idle connections, so that none is closed under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a replica that refused a connection, or fell silent, is asked last.
const AVOIDED_FOR: Duration = Duration::from_secs(1);
const IDLE_CONNECTIONS: usize = 256;

/// No replica could be reached, or the one that was asked fell silent; the text is for the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

/// The replicas of core-api. Cloning it shares it.
#[derive(Debug, Clone)]
pub struct CoreApi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client<HttpConnector, Body>,
    peers: Vec<Peer>,
    next: AtomicUsize,
    started: Instant,
}

#[derive(Debug)]
struct Peer {
    authority: Authority,
    avoided_until_ms: AtomicU64,
}

impl CoreApi {
    /// From base URLs `http://host:port`. Nothing is connected to yet.
    pub fn new(urls: &[Uri]) -> anyhow::Result<Self> {
        let peers = urls
            .iter()
            .map(|url| {
                Ok(Peer {
                    authority: url.authority().context("an URL without host")?.clone(),
                    avoided_until_ms: AtomicU64::new(0),
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Ok(Self(Arc::new(Inner { client, peers, next: AtomicUsize::new(0), started: Instant::now() })))
    }

    /// Passes on a request whose body is in hand. A replica that refuses the connection has seen nothing of it, so the
    /// next is asked; one that breaks off may have done it, so only what changes nothing is asked again. One that falls
    /// silent is at its limit: asking its neighbour too would only bring that to its own.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response, Away> {
        let (parts, body) = request.into_parts();
        let repeatable = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        let mut last = Away("there is no replica".to_owned());
        let begun = Instant::now();
        for peer in self.in_turn() {
            let mut attempt = Request::from_parts(parts.clone(), Body::from(body.clone()));
            let failure = match self.ask(peer, &mut attempt).await {
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            let again = match failure.when {
                When::BeforeSending => true,
                When::BrokenOff => repeatable,
                When::Silent => false,
            };
            last = failure.away;
            if !again || begun.elapsed() > ATTEMPTS_FOR {
                break;
            }
        }
        Err(last)
    }

    /// Passes on a request whose body is still arriving; it can be sent once only.
    pub async fn stream(&self, mut request: Request<Body>) -> Result<Response, Away> {
        let peer = self.in_turn().next().ok_or_else(|| Away("there is no replica".to_owned()))?;
        self.ask(peer, &mut request).await.map_err(|failure| failure.away)
    }

    /// The replicas, beginning with the next one in turn, those to be avoided last.
    fn in_turn(&self) -> impl Iterator<Item = &Peer> {
        let (peers, now_ms) = (&self.0.peers, self.now_ms());
        let first = self.0.next.fetch_add(1, Ordering::Relaxed);
        let turn = move |at: usize| &peers[(first.wrapping_add(at)) % peers.len()];
        let avoided = move |peer: &&Peer| peer.avoided_until_ms.load(Ordering::Relaxed) > now_ms;
        let (ready, rest): (Vec<_>, Vec<_>) = (0..peers.len()).map(turn).partition(|peer| !avoided(peer));
        ready.into_iter().chain(rest)
    }

    async fn ask(&self, peer: &Peer, request: &mut Request<Body>) -> Result<Response, Failure> {
        let path = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(peer.authority.clone()).path_and_query(path).build();
        *request.uri_mut() = uri.map_err(|error| Failure { when: When::BrokenOff, away: Away(error.to_string()) })?;
        let failure = match tokio::time::timeout(ANSWER_TIMEOUT, self.0.client.request(std::mem::take(request))).await {
            Ok(Ok(response)) => return Ok(response.map(|body| Body::new(body.map_err(axum::Error::new)))),
            Ok(Err(error)) => Failure {
                when: if error.is_connect() { When::BeforeSending } else { When::BrokenOff },
                away: Away(format!("{}: {error:?}", peer.authority)),
            },
            Err(_) => Failure {
                when: When::Silent,
                away: Away(format!("{}: no answer in {ANSWER_TIMEOUT:?}", peer.authority)),
            },
        };
        if failure.when != When::BrokenOff {
            let until = self.now_ms() + u64::try_from(AVOIDED_FOR.as_millis()).unwrap_or(0);
            peer.avoided_until_ms.store(until, Ordering::Relaxed);
        }
        Err(failure)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

struct Failure {
    when: When,
    away: Away,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// No connection: the replica has seen nothing.
    BeforeSending,
    /// The connection broke: the replica may have done what was asked.
    BrokenOff,
    /// No answer in time.
    Silent,
}
