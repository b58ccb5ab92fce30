//! Writing an answer: its head, and its body as it comes.

use std::cell::RefCell;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::{Body, HttpBody as _};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use tokio::net::TcpStream;

use super::reading::Incoming;

/// What is written is gathered up to so many bytes.
const GATHERED: usize = 16 * 1024;

/// Writes an answer to its end; `is_last` where nothing is to follow it. Whoever takes nothing for so long as `patience` is
/// given up.
pub(super) async fn write(
    stream: &mut TcpStream,
    incoming: &mut Incoming,
    response: Response,
    is_last: bool,
    patience: Duration,
) -> io::Result<After> {
    let (parts, body) = response.into_parts();
    let framing = Framing::of(parts.status, &parts.headers, &body);
    let is_last = is_last || closes(&parts.headers);
    let gathered = head(parts.status, &parts.headers, framing, is_last);
    let mut writer = Writer { stream, gathered, patience };
    if !matches!(framing, Framing::None) && writer.body(body, framing, incoming).await? == After::End {
        return Ok(After::End);
    }
    writer.flush().await?;
    Ok(if is_last { After::End } else { After::Next })
}

/// What comes after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// The next request.
    Next,
    /// Nothing.
    End,
}

/// How a body's end is told.
#[derive(Debug, Clone, Copy)]
enum Framing {
    /// There is none.
    None,
    /// By a length: that of the body, or one that its headers tell already.
    Length { length: u64, is_told: bool },
    /// By an empty chunk.
    Chunks,
}

impl Framing {
    fn of(status: StatusCode, headers: &HeaderMap, body: &Body) -> Self {
        if status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Self::None;
        }
        let told = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        match (told, body.size_hint().exact()) {
            (Some(length), _) => Self::Length { length, is_told: true },
            (None, Some(length)) => Self::Length { length, is_told: false },
            (None, None) => Self::Chunks,
        }
    }

    fn length(self) -> Option<u64> {
        match self {
            Self::Length { length, .. } => Some(length),
            Self::None | Self::Chunks => None,
        }
    }
}

fn closes(headers: &HeaderMap) -> bool {
    headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"))
}

fn head(status: StatusCode, headers: &HeaderMap, framing: Framing, is_last: bool) -> BytesMut {
    const USUAL_LENGTH: usize = 1_024;
    let mut head = BytesMut::with_capacity(USUAL_LENGTH);
    let mut line = |parts: &[&[u8]]| {
        for part in parts {
            head.extend_from_slice(part);
        }
        head.extend_from_slice(b"\r\n");
    };
    let reason = status.canonical_reason().unwrap_or_default();
    line(&[b"HTTP/1.1 ", status.as_str().as_bytes(), b" ", reason.as_bytes()]);
    // How the body is sent, and what becomes of the connection, is between us and the other side; what has no body by its
    // nature has no length either.
    let is_ours = |name: &HeaderName, value: &HeaderValue| {
        (*name == CONNECTION
            && ["close", "keep-alive"].iter().any(|word| value.as_bytes().eq_ignore_ascii_case(word.as_bytes())))
            || *name == TRANSFER_ENCODING
            || (*name == CONTENT_LENGTH && matches!(framing, Framing::None))
    };
    for (name, value) in headers.iter().filter(|(name, value)| !is_ours(name, value)) {
        line(&[name.as_str().as_bytes(), b": ", value.as_bytes()]);
    }
    match framing {
        Framing::Length { length, is_told: false } => line(&[b"content-length: ", length.to_string().as_bytes()]),
        Framing::Chunks => line(&[b"transfer-encoding: chunked"]),
        Framing::None | Framing::Length { is_told: true, .. } => {}
    }
    if is_last {
        line(&[b"connection: close"]);
    }
    if !headers.contains_key(DATE) {
        with_date(|date| line(&[b"date: ", date.as_bytes()]));
    }
    line(&[]);
    head
}

/// The time of day as HTTP writes it, written once a second.
fn with_date(tell: impl FnOnce(&str)) {
    thread_local!(static DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) });
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    DATE.with_borrow_mut(|(written_in, text)| {
        if *written_in != second || text.is_empty() {
            *text = httpdate::fmt_http_date(now);
            *written_in = second;
        }
        tell(text);
    });
}

/// A connection to write to.
struct Writer<'a> {
    stream: &'a mut TcpStream,
    gathered: BytesMut,
    patience: Duration,
}

impl Writer<'_> {
    /// Writes a body as it comes, but for what is still gathered at its end.
    async fn body(&mut self, mut body: Body, framing: Framing, incoming: &mut Incoming) -> io::Result<After> {
        let mut left = framing.length();
        loop {
            let frame = if let Some(frame) = body.frame().now_or_never() {
                frame
            } else {
                self.flush().await?;
                tokio::select! {
                    biased;
                    frame = body.frame() => frame,
                    // Whoever has hung up is told no more.
                    () = incoming.hung_up(self.stream) => return Ok(After::End),
                }
            };
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
            if let Some(left) = &mut left {
                *left = left.checked_sub(data.len() as u64).ok_or_else(|| io::Error::other("a body is too long"))?;
            }
            self.put(&data, framing).await?;
        }
        match (framing, left) {
            (_, Some(1..)) => return Err(io::Error::other("a body is too short")),
            (Framing::Chunks, _) => self.gathered.extend_from_slice(b"0\r\n\r\n"),
            (Framing::None | Framing::Length { .. }, _) => {}
        }
        Ok(After::Next)
    }

    async fn put(&mut self, data: &Bytes, framing: Framing) -> io::Result<()> {
        if data.is_empty() {
            return Ok(());
        }
        let is_chunk = matches!(framing, Framing::Chunks);
        if is_chunk {
            self.gathered.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        }
        if data.len() > GATHERED {
            self.flush().await?;
            write_all(self.stream, data, self.patience).await?;
        } else {
            self.gathered.extend_from_slice(data);
        }
        if is_chunk {
            self.gathered.extend_from_slice(b"\r\n");
        }
        if self.gathered.len() >= GATHERED { self.flush().await } else { Ok(()) }
    }

    /// Writes what is gathered, and gives its memory back: streams are silent most of the time.
    async fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        write_all(self.stream, &gathered, self.patience).await
    }
}

/// Writes all of `data`.
async fn write_all(stream: &TcpStream, mut data: &[u8], patience: Duration) -> io::Result<()> {
    while !data.is_empty() {
        match stream.try_write(data) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => data = data.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::timeout(patience, stream.writable()).await??;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
