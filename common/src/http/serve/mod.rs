//! The HTTP server: a bounded number of connections, a bounded time for a request's head, and an end that lets what is
//! under way finish.

mod connection;
mod reading;
mod request;
mod response;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

use connection::Shared;

/// As many headers are read; [`MAX_HEADERS`](super::MAX_HEADERS) are served. What lies between gets a refusal that says
/// why, which the parser's own does not.
const PARSED_HEADERS: usize = 256;

/// How much one server takes on.
#[derive(Debug, Clone, Copy)]
pub struct ServeLimits {
    /// Connections open at once; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// How long a client may take to send a request's head, and be idle between two requests: longer than our own
    /// clients keep idle connections, so that none is closed under a request.
    pub header_timeout: Duration,
    /// How long requests under way may take to finish after `shutdown`.
    pub drain_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            max_connections: 20_000,
            header_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// Connections that wait to be accepted. In a storm they come faster than a loop accepts; one that is turned away tries
/// again a second later at best. The kernel's own limit (`net.core.somaxconn`, 4096) holds as well.
const BACKLOG: u32 = 4_096;

/// Listens on an address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart need not wait for the last connections' end.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// What answers requests: a router, or what stands before one.
pub trait App:
    Service<Request<Body>, Response = Response, Error = Infallible, Future: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<S> App for S where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves `app` on `listener` until `shutdown`, then lets the requests under way finish within the drain timeout.
pub async fn serve(listener: TcpListener, app: impl App, limits: ServeLimits, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(limits.max_connections));
    let graceful = GracefulShutdown::new();
    let shared = Arc::new(Shared {
        limits,
        is_stopping: AtomicBool::new(false),
        stop: CancellationToken::new(),
        hyper: hyper(limits),
    });
    loop {
        let accepted = tokio::select! {
            accepted = async {
                // The semaphore is never closed, so a permit always comes.
                let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
                Some((listener.accept().await, slot))
            } => accepted,
            () = shutdown.cancelled() => break,
        };
        let Some((accepted, slot)) = accepted else { break };
        match accepted {
            Ok((stream, peer)) => {
                // Answers are small and written whole: waiting to fill a segment only adds latency.
                let _ = stream.set_nodelay(true);
                let served = connection::serve(Arc::clone(&shared), graceful.watcher(), stream, peer, app.clone());
                tokio::spawn(async move {
                    served.await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of file descriptors or the like: accepting again at once would only spin.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    shared.is_stopping.store(true, Ordering::Release);
    shared.stop.cancel();
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when the drain timeout ended");
    }
}

fn hyper(limits: ServeLimits) -> Builder<TokioExecutor> {
    // HTTP/1 only: telling versions apart would wait for a first byte, without a limit.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_headers(PARSED_HEADERS);
    builder
}
