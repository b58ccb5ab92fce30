//! Free ports on the loopback address.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

/// Below the ranges that Linux (32768–60999) and macOS (49152–65535) take outgoing connections'
/// ports from: a client that keeps reconnecting to a stopped server on a port of that range can
/// end up connected to itself, and a restarted server can find its port taken by a client.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;
const ATTEMPTS: u16 = 500;
const STARTS: u32 = 5;

/// A port on 127.0.0.1 that nobody listens on now and that this process has not handed out
/// lately.
///
/// Another process may still be faster than the server that is then started on it: the servers
/// of this crate retry on another port when that happens.
pub fn free_port() -> Result<u16> {
    static STEPS: AtomicU16 = AtomicU16::new(0);
    static START: std::sync::OnceLock<u16> = std::sync::OnceLock::new();
    // Processes that start at the same time must not walk the same ports.
    let start = *START.get_or_init(|| {
        let random = RandomState::new().hash_one(std::process::id());
        u16::try_from(random % u64::from(COUNT)).unwrap_or(0)
    });
    for _ in 0..ATTEMPTS {
        let step = STEPS.fetch_add(1, Ordering::Relaxed);
        let offset = (u32::from(start) + u32::from(step)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("no free port found in {FIRST}–{}", FIRST + COUNT - 1)
}

/// Whether a server could listen on 127.0.0.1:`port` now.
pub fn is_free(port: u16) -> bool {
    let _lock = forks();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A lock between probing ports and spawning children: between its fork and its exec a child holds
/// copies of all our sockets, so a probed port would be taken for a moment longer than the probe.
pub(crate) fn forks() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `start` with `fixed`, or with free ports until one works. A failure counts as "the port
/// was taken meanwhile" only when another process listens there.
pub fn with_port<T>(fixed: Option<u16>, mut start: impl FnMut(u16) -> Result<T>) -> Result<T> {
    if let Some(port) = fixed {
        return start(port);
    }
    let mut attempt = 1;
    loop {
        let port = free_port()?;
        match start(port) {
            Err(_) if attempt < STARTS && !is_free(port) => attempt += 1,
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports: BTreeSet<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        assert_eq!(ports.len(), 50);
        let listeners: Vec<_> = ports.iter().map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port))).collect();
        assert!(listeners.iter().all(Result::is_ok));
    }

    #[test]
    fn a_port_that_was_taken_meanwhile_is_replaced() {
        let mut taken = Vec::new();
        let port = with_port(None, |port| {
            if taken.len() < 2 {
                taken.push(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
                bail!("somebody was faster");
            }
            Ok(port)
        });
        assert!(is_free(port.unwrap()));
    }

    #[test]
    fn a_failure_on_a_free_port_is_final() {
        let mut attempts = 0;
        let outcome: Result<()> = with_port(None, |_| {
            attempts += 1;
            bail!("bad configuration")
        });
        assert!(outcome.is_err());
        assert_eq!(attempts, 1);
    }
}
