//! What carries a gateway's calls to the simulated Redis: at once where nothing is wrong, else as late, as often lost and
//! as unanswered as the conditions of its process say.

use std::sync::Arc;
use std::time::Duration;

use lua::Transport;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::sync::oneshot;

use crate::mutants::Hook;
use crate::process::{Process, Reach};
use crate::servers::{connection_refused, connection_reset};
use crate::world::World;

/// The way from one process to Redis.
pub(crate) struct SimulatedTransport {
    world: Arc<World>,
    process: Arc<Process>,
}

impl SimulatedTransport {
    /// For this process.
    pub(crate) fn new(world: Arc<World>, process: Arc<Process>) -> Self {
        Self { world, process }
    }

    async fn carry(&self, command: &Cmd) -> RedisResult<Value> {
        let (world, process) = (&self.world, &self.process);
        let conditions = process.conditions();
        if process.is_gone() || (conditions.paused && !process.may_send_late()) {
            return std::future::pending().await;
        }
        match conditions.redis {
            Reach::Open => {}
            Reach::Refused => return Err(connection_refused()),
            Reach::Silent => return std::future::pending().await,
        }
        let call = world.call(command);
        if let (Some(Hook::Drop(dropped)), Some(name)) = (world.hook, call.name)
            && dropped == name
        {
            let zeros = if name == "queue/present" { Value::Int(0) } else { Value::Array(vec![Value::Int(0); 4]) };
            return Ok(zeros);
        }
        let (there_ms, back_ms) = (process.delay_ms(), process.delay_ms());
        let is_lost = process.percent(conditions.lost_answers);
        if there_ms + back_ms == 0 && !conditions.paused {
            let answer = world.execute(process, conditions.server, &call);
            return if is_lost { Err(connection_reset()) } else { answer };
        }
        // It goes on where its caller gives up: what was sent has its effect.
        let (answer, answered) = oneshot::channel();
        let (world, process) = (Arc::clone(world), Arc::clone(process));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(there_ms)).await;
            process.awake().await;
            let result = world.execute(&process, conditions.server, &call);
            tokio::time::sleep(Duration::from_millis(back_ms)).await;
            process.awake().await;
            let _ = answer.send(if is_lost { Err(connection_reset()) } else { result });
        });
        answered.await.unwrap_or_else(|_| Err(connection_reset()))
    }
}

impl Transport for SimulatedTransport {
    fn command<'a>(&'a self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.carry(command))
    }

    fn pipeline<'a>(&'a self, _: &'a Pipeline, _: usize, _: usize) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async {
            Err(RedisError::from((ErrorKind::Client, "the simulated Redis takes one command at a time")))
        })
    }
}
