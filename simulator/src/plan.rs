//! What happens in a world, decided by its seed before it begins.

use std::time::Duration;

use gateway::domain::RoomDefaults;

use crate::rng::Rng;

/// How long a world runs after all faults are healed.
pub const HEALED_MS: i64 = 30_000;

/// One world.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where it comes from.
    pub seed: u64,
    /// How the room is run.
    pub room: Room,
    /// How many gateways serve it.
    pub gateways: usize,
    /// Whether the room is recorded.
    pub recorded: bool,
    /// When each visitor comes, in ms.
    pub arrivals_ms: Vec<u64>,
    /// What goes wrong, and when in ms.
    pub faults: Vec<(u64, Fault)>,
    /// When all faults end, in ms.
    pub healed_at_ms: u64,
}

/// How a room is run.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Turns a second, in tenths.
    pub tenths_per_second: u32,
    /// Turns at once after a lull.
    pub burst: u32,
    /// People inside at once.
    pub max_active: u32,
    /// How long an admission lasts, in ms.
    pub session_ms: u64,
    /// How long a turn can be claimed, in ms.
    pub claim_ms: u64,
}

impl Room {
    /// Turns a second.
    pub fn per_second(&self) -> f64 {
        f64::from(self.tenths_per_second) / 10.0
    }
}

impl From<Room> for RoomDefaults {
    fn from(room: Room) -> Self {
        Self {
            admit_per_second: room.per_second(),
            burst: room.burst,
            max_active: room.max_active,
            session: Duration::from_millis(room.session_ms),
            claim: Duration::from_millis(room.claim_ms),
        }
    }
}

/// Something that goes wrong. Times are in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Redis loses everything.
    Wipe,
    /// A replica takes over that lacks the last calls that wrote.
    Failover {
        /// How many.
        lost_calls: u32,
        /// How long neither server answers in between.
        away_ms: u64,
        /// By how much the new server's clock differs.
        clock_ms: i64,
    },
    /// The same, while some gateways go on with the old server for a while.
    SplitBrain {
        /// How many calls the new server lacks.
        lost_calls: u32,
        /// Which gateways stay with the old one.
        stay: Vec<usize>,
        /// For how long.
        for_ms: u64,
    },
    /// All gateways and Redis stop at once; Redis comes back without its last calls, the gateways with empty memory.
    AllDown {
        /// How many calls Redis lost.
        lost_calls: u32,
        /// For how long.
        for_ms: u64,
    },
    /// A gateway dies and comes back with empty memory.
    Crash {
        /// Which.
        gateway: usize,
        /// After how long.
        for_ms: u64,
    },
    /// A gateway stands still and goes on where it was.
    Pause {
        /// Which.
        gateway: usize,
        /// For how long.
        for_ms: u64,
    },
    /// A gateway cannot reach Redis.
    CutFromRedis {
        /// Which.
        gateway: usize,
        /// For how long.
        for_ms: u64,
        /// Whether calls vanish; else they fail at once.
        silent: bool,
    },
    /// A gateway cannot reach the record.
    CutFromRecord {
        /// Which.
        gateway: usize,
        /// For how long.
        for_ms: u64,
    },
    /// Nobody can reach a gateway.
    CutFromVisitors {
        /// Which.
        gateway: usize,
        /// For how long.
        for_ms: u64,
    },
    /// Calls of a gateway take long.
    Slow {
        /// Which.
        gateway: usize,
        /// How long at most, either way.
        up_to_ms: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Some of a gateway's calls have their effect and no answer.
    LostAnswers {
        /// Which.
        gateway: usize,
        /// How many of a hundred.
        percent: u64,
        /// For how long.
        for_ms: u64,
    },
    /// Redis' clock is set.
    ClockJump {
        /// By how much.
        by_ms: i64,
    },
    /// The record does not answer.
    RecordAway {
        /// For how long.
        for_ms: u64,
    },
    /// The record loses what was written last.
    RecordRolledBack {
        /// How far back it goes.
        by_ms: i64,
    },
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        let root = Rng::new(seed);
        let mut rng = root.fork(1);
        let gateways = 1 + rng.below(3);
        let active_ms = rng.between(20_000, 60_000);
        let visitors = rng.between(5, 30);
        let arrivals_ms = (0..visitors).map(|_| arrival(&mut rng, active_ms)).collect();
        let rules = Room {
            tenths_per_second: u32::try_from(rng.between(5, 60)).unwrap_or(10),
            burst: u32::try_from(rng.between(1, 4)).unwrap_or(1),
            max_active: u32::try_from(rng.between(1, 8)).unwrap_or(1),
            session_ms: rng.between(8_000, 40_000),
            claim_ms: rng.between(15_000, 30_000),
        };
        let recorded = rng.percent(75);
        let mut faults: Vec<(u64, Fault)> =
            (0..rng.between(0, 4)).map(|_| (rng.between(3_000, active_ms), fault(&mut rng, gateways))).collect();
        faults.sort_by_key(|(at_ms, _)| *at_ms);
        Self { seed, room: rules, gateways, recorded, arrivals_ms, faults, healed_at_ms: active_ms + 5_000 }
    }

    /// When it ends, in ms.
    pub fn ends_at_ms(&self) -> u64 {
        self.healed_at_ms + HEALED_MS.unsigned_abs()
    }
}

