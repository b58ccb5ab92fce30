//! Stand-ins for a gateway behind nginx: they tell what arrived, and can be slow, silent or dead.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::json;
use stack::wait::PATIENCE;
use tokio::runtime::Runtime;

const BODY_MAX_BYTES: usize = 4 << 20;

#[derive(Debug)]
struct Shared {
    name: String,
    hits: Mutex<HashMap<String, usize>>,
}

/// A server that answers every request with what it received, as JSON `{stub, method, uri, headers, bodyBytes}`.
///
/// A few paths are different: `/status/<code>` answers with that status and a body of its own,
/// `…/events` is an event stream with one event that stays open, `…/frontier` may be cached for a
/// second and `…/logo/…` for good, both are a 404 for ids that begin with `0`, and `/large` answers with 20 KB of JSON.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Its own runtime, so that it can die at once with all its connections.
    runtime: Option<Runtime>,
}

impl Stub {
    /// A stub on a free port.
    pub fn start(name: &str) -> Result<Self> {
        Self::start_at(name, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// A stub on an address, such as that of one that was killed.
    pub fn start_at(name: &str, address: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared { name: name.to_owned(), hits: Mutex::default() });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let app = axum::Router::new().fallback(answer).with_state(shared.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, app).await
        });
        Ok(Self { address, shared, runtime: Some(runtime) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests for `path` arrived.
    pub fn hits(&self, path: &str) -> usize {
        let hits = self.shared.hits.lock().unwrap_or_else(PoisonError::into_inner);
        hits.get(path).copied().unwrap_or_default()
    }

    /// Ends it as SIGKILL would, and waits until nobody listens any more.
    pub fn kill(mut self) -> Result<SocketAddr> {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        stack::wait::until("the stub to be gone", PATIENCE, || {
            Ok(TcpStream::connect(self.address).is_err().then_some(()))
        })?;
        Ok(self.address)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // An ordinary drop would block, which an async test's thread must not.
            runtime.shutdown_background();
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    *shared.hits.lock().unwrap_or_else(PoisonError::into_inner).entry(path.clone()).or_default() += 1;
    let body = axum::body::to_bytes(body, BODY_MAX_BYTES).await.unwrap_or_default();
    let mut response = if let Some(code) = path.strip_prefix("/status/") {
        failure(code)
    } else if path.ends_with("/events") {
        events()
    } else if path == "/large" {
        ([(header::CONTENT_TYPE, "application/json")], format!("\"{}\"", "a".repeat(20_000))).into_response()
    } else {
        echo(&shared.name, &parts, &body)
    };
    // Like the gateway, which returns the id it was given.
    if let Some(id) = parts.headers.get("x-request-id") {
        response.headers_mut().insert("x-request-id", id.clone());
    }
    response
}

fn echo(name: &str, parts: &axum::http::request::Parts, body: &Bytes) -> Response {
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let text = json!({
        "stub": name,
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "headers": headers,
        "bodyBytes": body.len(),
    });
    let mut head = HeaderMap::new();
    head.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    let mut status = StatusCode::OK;
    let path = parts.uri.path();
    let kept = if path.ends_with("/frontier") {
        Some("public, max-age=1")
    } else if path.contains("/logo/") {
        Some("public, max-age=31536000, immutable")
    } else {
        None
    };
    if let Some(kept) = kept {
        head.insert(header::CACHE_CONTROL, header::HeaderValue::from_static(kept));
        if ["/queue/0", "/concerts/0"].iter().any(|missing| path.starts_with(missing)) {
            status = StatusCode::NOT_FOUND;
        }
    }
    (status, head, text.to_string()).into_response()
}

fn failure(code: &str) -> Response {
    let status = code.parse().unwrap_or(StatusCode::IM_A_TEAPOT);
    let head = [(header::CONTENT_TYPE, "application/problem+json"), (header::RETRY_AFTER, "7")];
    (status, head, r#"{"error":"made_by_the_gateway"}"#).into_response()
}

fn events() -> Response {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"data: first\n\n"))]);
    let body = Body::from_stream(first.chain(stream::pending()));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// A server of event streams that sends the first event at once and the second, with the end, when
/// told to.
///
/// Its streams end with their connection instead of being chunked: chunks would pass through
/// nginx's buffers too, so a missing `proxy_buffering off` would not be seen.
#[derive(Debug)]
pub struct EventSource {
    address: SocketAddr,
    next: Sender<()>,
}

impl EventSource {
    /// A source on a free port, for one stream after the other; it ends with the process.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let (next, told) = channel();
        std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    // A client that went away is the test's own affair.
                    let _ = send_events(stream, &told);
                }
            })
            .context("no thread for a source of events")?;
        Ok(Self { address, next })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the stream that is open send its second event and end.
    pub fn send_event(&self) -> Result<()> {
        Ok(self.next.send(())?)
    }
}

fn send_events(mut stream: TcpStream, told: &Receiver<()>) -> Result<()> {
    read_head(&mut stream)?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: first\n\n")?;
    told.recv_timeout(PATIENCE)?;
    stream.write_all(b"data: second\n\n")?;
    Ok(())
}

/// A server that reads a request and then drops the connection, as one that is killed in the
/// middle of its work.
#[derive(Debug)]
pub struct Dropper {
    address: SocketAddr,
    received: Arc<AtomicUsize>,
}

impl Dropper {
    /// A dropper on a free port; it ends with the process.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let received = Arc::new(AtomicUsize::new(0));
        let count = received.clone();
        std::thread::Builder::new()
            .name("dropper".to_owned())
            .spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    if read_head(&mut stream).is_ok() {
                        count.fetch_add(1, Ordering::SeqCst);
                    }
                }
            })
            .context("no thread for a dropper")?;
        Ok(Self { address, received })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests it received.
    pub fn received(&self) -> usize {
        self.received.load(Ordering::SeqCst)
    }
}

fn read_head(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let count = stream.read(&mut chunk)?;
        anyhow::ensure!(count > 0 && head.len() < BODY_MAX_BYTES, "not a request");
        head.extend_from_slice(&chunk[..count]);
    }
    Ok(())
}
