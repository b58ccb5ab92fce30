//! A connection that all callers share, made when it is first used and made anew when it is in doubt.
//!
//! At most one try to connect is under way at a time, whoever asks, and tries begin a pause apart. None begins unless a
//! call has asked for it or has failed. Calls go on over the old connection until there is a new one, unless it is broken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::{RedisError, RedisResult, Value};
use tokio::time::Instant;

use crate::endpoint::{Connection, Endpoint};

/// How long after the begin of one try to connect the next may begin, however many ask for it.
const PAUSE: Duration = Duration::from_millis(100);

/// Why a connection should be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Nothing can come of it: it is closed, or leads to a replica.
    Broken,
    /// It does not answer, or can't just now. It may be all there is.
    Silent,
}

/// The shared connection. Cloning it shares it.
#[derive(Clone)]
pub(crate) struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// How many there were: a late complaint about one is not held against the next.
    generation: u64,
    /// The try that is under way.
    renewal: Option<Renewal>,
    /// When the last try began.
    begun: Option<Instant>,
    /// Whether it failed.
    failing: bool,
}

type Renewal = Shared<BoxFuture<'static, RedisResult<(u64, Connection)>>>;

impl Link {
    /// Prepares a connection.
    pub(crate) fn to(endpoint: Endpoint) -> Self {
        Self { inner: Arc::new(Inner { endpoint, state: Mutex::default() }) }
    }

    /// The connection and its generation. Where there is none, the caller waits for the try that makes it, and fails
    /// with it.
    pub(crate) async fn connection(&self) -> RedisResult<(u64, Connection)> {
        let renewal = {
            let mut state = self.inner.state();
            if let Some(connection) = &state.connection {
                return Ok((state.generation, connection.clone()));
            }
            self.renew(&mut state)
        };
        renewal.await
    }

    /// Which connection a call that begins now gets.
    pub(crate) fn generation(&self) -> u64 {
        self.inner.state().generation
    }

    /// Has the connection of this generation made anew.
    pub(crate) fn doubt(&self, generation: u64, doubt: Doubt) {
        let mut state = self.inner.state();
        if state.generation != generation {
            return;
        }
        // A cluster's connection looks after each node's by itself.
        if doubt == Doubt::Broken && matches!(state.connection, Some(Connection::Node(_))) {
            state.connection = None;
        }
        drop(self.renew(&mut state));
    }

    /// Has the connection of this generation made anew if what it answered says so.
    pub(crate) fn judge(&self, generation: u64, answers: Result<&[Value], &RedisError>) {
        let doubt = match answers {
            Ok(answers) => answers.iter().find_map(|answer| match answer {
                Value::ServerError(error) => doubt_for(error.code()),
                _ => None,
            }),
            Err(error) if error.is_unrecoverable_error() => Some(Doubt::Broken),
            Err(error) => error.code().and_then(doubt_for),
        };
        if let Some(doubt) = doubt {
            self.doubt(generation, doubt);
        }
    }

    /// The database that it uses.
    pub(crate) fn db(&self) -> i64 {
        self.inner.endpoint.db()
    }

    /// The try that is under way, or a new one. It goes on when its callers have given up.
    fn renew(&self, state: &mut State) -> Renewal {
        if let Some(renewal) = &state.renewal {
            return renewal.clone();
        }
        let now = Instant::now();
        let begin = state.begun.map_or(now, |begun| now.max(begun + PAUSE));
        state.begun = Some(begin);
        let renewal = Arc::clone(&self.inner).renewed_at(begin).boxed().shared();
        state.renewal = Some(renewal.clone());
        tokio::spawn(renewal.clone());
        renewal
    }
}

impl Inner {
    async fn renewed_at(self: Arc<Self>, begin: Instant) -> RedisResult<(u64, Connection)> {
        tokio::time::sleep_until(begin).await;
        let replaces = self.state().connection.is_some();
        let outcome = self.endpoint.connect(replaces).await;
        let mut state = self.state();
        state.renewal = None;
        // Once for each failure, not for each try.
        match (&outcome, std::mem::replace(&mut state.failing, outcome.is_err())) {
            (Err(error), false) => tracing::warn!(%error, "no connection to Redis"),
            (Ok(_), true) => tracing::info!("connected to Redis again"),
            _ => {}
        }
        let connection = outcome?;
        state.generation += 1;
        state.connection = Some(connection.clone());
        Ok((state.generation, connection))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a server's refusal says about the connection to it.
fn doubt_for(code: &str) -> Option<Doubt> {
    match code {
        // It is a replica now.
        "READONLY" | "MASTERDOWN" => Some(Doubt::Broken),
        // It is starting, or is cut off from its replicas: it may have been replaced.
        "LOADING" | "NOREPLICAS" => Some(Doubt::Silent),
        _ => None,
    }
}
