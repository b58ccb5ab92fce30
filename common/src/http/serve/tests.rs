use std::fmt::Write as _;
use std::sync::mpsc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use hyper_util::server::graceful::GracefulShutdown;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::connection::by_hyper;
use super::reading::Incoming;
use super::*;

const LAST: &str = "GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
const LONG: Duration = Duration::from_secs(5);

/// Tells what was asked.
async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_else(|_| "broken".into());
    format!("{} {} {:?} {body:?}", parts.method, parts.uri, parts.headers).into_response()
}

fn router() -> Router {
    let frames = || stream::iter(["one", "", "two"].map(|text| Ok::<_, io::Error>(Bytes::from(text))));
    Router::new()
        .route("/nothing", any(|| async { StatusCode::NO_CONTENT }))
        .route("/same", any(|| async { StatusCode::NOT_MODIFIED }))
        .route("/chunks", any(move || async move { Body::from_stream(frames()) }))
        .route("/long", any(|| async { vec![b'x'; 20_000] }))
        .route("/told", any(move || async move { ([(CONTENT_LENGTH, "6")], Body::from_stream(frames())) }))
        .route("/ends", any(|| async { ([("connection", "close")], "bye") }))
        .route("/hop", any(|| async { ([("connection", "x-hop"), ("x-hop", "1")], "on") }))
        .fallback(echo)
}

/// A server of these limits, and what stops it.
async fn server(app: Router, limits: ServeLimits) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let served = tokio::spawn(serve(listener, app, limits, stop.clone()));
    (address, stop, served)
}

/// The same by hyper alone.
async fn server_by_hyper(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (graceful, limits) = (GracefulShutdown::new(), ServeLimits::default());
        while let Ok((stream, peer)) = listener.accept().await {
            let shared = Arc::new(Shared {
                limits,
                is_stopping: AtomicBool::new(false),
                stop: CancellationToken::new(),
                hyper: hyper(limits),
            });
            tokio::spawn(by_hyper(shared, graceful.watcher(), stream, Incoming::default(), peer, app.clone()));
        }
    });
    address
}

