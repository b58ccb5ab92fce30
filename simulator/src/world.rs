//! A world: gateways, their Redis, their record, one clock, and the observer that sees it all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{Cmd, RedisResult, Value};

use crate::clock::VirtualClock;
use crate::log::Log;
use crate::mutants::Hook;
use crate::observer::Observer;
use crate::observer::room::{OBSERVE, RoomState};
use crate::plan::Plan;
use crate::process::{Conditions, Process};
use crate::record::RecordModel;
use crate::scripts::Scripts;
use crate::servers::{RealServer, Servers, words};
use crate::site;

/// A world.
pub(crate) struct World {
    /// What happens in it.
    pub(crate) plan: Plan,
    /// Its time.
    pub(crate) clock: VirtualClock,
    /// What has happened so far.
    pub(crate) log: Log,
    /// A mutant's part of the gateways.
    pub(crate) hook: Option<Hook>,
    scripts: Arc<Scripts>,
    observe_sha: String,
    servers: Mutex<Servers>,
    record: Mutex<RecordModel>,
    observer: Mutex<Observer>,
    gateways: Mutex<Gateways>,
    /// Held while a replica takes over: there is one.
    pub(crate) failing_over: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Gateways {
    processes: Vec<Option<Arc<Process>>>,
    started: u32,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// A call to Redis as it was made.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    command: Cmd,
    /// The script, if it is one.
    pub(crate) name: Option<&'static str>,
    /// Whether it only reads.
    pub(crate) only_reads: bool,
    /// The script's arguments.
    pub(crate) arguments: Vec<String>,
}

impl World {
    /// Builds a world without gateways. Call it inside a runtime whose time is paused.
    ///
    /// # Errors
    ///
    /// The real server does not answer.
    pub(crate) fn new(
        plan: Plan,
        (server, slot): (&RealServer, usize),
        scripts: Arc<Scripts>,
        hook: Option<Hook>,
    ) -> anyhow::Result<Arc<Self>> {
        let clock = VirtualClock::begin();
        let log = Log::new(clock);
        let mut servers = server.servers(slot, &scripts, clock)?;
        let observe_sha = servers.load(OBSERVE)?;
        let observer = Observer::new(&plan, log.clone());
        let gateways = Gateways { processes: vec![None; plan.gateways], started: 0 };
        Ok(Arc::new(Self {
            plan,
            clock,
            log,
            hook,
            scripts,
            observe_sha,
            servers: Mutex::new(servers),
            record: Mutex::default(),
            observer: Mutex::new(observer),
            gateways: Mutex::new(gateways),
            failing_over: tokio::sync::Mutex::default(),
        }))
    }

    /// The servers.
    pub(crate) fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record.
    pub(crate) fn record(&self) -> MutexGuard<'_, RecordModel> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The observer.
    pub(crate) fn observer(&self) -> MutexGuard<'_, Observer> {
        self.observer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gateways(&self) -> MutexGuard<'_, Gateways> {
        self.gateways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process of a gateway, if it runs.
    pub(crate) fn process(&self, gateway: usize) -> Option<Arc<Process>> {
        self.gateways().processes.get(gateway).cloned().flatten()
    }

    /// All processes that run.
    pub(crate) fn processes(&self) -> Vec<Arc<Process>> {
        self.gateways().processes.iter().flatten().cloned().collect()
    }

    /// Starts a gateway that does not run.
    ///
    /// # Errors
    ///
    /// It cannot be built.
    pub(crate) fn start(self: &Arc<Self>, gateway: usize) -> anyhow::Result<()> {
        let number = {
            let mut gateways = self.gateways();
            gateways.started += 1;
            gateways.started
        };
        let conditions = Conditions { server: self.servers().master(), ..Conditions::default() };
        let process = Process::start(self, gateway, number, conditions)?;
        if let Some(slot) = self.gateways().processes.get_mut(gateway) {
            *slot = Some(process);
        }
        self.log.world(format_args!("g{gateway} starts as process {number}"));
        Ok(())
    }

    /// Kills a gateway's process.
    pub(crate) fn kill(&self, gateway: usize) {
        let process = self.gateways().processes.get_mut(gateway).and_then(Option::take);
        if let Some(process) = process {
            process.kill();
            self.observer().process_died(process.number);
            self.log.world(format_args!("g{gateway} dies"));
        }
    }

    /// By how much the master's clock differs from the world's, in ms.
    pub(crate) fn master_clock_ms(&self) -> i64 {
        let servers = self.servers();
        servers.clock_ms(servers.master())
    }

    /// What a command is.
    pub(crate) fn call(&self, command: &Cmd) -> Call {
        let words = words(command);
        let text = |at: usize| words.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
        let script = if text(0) == "EVALSHA" { self.scripts.get(&text(1)) } else { None };
        let Some(script) = script else {
            return Call { command: command.clone(), name: None, only_reads: true, arguments: Vec::new() };
        };
        let keys: usize = text(2).parse().unwrap_or(0);
        let mut simulated = redis::cmd("EVALSHA");
        simulated.arg(&script.sha);
        words.iter().skip(2).for_each(|word| {
            simulated.arg(word);
        });
        let arguments = (3 + keys..words.len()).map(text).collect();
        Call { command: simulated, name: Some(script.name), only_reads: script.only_reads, arguments }
    }

    /// Runs a call on a server, and has the observer look at what it did.
    pub(crate) fn execute(&self, process: &Process, server: usize, call: &Call) -> RedisResult<Value> {
        let mut servers = self.servers();
        let reply = servers.run(server, &call.command);
        let Some(name) = call.name.filter(|name| name.starts_with("queue/")) else { return reply };
        if let Err(error) = &reply {
            if error.kind() == redis::ErrorKind::Server(redis::ServerErrorKind::ResponseError) {
                self.observer().script_failed(name, &error.to_string());
            }
            return reply;
        }
        if call.only_reads {
            if let (true, Ok(Value::Array(parts))) = (name == "queue/lease", &reply) {
                self.observer().pass_checked(&call.arguments, parts.last(), self.clock.now_ms());
            }
            return reply;
        }
        servers.note_write(server);
        let is_master = server == servers.master();
        let (clock_ms, state) = (servers.clock_ms(server), servers.observe(server, site::concert(), &self.observe_sha));
        drop(servers);
        match state.ok().and_then(|state| RoomState::read(&state)) {
            Some(state) => {
                let step = Step { gateway: process.gateway, server, is_master, clock_ms, name };
                let record = self.plan.recorded.then(|| self.record());
                self.observer().see(&step, &state, self.clock.now_ms(), record.as_deref());
            }
            None => self.observer().script_failed(name, "the room cannot be read"),
        }
        reply
    }
}

/// A script's call that has just been executed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Its gateway.
    pub(crate) gateway: usize,
    /// The server that executed it.
    pub(crate) server: usize,
    /// Whether that is the master.
    pub(crate) is_master: bool,
    /// By how much its clock differs from the world's, in ms.
    pub(crate) clock_ms: i64,
    /// The script.
    pub(crate) name: &'static str,
}