/// Most people come at the opening, the others all the time after.
fn arrival(rng: &mut Rng, active_ms: u64) -> u64 {
    if rng.percent(70) { rng.between(0, 2_000) } else { rng.between(0, active_ms) }
}

fn fault(rng: &mut Rng, gateways: usize) -> Fault {
    let gateway = rng.below(gateways);
    let for_ms = if rng.percent(50) { rng.between(100, 3_000) } else { rng.between(1_000, 30_000) };
    match rng.between(0, 15) {
        0 | 1 => Fault::Wipe,
        2 | 3 => Fault::Failover {
            lost_calls: lost_calls(rng),
            away_ms: rng.between(0, 3_000),
            clock_ms: clock_difference(rng),
        },
        4 => {
            let stay = (0..gateways).filter(|_| rng.percent(50)).collect();
            Fault::SplitBrain { lost_calls: lost_calls(rng), stay, for_ms: for_ms.min(10_000) }
        }
        5 | 6 => Fault::AllDown { lost_calls: lost_calls(rng), for_ms: rng.between(100, 5_000) },
        7 => Fault::Crash { gateway, for_ms },
        8 => Fault::Pause { gateway, for_ms: if rng.percent(10) { rng.between(30_000, 300_000) } else { for_ms } },
        9 => Fault::CutFromRedis { gateway, for_ms, silent: rng.percent(50) },
        10 => Fault::CutFromRecord { gateway, for_ms },
        11 => Fault::CutFromVisitors { gateway, for_ms },
        12 => Fault::Slow { gateway, up_to_ms: rng.between(5, 1_500), for_ms },
        13 => Fault::LostAnswers { gateway, percent: rng.between(5, 60), for_ms },
        14 if rng.percent(50) => Fault::ClockJump { by_ms: if rng.percent(50) { 3_600_000 } else { -3_600_000 } },
        14 => Fault::RecordRolledBack { by_ms: i64::try_from(rng.between(500, 8_000)).unwrap_or(1_000) },
        _ => Fault::RecordAway { for_ms },
    }
}

fn lost_calls(rng: &mut Rng) -> u32 {
    u32::try_from(if rng.percent(20) { 0 } else { rng.between(1, 40) }).unwrap_or(1)
}

fn clock_difference(rng: &mut Rng) -> i64 {
    let by_ms = i64::try_from(rng.between(0, 4_000)).unwrap_or(0);
    if rng.percent(70) { 0 } else { by_ms - 2_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan_and_every_fault_comes_before_the_healing() {
        for seed in 0..200 {
            let plan = Plan::of(seed);
            assert_eq!(format!("{plan:?}"), format!("{:?}", Plan::of(seed)));
            assert!(plan.faults.iter().all(|(at_ms, _)| *at_ms < plan.healed_at_ms));
        }
    }
}