async fn to_the_end(mut connection: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is as good an end.
    let _ = tokio::time::timeout(LONG, connection.read_to_end(&mut answer)).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

/// All that is answered to what is sent at once.
async fn exchange(address: SocketAddr, sent: &[u8]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(sent).await.unwrap();
    to_the_end(connection).await
}

/// An answer without the order of its header lines and the time of day.
fn comparable(answers: &str) -> Vec<Vec<String>> {
    let part = |part: &str| {
        // One line with two values is two lines with one.
        let values = part.replace("connection: x-hop, close", "connection: x-hop\r\nconnection: close");
        let mut lines: Vec<String> =
            values.split("\r\n").filter(|line| !line.starts_with("date: ")).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    answers.split("\r\n\r\n").map(part).collect()
}

fn requests() -> impl Strategy<Value = String> {
    let methods = ["GET", "POST", "DELETE", "OPTIONS", "HEAD", "CONNECT", "BREW", "get", "G T", ""];
    let targets =
        ["/", "/a?b=c", "/nothing", "/same", "/chunks", "/long", "/told", "/ends", "/hop", "*", "http://x/y", "/%zz"]
            .into_iter()
            .chain(["/ü", "/a b", "/<>", "x", ""]);
    let versions = ["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1x", "http/1.1"];
    let lines = [
        "host: x",
        "cookie: a=b",
        "cookie: c=d",
        "x-custom: 1",
        "empty:",
        "spaces:   many  ",
        "content-length: 3",
        "content-length: 03",
        "content-length: +3",
        "content-length: 3, 3",
        "content-length: 0",
        "content-length: -1",
        "content-length: 99999999999999999999",
        "transfer-encoding: chunked",
        "transfer-encoding: identity",
        "connection: close",
        "connection: Keep-Alive",
        "connection: close, x",
        "connection: upgrade",
        "connection:",
        "upgrade: websocket",
        "expect: 100-continue",
        " folded: x",
        "bad name: x",
        "control: \u{1}",
        "X-Ü: 1",
        "colon : 1",
        "no colon",
        "utf8: 한국",
    ];
    let bodies = ["", "abc", "abcdef", "3\r\nabc\r\n0\r\n\r\n"];
    let one = (
        prop::sample::select(methods.to_vec()),
        prop::sample::select(targets.collect::<Vec<_>>()),
        prop::sample::select(versions.to_vec()),
        prop::collection::vec(prop::sample::select(lines.to_vec()), 0..5),
        prop::sample::select(bodies.to_vec()),
        prop::sample::select(vec!["\r\n", "\r\n", "\r\n", "\n"]),
    );
    let text = |(method, target, version, lines, body, end): (&str, &str, &str, Vec<&str>, &str, &str)| {
        let head: String = lines.iter().flat_map(|line| [*line, end]).collect();
        format!("{method} {target} {version}{end}{head}{end}{body}")
    };
    prop::collection::vec(one.prop_map(text), 1..4).prop_map(|texts| texts.concat() + LAST)
}

/// Whoever reads a request otherwise than the proxy in front of it does can be told to answer somebody else's. hyper
/// reads requests as they are meant to be read.
#[test]
fn whatever_comes_is_answered_as_hyper_answers_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (plain, by_hyper) = runtime.block_on(async {
        let (plain, _, _) = server(router(), ServeLimits::default()).await;
        (plain, server_by_hyper(router()).await)
    });
    let config = ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(sent in requests())| {
        let sent = sent.as_bytes();
        let (ours, its) = runtime.block_on(async { tokio::join!(exchange(plain, sent), exchange(by_hyper, sent)) });
        prop_assert_eq!(comparable(&ours), comparable(&its));
    });
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_order() {
    let (address, ..) = server(router(), ServeLimits::default()).await;
    let mut sent = String::new();
    for number in 0..50 {
        let _ = write!(sent, "POST /{number} HTTP/1.1\r\ncontent-length: 2\r\n\r\n{number:02}");
    }
    let answers = exchange(address, (sent + LAST).as_bytes()).await;
    let mut told = answers.match_indices("POST /").map(|(at, _)| &answers[at..]);
    for number in 0..50 {
        let next = told.next().unwrap();
        assert!(next.starts_with(&format!("POST /{number} {{\"content-length\": \"2\"}} b\"{number:02}\"")), "{next}");
    }
    assert!(told.next().is_none() && answers.contains("GET /last"));
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_answered() {
    let (address, ..) = server(router(), ServeLimits::default()).await;
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.set_nodelay(true).unwrap();
    for byte in LAST.as_bytes().chunks(1) {
        connection.write_all(byte).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert!(to_the_end(connection).await.contains("GET /last"));
}

/// What tells when it is dropped.
struct Dropped(mpsc::Sender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_is_answered_no_further() {
    let (dropped, told) = mpsc::channel();
    let (slow, streamed) = (dropped.clone(), dropped);
    let app = Router::new()
        .route(
            "/slow",
            get(move || {
                let held = Dropped(slow.clone());
                async move {
                    std::future::pending::<()>().await;
                    drop(held);
                }
            }),
        )
        .route(
            "/stream",
            get(move || {
                let held = Dropped(streamed.clone());
                let silent = stream::iter([Ok::<_, io::Error>("begun")]).chain(stream::once(async move {
                    std::future::pending::<()>().await;
                    drop(held);
                    Ok("never")
                }));
                async move { Body::from_stream(silent) }
            }),
        );
    let (address, ..) = server(app, ServeLimits::default()).await;
    for path in ["/slow", "/stream"] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        if path == "/stream" {
            let mut begun = Vec::new();
            while !begun.ends_with(b"5\r\nbegun\r\n") {
                assert!(connection.read_buf(&mut begun).await.unwrap() > 0);
            }
        }
        drop(connection);
        assert!(told.recv_timeout(LONG).is_ok(), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_or_is_too_short_is_no_whole_answer() {
    let broken = || stream::iter([Ok("part"), Err(io::Error::other("broken"))]);
    let app = Router::new().route("/broken", get(move || async move { Body::from_stream(broken()) })).route(
        "/short",
        get(|| async { ([(CONTENT_LENGTH, "9")], Body::from_stream(stream::iter([Ok::<_, io::Error>("part")]))) }),
    );
    let (address, ..) = server(app, ServeLimits::default()).await;
    for path in ["/broken", "/short"] {
        let answer = exchange(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n{LAST}").as_bytes()).await;
        assert!(!answer.contains("0\r\n\r\n") && answer.matches("HTTP/1.1").count() <= 1, "{path}: {answer}");
    }
}

#[tokio::test]
async fn who_sends_nothing_or_takes_nothing_is_let_go() {
    let limits = ServeLimits { header_timeout: Duration::from_millis(100), ..ServeLimits::default() };
    let endless = || stream::repeat(Bytes::from(vec![b'x'; 64 * 1024])).map(Ok::<_, io::Error>);
    let (dropped, told) = mpsc::channel();
    let app = Router::new().route(
        "/endless",
        get(move || {
            let held = Dropped(dropped.clone());
            async move { Body::from_stream(endless().inspect(move |_| _ = &held)) }
        }),
    );
    let (address, ..) = server(app, limits).await;
    let silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(to_the_end(silent).await, "");
    let mut deaf = TcpStream::connect(address).await.unwrap();
    deaf.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let given_up = tokio::task::spawn_blocking(move || told.recv_timeout(LONG)).await.unwrap();
    assert!(given_up.is_ok());
}

#[tokio::test]
async fn at_the_end_what_is_under_way_finishes_and_who_is_silent_is_let_go() {
    let begun = Arc::new(tokio::sync::Notify::new());
    let go_on = Arc::new(tokio::sync::Notify::new());
    let (begins, waits) = (Arc::clone(&begun), Arc::clone(&go_on));
    let app = Router::new().route(
        "/slow",
        get(move || {
            let (begins, waits) = (Arc::clone(&begins), Arc::clone(&waits));
            async move {
                begins.notify_one();
                waits.notified().await;
                "done"
            }
        }),
    );
    let (address, stop, served) = server(app, ServeLimits::default()).await;
    let silent = TcpStream::connect(address).await.unwrap();
    let mut busy = TcpStream::connect(address).await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    begun.notified().await;
    stop.cancel();
    assert_eq!(to_the_end(silent).await, "");
    go_on.notify_one();
    let answer = to_the_end(busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("done"), "{answer}");
    tokio::time::timeout(LONG, served).await.expect("nothing is left to wait for").unwrap();
}
