//! What comes in on a connection.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;

/// How much is read at once.
const AT_ONCE: usize = 8 * 1024;
/// How much may come before it is asked for.
const AHEAD: usize = 64 * 1024;

/// What has come and was not taken yet. It has no memory of its own while there is nothing: most connections are silent
/// most of the time.
#[derive(Default)]
pub(super) struct Incoming(pub(super) BytesMut);

impl Incoming {
    /// Gives the memory back of what was taken.
    pub(super) fn forget(&mut self) {
        self.0 = BytesMut::new();
    }

    /// Reads what is there; how much, 0 at the end. The buffer that is read into is nobody's while nothing comes.
    pub(super) fn poll_read(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut bytes = [const { MaybeUninit::uninit() }; AT_ONCE];
        let mut read = ReadBuf::uninit(&mut bytes);
        ready!(Pin::new(stream).poll_read(context, &mut read))?;
        self.0.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    /// Ready once the other side has hung up. What it sends meanwhile is kept; whoever sends a lot is not looked at
    /// until it is asked for.
    pub(super) fn poll_hung_up(&mut self, stream: &mut TcpStream, context: &mut Context<'_>) -> Poll<()> {
        while self.0.len() < AHEAD {
            match ready!(self.poll_read(stream, context)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Waits for that.
    pub(super) async fn hung_up(&mut self, stream: &mut TcpStream) {
        std::future::poll_fn(|context| self.poll_hung_up(stream, context)).await;
    }
}
