//! What goes wrong, done to a world.

use std::sync::Arc;
use std::time::Duration;

use crate::plan::Fault;
use crate::process::{Conditions, Process, Reach};
use crate::world::World;

/// How long a failover waits for the calls that the new master is to lack.
const LOST_CALLS_WITHIN_MS: u64 = 3_000;
const LOOK_EVERY_MS: u64 = 2;

/// Brings a plan's faults about, and heals them all at its time.
pub(crate) async fn run(world: Arc<World>) {
    for (at_ms, fault) in world.plan.faults.clone() {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            sleep_ms(at_ms).await;
            world.log.world(format_args!("FAULT {fault:?}"));
            if let Err(error) = world.suffer(&fault).await {
                world.observer().script_failed("simulator", &error.to_string());
            }
        });
    }
    sleep_ms(world.plan.healed_at_ms).await;
    world.heal();
}

impl World {
    async fn suffer(self: &Arc<Self>, fault: &Fault) -> anyhow::Result<()> {
        let replaces_master =
            matches!(fault, Fault::Failover { .. } | Fault::SplitBrain { .. } | Fault::AllDown { .. });
        let _one_at_a_time = if replaces_master { Some(self.failing_over.lock().await) } else { None };
        match *fault {
            Fault::Wipe => {
                let mut servers = self.servers();
                servers.wipe()?;
                let master = servers.master();
                drop(servers);
                self.observer().wiped(master, self.clock.now_ms());
            }
            Fault::Failover { lost_calls, away_ms, clock_ms } => {
                self.trail(lost_calls).await?;
                let old = self.servers().master();
                self.servers().set_up(old, false);
                sleep_ms(away_ms).await;
                self.promote(clock_ms, &[]);
            }
            Fault::SplitBrain { lost_calls, ref stay, for_ms } => self.split(lost_calls, stay, for_ms).await?,
            Fault::AllDown { lost_calls, for_ms } => {
                self.trail(lost_calls).await?;
                for gateway in 0..self.plan.gateways {
                    self.kill(gateway);
                }
                sleep_ms(for_ms).await;
                self.servers().restart_replica();
                self.promote(0, &[]);
                self.start_all()?;
            }
            Fault::Crash { gateway, for_ms } => {
                self.kill(gateway);
                sleep_ms(for_ms).await;
                if self.process(gateway).is_none() {
                    self.start(gateway)?;
                }
            }
            Fault::Pause { gateway, for_ms } => {
                let Some(process) = self.process(gateway) else { return Ok(()) };
                self.observer().disturbed(
                    process.number,
                    self.clock.now_ms(),
                    i64::try_from(for_ms).unwrap_or(i64::MAX),
                );
                process.pause();
                sleep_ms(for_ms).await;
                process.set(|conditions| conditions.paused = false);
            }
            Fault::CutFromRedis { gateway, for_ms, silent } => {
                let reach = if silent { Reach::Silent } else { Reach::Refused };
                self.disturb(gateway, for_ms, |now| now.redis = reach, |now| now.redis = Reach::Open).await;
            }
            Fault::CutFromRecord { gateway, for_ms } => {
                self.disturb(gateway, for_ms, |now| now.record = Reach::Refused, |now| now.record = Reach::Open).await;
            }
            Fault::CutFromVisitors { gateway, for_ms } => {
                self.disturb(gateway, for_ms, |now| now.hidden = true, |now| now.hidden = false).await;
            }
            Fault::Slow { gateway, up_to_ms, for_ms } => {
                self.disturb(gateway, for_ms, |now| now.slow_ms = up_to_ms, |now| now.slow_ms = 0).await;
            }
            Fault::LostAnswers { gateway, percent, for_ms } => {
                self.disturb(gateway, for_ms, |now| now.lost_answers = percent, |now| now.lost_answers = 0).await;
            }
            Fault::ClockJump { by_ms } => {
                let master = self.servers().master();
                self.servers().set_clock(master, by_ms);
                self.observer().clock_jumped(self.clock.now_ms());
            }
            Fault::RecordAway { for_ms } => {
                self.record().set_away(true);
                sleep_ms(for_ms).await;
                self.record().set_away(false);
            }
            Fault::RecordRolledBack { by_ms } => {
                let undone = self.record().roll_back(self.clock.now_ms() - by_ms);
                self.log.world(format_args!("the record lost {undone} writes"));
            }
        }
        Ok(())
    }

    /// Has the replica stop where it is, and waits until it lacks so many calls.
    async fn trail(&self, lost_calls: u32) -> anyhow::Result<()> {
        let begun_at = {
            let mut servers = self.servers();
            servers.copy_to_replica()?;
            self.observer().copied(servers.master());
            servers.calls()
        };
        let mut waited_ms = 0;
        while self.servers().calls() < begun_at + u64::from(lost_calls) && waited_ms < LOST_CALLS_WITHIN_MS {
            sleep_ms(LOOK_EVERY_MS).await;
            waited_ms += LOOK_EVERY_MS;
        }
        Ok(())
    }

    /// Makes the replica the master, for all gateways but those that stay with the old one.
    fn promote(&self, clock_ms: i64, stay: &[usize]) {
        let mut servers = self.servers();
        let old = servers.master();
        servers.promote_replica(clock_ms);
        let new = servers.master();
        drop(servers);
        self.observer().promoted(old, self.clock.now_ms(), clock_ms);
        self.log.world(format_args!("server {new} is the master now"));
        for process in self.processes().iter().filter(|process| !stay.contains(&process.gateway)) {
            process.set(|conditions| conditions.server = new);
        }
    }

    async fn split(&self, lost_calls: u32, stay: &[usize], for_ms: u64) -> anyhow::Result<()> {
        self.trail(lost_calls).await?;
        self.observer().set_split(true);
        self.promote(0, stay);
        sleep_ms(for_ms).await;
        let new = self.servers().master();
        for process in self.processes() {
            process.set(|conditions| conditions.server = new);
        }
        self.observer().set_split(false);
        Ok(())
    }

    /// Changes what lies between a gateway and the world for a while.
    async fn disturb(
        &self,
        gateway: usize,
        for_ms: u64,
        begin: impl FnOnce(&mut Conditions),
        end: impl FnOnce(&mut Conditions),
    ) {
        let Some(process) = self.process(gateway) else { return };
        self.observer().disturbed(process.number, self.clock.now_ms(), i64::try_from(for_ms).unwrap_or(i64::MAX));
        process.set(begin);
        sleep_ms(for_ms).await;
        process.set(end);
    }

    fn start_all(self: &Arc<Self>) -> anyhow::Result<()> {
        for gateway in 0..self.plan.gateways {
            if self.process(gateway).is_none() {
                self.start(gateway)?;
            }
        }
        Ok(())
    }

    /// Ends all faults at once.
    fn heal(self: &Arc<Self>) {
        self.record().set_away(false);
        let master = self.servers().master();
        self.servers().set_up(master, true);
        for process in self.processes() {
            process.set(|conditions| *conditions = Conditions { server: master, ..Conditions::default() });
        }
        if let Err(error) = self.start_all() {
            self.observer().script_failed("simulator", &error.to_string());
        }
        self.observer().set_split(false);
        self.observer().healed(self.clock.now_ms());
        self.log.world("HEALED");
    }

    /// Kills every process that runs.
    pub(crate) fn end(&self) {
        for process in self.processes() {
            Process::kill(&process);
        }
    }
}

async fn sleep_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
