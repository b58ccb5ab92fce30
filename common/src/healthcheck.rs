//! Asks a service of ours whether it is ready, for orchestrators whose containers have no HTTP client.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(3);

/// Whether whoever listens on `address:port` answers `GET /health/ready` with 200 within three seconds. An address that
/// stands for all (`0.0.0.0`, `::`) is asked on loopback.
pub fn is_ready(listen: &str) -> bool {
    let Some(address) = listen.to_socket_addrs().ok().and_then(|mut addresses| addresses.next()) else { return false };
    let address =
        if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address };
    ask(address).unwrap_or(false)
}

fn ask(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut head = [0_u8; 12];
    stream.read_exact(&mut head)?;
    Ok(head == *b"HTTP/1.1 200")
}
