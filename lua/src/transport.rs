//! What carries commands to Redis: the shared connection by default, anything else by injection.

use redis::{Cmd, Pipeline, RedisFuture, Value};

use crate::link::{Doubt, Link};

/// Carries commands to Redis and brings back the replies.
///
/// A transport reports a failed call as an error and never retries it: only the caller knows whether a second run of the
/// same command is safe.
pub trait Transport: Send + Sync {
    /// Sends one command.
    fn command<'a>(&'a self, command: &'a Cmd) -> RedisFuture<'a, Value>;

    /// Sends a pipeline and returns `count` replies, the first `offset` ones left out.
    fn pipeline<'a>(&'a self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>>;

    /// The number of the connection that a call gets if it begins now.
    fn generation(&self) -> u64 {
        0
    }

    /// Reports that a call over this connection got no reply in time.
    fn note_silence(&self, generation: u64) {
        let _ = generation;
    }

    /// The number of the database in use.
    fn db(&self) -> i64 {
        0
    }
}

impl Transport for Link {
    fn command<'a>(&'a self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let (generation, mut connection) = self.connection().await?;
            let answer = connection.req_packed_command(command).await;
            self.judge(generation, answer.as_ref().map(std::slice::from_ref));
            answer
        })
    }

    fn pipeline<'a>(&'a self, pipeline: &'a Pipeline, offset: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let (generation, mut connection) = self.connection().await?;
            let answers = connection.req_packed_commands(pipeline, offset, count).await;
            self.judge(generation, answers.as_deref());
            answers
        })
    }

    fn generation(&self) -> u64 {
        Link::generation(self)
    }

    fn note_silence(&self, generation: u64) {
        // A machine that vanished, or hangs, closes no connection: its silence is all there is to see.
        self.doubt(generation, Doubt::Silent);
    }

    fn db(&self) -> i64 {
        Link::db(self)
    }
}
