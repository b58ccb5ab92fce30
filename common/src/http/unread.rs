//! What a refusal leaves of a request's body.
//!
//! Who is refused for the head of a request, or for the length of its body, is often still sending it. A server that
//! answers and hangs up then resets the connection, and with it goes the answer: nginx would tell its client 503, for
//! this request or the next one on that connection. So a body is read to its end, within bounds, before the answer.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use http::StatusCode;
use http::header::EXPECT;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

/// As much as nginx lets through.
const MAX_BYTES: u64 = 1024 * 1024;
/// nginx has taken in the whole of it before it passes it on.
const MAX_TIME: Duration = Duration::from_secs(2);

/// A body that is handed on and, once nobody reads it any more, taken back.
#[derive(Debug)]
pub(super) struct Unread(Arc<Mutex<Body>>);

impl Unread {
    /// Keeps hold of a request's body; `None` where there is none, or its sender waits to be told to send it.
    pub(super) fn of(request: Request) -> (Request, Option<Self>) {
        if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
            return (request, None);
        }
        let (parts, body) = request.into_parts();
        let body = Arc::new(Mutex::new(body));
        (Request::from_parts(parts, Body::new(Handed(Arc::clone(&body)))), Some(Self(body)))
    }

    /// Reads the body to its end, where it was given up before. Whether the connection can be used on.
    pub(super) async fn read_over(self, status: StatusCode) -> bool {
        // Somebody still reads it, as an upstream may that answers before it has everything.
        let Some(body) = Arc::into_inner(self.0) else { return true };
        let body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
        if body.is_end_stream() {
            return true;
        }
        // What has been waited for in vain is not waited for again.
        if status == StatusCode::REQUEST_TIMEOUT || body.size_hint().lower() > MAX_BYTES {
            return false;
        }
        tokio::time::timeout(MAX_TIME, to_its_end(body)).await.unwrap_or(false)
    }
}

async fn to_its_end(mut body: Body) -> bool {
    let mut left = MAX_BYTES;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(less) = left.checked_sub(length) else { return false };
        left = less;
    }
    true
}

/// The body as it is handed on.
struct Handed(Arc<Mutex<Body>>);

impl hyper::body::Body for Handed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::{ServeLimits, finish, serve};

    /// A connection to a server that refuses everything for its head.
    async fn connection() -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", post(|| async { StatusCode::UNAUTHORIZED })).layer(from_fn(finish));
        tokio::spawn(serve(listener, router, ServeLimits::default(), CancellationToken::new()));
        TcpStream::connect(address).await.unwrap()
    }

    /// Sends a request of whose body `sent` bytes come, and reads what is answered until it is whole.
    async fn ask(connection: &mut TcpStream, length: usize, sent: usize) -> String {
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        connection.write_all(head.as_bytes()).await.unwrap();
        // As nginx does, which reads no answer before it has sent everything.
        for part in vec![b'x'; sent].chunks(16 * 1024) {
            connection.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            assert!(connection.read_buf(&mut answer).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
        }
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn who_is_refused_in_the_middle_of_a_body_is_told_why_and_asks_on() {
        let mut connection = connection().await;
        for length in [1, 100_000, 900_000, 0] {
            let answer = ask(&mut connection, length, length).await;
            assert!(answer.starts_with("HTTP/1.1 401") && !answer.contains("connection: close"), "{length}: {answer}");
        }
    }

    #[tokio::test]
    async fn what_is_too_much_to_be_read_is_not_and_ends_the_connection() {
        let mut connection = connection().await;
        let answer = ask(&mut connection, 5_000_000, 10).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
    }

    #[tokio::test]
    async fn what_does_not_come_is_not_waited_for_long() {
        let begun = std::time::Instant::now();
        let answer = ask(&mut connection().await, 100, 10).await;
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("connection: close"), "{answer}");
        assert!(begun.elapsed() < 2 * MAX_TIME, "{:?}", begun.elapsed());
    }
}
