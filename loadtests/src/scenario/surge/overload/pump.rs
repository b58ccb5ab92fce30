//! Requests at a rate, however slow the answers are, over a bounded number of connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::line::Line;
use super::wire::Connection;
use crate::stats::overload::{SERVED_WITHIN, Stage};

/// One stretch of time at one rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) per_second: u32,
    pub(super) length: Duration,
    /// Whoever finds no free connection for so long goes away.
    pub(super) patience: Duration,
}

/// What all connections of a stage have in common.
struct Shared {
    line: Arc<Line>,
    pace: Pace,
    started: Instant,
    /// The number of the next request; its turn follows from it.
    next: AtomicU64,
    count: u64,
    stage: Mutex<Stage>,
}

/// Sends what `line` asks at `pace`. Every request has its moment. One whose moment comes while no connection is free is
/// sent when one is, and all of that counts as latency.
pub(super) async fn pump(line: &Arc<Line>, pace: Pace, connections: u32) -> Stage {
    let count = u64::from(pace.per_second) * pace.length.as_secs();
    let shared = Arc::new(Shared {
        line: line.clone(),
        pace,
        started: Instant::now(),
        next: AtomicU64::new(0),
        count,
        stage: Mutex::new(Stage::new(pace.per_second, pace.length)),
    });
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        workers.spawn(worker(shared.clone()));
    }
    // Dropped with its workers where the run is ended before.
    while workers.join_next().await.is_some() {}
    shared.stage.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

async fn worker(shared: Arc<Shared>) {
    let line = &shared.line;
    let mut connection = Connection::new(line.address());
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.count {
            return;
        }
        let intended = shared.started + Duration::from_secs(number) / shared.pace.per_second;
        tokio::time::sleep_until(intended).await;
        if intended.elapsed() > shared.pace.patience {
            shared.note(|stage| stage.not_sent += 1);
            continue;
        }
        let asked = line.ask(number);
        let answer = tokio::time::timeout(SERVED_WITHIN * 10, connection.ask(&asked.bytes)).await;
        let latency = intended.elapsed();
        match answer {
            Ok(Ok(answer)) => {
                shared.note(|stage| stage.answer(answer.status, answer.has_retry_after, latency));
                if answer.status == 200 {
                    line.take_ticket(asked.who, &answer.body);
                }
            }
            Ok(Err(_)) => shared.note(|stage| stage.no_answer += 1),
            Err(_) => {
                // An answer that comes after all is not the next request's.
                connection = Connection::new(line.address());
                shared.note(|stage| stage.no_answer += 1);
            }
        }
    }
}

impl Shared {
    fn note(&self, what: impl FnOnce(&mut Stage)) {
        what(&mut self.stage.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use common::tokens::SessionKeys;
    use stack::wait::PATIENCE;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use uuid::Uuid;

    use super::super::super::super::accounts::{Accounts, SessionMaker};
    use super::*;

    const SERVED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"token\":\"t\"}";
    const REFUSED: &str = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n";

    /// Answers joins with success and polls with a refusal, each after a while.
    async fn server(takes: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut read = [0; 4_096];
                    while let Ok(length @ 1..) = stream.read(&mut read).await {
                        tokio::time::sleep(takes).await;
                        let answer = if read[..length].starts_with(b"POST") { SERVED } else { REFUSED };
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        format!("http://{address}")
    }

    async fn stage(takes: Duration, connections: u32, patience: Duration) -> Stage {
        let keys = SessionKeys::new(&["a-secret-of-the-test-that-is-long-enough"]).unwrap();
        let accounts = Arc::new(Accounts::new(SessionMaker::new(keys)));
        let line = Line::new(accounts, 10, Uuid::nil(), &server(takes).await).unwrap();
        let pace = Pace { per_second: 50, length: Duration::from_secs(2), patience };
        pump(&Arc::new(line), pace, connections).await
    }

    #[tokio::test]
    async fn every_request_is_accounted_for() {
        let stage = stage(Duration::ZERO, 50, PATIENCE).await;
        assert_eq!(stage.served.len() + stage.refused.len() + stage.not_sent, 100);
        assert!(stage.served.len() >= 10 && stage.refused.len() > stage.served.len(), "{stage:?}");
        assert_eq!((stage.without_advice, stage.other, stage.no_answer), (0, 0, 0));
    }

    #[tokio::test]
    async fn what_finds_no_connection_is_not_sent_and_waiting_for_one_is_latency() {
        let takes = Duration::from_millis(200);
        let stage = stage(takes, 1, Duration::from_millis(50)).await;
        let sent = stage.served.len() + stage.refused.len();
        assert!(stage.not_sent > 50 && sent + stage.not_sent == 100, "{stage:?}");
        let longest = stage.served.max().max(stage.refused.max());
        assert!(longest >= u64::try_from(takes.as_micros()).unwrap(), "{longest} µs");
    }
}
