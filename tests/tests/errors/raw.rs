//! HTTP as no client sends it: bodies that don't come, and connections that are open before they are used.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use e2e::site::Answer;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use stack::wait::PATIENCE;

use crate::request::Request;

/// A connection.
pub(crate) struct Connection(TcpStream);

impl Connection {
    /// Opens one.
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self(TcpStream::connect(address).await?))
    }

    /// Sends a request, and waits for nothing.
    pub(crate) async fn send(&mut self, request: &Request) -> Result<()> {
        let body = request.body.clone().unwrap_or_default();
        let length = request.body.as_ref().map(Vec::len);
        self.0.write_all(head(request, length).as_bytes()).await?;
        Ok(self.0.write_all(&body).await?)
    }

    /// Sends a request of whose body only the first byte comes.
    pub(crate) async fn send_slowly(&mut self, request: &Request) -> Result<()> {
        Ok(self.0.write_all(format!("{}{{", head(request, Some(100))).as_bytes()).await?)
    }

    /// Reads the next answer.
    pub(crate) async fn answer(&mut self) -> Result<Answer> {
        let mut read = Vec::new();
        tokio::time::timeout(PATIENCE, async {
            loop {
                ensure!(self.0.read_buf(&mut read).await? > 0, "the connection has ended: {:?}", read.len());
                if let Some(answer) = whole(&read)? {
                    return Ok(answer);
                }
            }
        })
        .await
        .context("no answer")?
    }
}

fn head(request: &Request, length: Option<usize>) -> String {
    let lines = request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let length = length.map(|length| format!("content-length: {length}\r\n"));
    let headers: String = lines.chain(length).collect();
    format!("{} {} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n", request.method, request.path)
}

/// The answer, once all of it is there.
fn whole(read: &[u8]) -> Result<Option<Answer>> {
    let text = String::from_utf8_lossy(read);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.append(name.parse::<HeaderName>()?, HeaderValue::from_str(value)?);
    }
    let length: usize = headers.get("content-length").context("no length")?.to_str()?.parse()?;
    if body.len() < length {
        return Ok(None);
    }
    let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
    Ok(Some(Answer { status: StatusCode::from_bytes(status.as_bytes())?, headers, body }))
}
