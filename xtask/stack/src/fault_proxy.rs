//! A TCP proxy between a client and a server, that a test cuts and redirects.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::ports;

/// How often a pump looks whether its connection was cut.
const STEP: Duration = Duration::from_millis(10);
const BUFFER_BYTES: usize = 64 * 1024;

/// A proxy on 127.0.0.1 in front of another port there. Dropping it closes its connections.
#[derive(Debug)]
pub struct FaultProxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: AtomicU16,
    is_cut: AtomicBool,
    /// Raised when all connections so far are to be closed.
    generation: AtomicU64,
    is_dropped: AtomicBool,
    /// Held for the time of one write, so that nothing is on its way once [`FaultProxy::cut`] has returned.
    passing: Mutex<()>,
}

impl FaultProxy {
    /// Starts a proxy in front of 127.0.0.1:`target`.
    pub fn start(target: u16) -> Result<Self> {
        let (listener, port) =
            ports::with_port(None, |port| Ok((TcpListener::bind((Ipv4Addr::LOCALHOST, port))?, port)))?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            target: AtomicU16::new(target),
            is_cut: AtomicBool::new(false),
            generation: AtomicU64::new(0),
            is_dropped: AtomicBool::new(false),
            passing: Mutex::new(()),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Ok(Self { port, shared })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets nothing through any more, as a network that drops packets: connections stay open in silence, and what is
    /// sent into them meanwhile never arrives.
    pub fn cut(&self) {
        let _passing = self.shared.passing();
        self.shared.is_cut.store(true, Ordering::SeqCst);
    }

    /// Lets everything through again. Connections that were cut are closed, new ones go to 127.0.0.1:`target`.
    pub fn restore_to(&self, target: u16) {
        let _passing = self.shared.passing();
        self.shared.target.store(target, Ordering::SeqCst);
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
        self.shared.is_cut.store(false, Ordering::SeqCst);
    }

    /// [`FaultProxy::restore_to`] the same target.
    pub fn restore(&self) {
        self.restore_to(self.shared.target.load(Ordering::SeqCst));
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.is_dropped.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn passing(&self) -> MutexGuard<'_, ()> {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, generation: u64) -> bool {
        self.is_dropped.load(Ordering::SeqCst) || self.generation.load(Ordering::SeqCst) != generation
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.is_dropped.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((client, _)) => {
                let shared = Arc::clone(shared);
                std::thread::spawn(move || serve(client, &shared));
            }
            Err(_) => std::thread::sleep(STEP),
        }
    }
}

/// Connects a client to the target once the way is open, and passes on what both send.
fn serve(client: TcpStream, shared: &Arc<Shared>) {
    let generation = shared.generation.load(Ordering::SeqCst);
    while shared.is_cut.load(Ordering::SeqCst) {
        if shared.is_over(generation) {
            return;
        }
        std::thread::sleep(STEP);
    }
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, shared.target.load(Ordering::SeqCst)));
    let Ok(server) = TcpStream::connect(target) else { return };
    let (Ok(from_server), Ok(to_client)) = (server.try_clone(), client.try_clone()) else { return };
    let backward = Arc::clone(shared);
    std::thread::spawn(move || pump(from_server, to_client, &backward, generation));
    pump(client, server, shared, generation);
}

/// Passes on what `from` sends until either side closes or the connection is over; then closes both.
fn pump(mut from: TcpStream, mut to: TcpStream, shared: &Shared, generation: u64) {
    let mut buffer = vec![0; BUFFER_BYTES];
    // Accepted sockets may inherit the listener's mode.
    let is_ready = from.set_nonblocking(false).is_ok() && from.set_read_timeout(Some(STEP)).is_ok();
    let _ = to.set_nodelay(true);
    while is_ready && !shared.is_over(generation) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                let _passing = shared.passing();
                let is_through = !shared.is_cut.load(Ordering::SeqCst) && !shared.is_over(generation);
                if is_through && to.write_all(buffer.get(..read).unwrap_or_default()).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    for side in [&from, &to] {
        // The other side may have closed it already.
        let _ = side.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::PATIENCE;

    /// A server that answers each byte with `own`.
    fn answering(own: u8) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[own]).is_ok() {}
                });
            }
        });
        port
    }

    fn connect(proxy: &FaultProxy) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        let mut byte = [0];
        stream.write_all(&[1])?;
        stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    #[test]
    fn a_cut_connection_is_silent_and_a_restored_proxy_reaches_the_new_target() {
        let (first, second) = (answering(b'1'), answering(b'2'));
        let proxy = FaultProxy::start(first).unwrap();
        let mut stream = connect(&proxy);
        assert_eq!(ask(&mut stream).unwrap(), b'1');
        proxy.cut();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(matches!(ask(&mut stream).unwrap_err().kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        proxy.restore_to(second);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(ask(&mut stream).is_err(), "what was cut is closed");
        assert_eq!(ask(&mut connect(&proxy)).unwrap(), b'2');
    }
}
