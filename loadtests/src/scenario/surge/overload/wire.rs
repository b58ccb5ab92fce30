//! One HTTP/1.1 connection that is kept open, as cheap as can be: at many times the load that can be served, a generator
//! that costs as much as the servers would measure itself.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer of the waiting room has some hundred bytes.
const ANSWER_MAX_BYTES: usize = 64 << 10;

/// What an answer says, as far as anybody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) has_retry_after: bool,
    pub(super) body: Vec<u8>,
}

/// A connection, opened when it is needed.
#[derive(Debug)]
pub(super) struct Connection<'a> {
    address: &'a str,
    stream: Option<TcpStream>,
    read: Vec<u8>,
}

impl<'a> Connection<'a> {
    pub(super) fn new(address: &'a str) -> Self {
        Self { address, stream: None, read: Vec::new() }
    }

    /// Sends a request and waits for its answer. After an error the next one gets a new connection.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut stream = if let Some(stream) = self.stream.take() {
            stream
        } else {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            stream
        };
        self.read.clear();
        stream.write_all(request).await?;
        loop {
            if stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((answer, closes)) = parse(&self.read)? {
                self.stream = (!closes).then_some(stream);
                return Ok(answer);
            }
            if self.read.len() > ANSWER_MAX_BYTES {
                return Err(io::Error::other("an answer that is too large"));
            }
        }
    }
}

/// The answer and whether the connection ends with it, once all of it is there. What is compressed or sent in chunks is
/// nothing that this asks for: an error.
fn parse(read: &[u8]) -> io::Result<Option<(Answer, bool)>> {
    let Some(head_end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let fault = || io::Error::other("an answer of another form");
    let head = std::str::from_utf8(&read[..head_end]).map_err(|_| fault())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let (mut length, mut has_retry_after, mut closes) = (None, false, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("retry-after") {
            has_retry_after = true;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.eq_ignore_ascii_case("close");
        }
    }
    let (Some(status), Some(length)) = (status, length) else { return Err(fault()) };
    let body = &read[head_end + 4..];
    if body.len() < length {
        return Ok(None);
    }
    Ok(Some((Answer { status, has_retry_after, body: body[..length].to_vec() }, closes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nretry-after: 1\r\nConnection: close\r\n\r\nwhole";
        for end in 0..text.len() {
            assert_eq!(parse(&text[..end]).unwrap(), None, "{end}");
        }
        let (answer, closes) = parse(text).unwrap().unwrap();
        assert_eq!(answer, Answer { status: 503, has_retry_after: true, body: b"whole".to_vec() });
        assert!(closes);
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for bad in ["SSH-2.0-x\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 abc\r\nContent-Length: 0\r\n\r\n"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
