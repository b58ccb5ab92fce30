//! One connection. Plain requests, which nearly all are, are read and answered here, with no more memory than they need:
//! hyper keeps 8 KB to read into and as much to write from for each connection, and takes more time for a request than
//! answering it takes. The first request that is not plain, and all after it, are hyper's.

use std::io::{self, Cursor};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use hyper::body::Incoming as HyperBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::Watcher;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::ServiceExt as _;

use super::reading::Incoming;
use super::response::{After, write};
use super::{App, ServeLimits, request};

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) limits: ServeLimits,
    /// Set before `stop` is cancelled: who is woken by that, whatever they were doing, finds it set.
    pub(super) is_stopping: AtomicBool,
    pub(super) stop: CancellationToken,
    pub(super) hyper: Builder<TokioExecutor>,
}

/// Serves a connection to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    watcher: Watcher,
    mut stream: TcpStream,
    peer: SocketAddr,
    app: impl App,
) {
    let mut incoming = Incoming::default();
    // A client that hangs up or talks nonsense is no event of ours.
    if let Ok(Ended::NotPlain) = plain(&shared, &mut stream, &mut incoming, peer, &app).await {
        Box::pin(by_hyper(shared, watcher, stream, incoming, peer, app)).await;
    }
}

/// How a connection ended as one of plain requests.
enum Ended {
    /// It is over.
    Over,
    /// What comes next is not plain.
    NotPlain,
}

async fn plain(
    shared: &Shared,
    stream: &mut TcpStream,
    incoming: &mut Incoming,
    peer: SocketAddr,
    app: &impl App,
) -> io::Result<Ended> {
    let mut pause = Pause::new(shared);
    loop {
        if incoming.0.is_empty() {
            incoming.forget();
            if pause.until_more(shared, stream, incoming).await? == After::End {
                return Ok(Ended::Over);
            }
        }
        let Some(plain) = request::take(&mut incoming.0) else { return Ok(Ended::NotPlain) };
        let mut request = plain.request;
        request.extensions_mut().insert(ConnectInfo(peer));
        let Some(response) = answer(app, request, stream, incoming).await else { return Ok(Ended::Over) };
        let is_last = plain.is_last || shared.is_stopping.load(Ordering::Acquire);
        if write(stream, incoming, response, is_last, shared.limits.header_timeout).await? == After::End {
            return Ok(Ended::Over);
        }
    }
}

/// The answer; `None` where nobody waits for it any more.
async fn answer(app: &impl App, request: Request, stream: &mut TcpStream, incoming: &mut Incoming) -> Option<Response> {
    let mut answering = pin!(app.clone().oneshot(request));
    std::future::poll_fn(|context| {
        if let Poll::Ready(Ok(response)) = answering.as_mut().poll(context) {
            return Poll::Ready(Some(response));
        }
        incoming.poll_hung_up(stream, context).map(|()| None)
    })
    .await
}

/// The time between two requests.
struct Pause {
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    patience: Pin<Box<Sleep>>,
    is_listening: bool,
}

impl Pause {
    fn new(shared: &Shared) -> Self {
        Self {
            stop: Box::pin(shared.stop.clone().cancelled_owned()),
            patience: Box::pin(sleep(shared.limits.header_timeout)),
            is_listening: false,
        }
    }

    /// Waits for more to come; the end where nothing comes in time, or the process stops.
    ///
    /// This is done for each request, so what wakes this task anyway is not asked again: that it is to stop, and that its
    /// time is over, which is put off only once it is.
    async fn until_more(
        &mut self,
        shared: &Shared,
        stream: &mut TcpStream,
        incoming: &mut Incoming,
    ) -> io::Result<After> {
        let end = Instant::now() + shared.limits.header_timeout;
        std::future::poll_fn(|context| {
            if let Poll::Ready(read) = incoming.poll_read(stream, context) {
                return Poll::Ready(read.map(|read| if read == 0 { After::End } else { After::Next }));
            }
            let was_listening = std::mem::replace(&mut self.is_listening, true);
            let is_over = !was_listening && self.stop.as_mut().poll(context).is_ready();
            if is_over || shared.is_stopping.load(Ordering::Acquire) {
                return Poll::Ready(Ok(After::End));
            }
            while self.patience.as_mut().poll(context).is_ready() {
                if Instant::now() >= end {
                    return Poll::Ready(Ok(After::End));
                }
                self.patience.as_mut().reset(end);
            }
            Poll::Pending
        })
        .await
    }
}

/// Has hyper serve what has come and all that comes.
pub(super) async fn by_hyper(
    shared: Arc<Shared>,
    watcher: Watcher,
    stream: TcpStream,
    incoming: Incoming,
    peer: SocketAddr,
    app: impl App,
) {
    let (read, write) = stream.into_split();
    let connection = tokio::io::join(Cursor::new(incoming.0.freeze()).chain(read), write);
    let service = hyper::service::service_fn(move |request: http::Request<HyperBody>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        app.clone().oneshot(request)
    });
    let served = shared.hyper.serve_connection_with_upgrades(TokioIo::new(connection), service);
    // As above: nonsense is no event.
    let _ = watcher.watch(served.into_owned()).await;
}
