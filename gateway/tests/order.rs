//! Property: whatever happens in whatever order, nobody present is overtaken, limits hold, nobody loses their number,
//! and everyone is in one place only. The real scripts, time handed to them.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use common::ids::UserId;
use gateway::domain::{RoomDefaults, Standing};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::{Rig, START_MS};

const PEOPLE: usize = 12;
const ROOM: RoomDefaults = RoomDefaults {
    admit_per_second: 2.0,
    burst: 3,
    max_active: 4,
    session: Duration::from_secs(20),
    claim: Duration::from_secs(6),
};
/// Who was heard of within this time is present by any reading; the scripts' own grace is longer.
const SURELY_PRESENT_MS: i64 = 5_000;

#[derive(Debug, Clone, Copy)]
enum Step {
    Join(usize),
    Poll(usize),
    Leave(usize),
    Tick,
    Advance(i64),
    ClockBack(i64),
    Pause(bool),
    Capacity(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..PEOPLE).prop_map(Step::Join),
        6 => (0..PEOPLE).prop_map(Step::Poll),
        1 => (0..PEOPLE).prop_map(Step::Leave),
        8 => Just(Step::Tick),
        8 => (1_i64..4_000).prop_map(Step::Advance),
        1 => (20_000_i64..90_000).prop_map(Step::Advance),
        1 => (1_i64..5_000).prop_map(Step::ClockBack),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => (1_u32..6).prop_map(Step::Capacity),
    ]
}

/// What is in Redis: where each person is, and at which position.
#[derive(Debug, Default)]
struct Inside {
    waiting: BTreeMap<u32, String>,
    away: BTreeMap<u32, String>,
    turns: BTreeMap<String, u32>,
    offers: usize,
    leases: usize,
}

async fn look(rig: &Rig) -> Inside {
    let range = async |key: usize| -> Vec<(String, f64)> {
        let command = redis::cmd("ZRANGE").arg(&rig.keys.all()[key]).arg(0).arg(-1).arg("WITHSCORES").to_owned();
        rig.redis.run(command).await.unwrap()
    };
    let passes: HashMap<String, String> =
        rig.redis.run(redis::cmd("HGETALL").arg(&rig.keys.all()[6]).to_owned()).await.unwrap();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positions are small whole numbers")]
    let by_position = |set: Vec<(String, f64)>| set.into_iter().map(|(user, at)| (at as u32, user)).collect();
    Inside {
        waiting: by_position(range(1).await),
        away: by_position(range(2).await),
        offers: range(4).await.len(),
        leases: range(5).await.len(),
        turns: passes
            .into_iter()
            .map(|(user, pass)| (user, pass.split(':').next().unwrap().parse().unwrap()))
            .collect(),
    }
}

/// What the test itself knows, from what it did and was told.
struct Known {
    people: Vec<UserId>,
    heard_at_ms: HashMap<usize, i64>,
    place: HashMap<usize, u32>,
    given: BTreeSet<u32>,
    highest_capacity: u32,
    /// Time that really passed: a clock set back and forth gives nobody a turn.
    passed_ms: i64,
    furthest_ms: i64,
}

impl Known {
    fn told(&mut self, person: usize, standing: Standing, now_ms: i64) {
        match standing {
            Standing::Waiting { position, .. } => self.holds(person, position, now_ms),
            Standing::Admitted(lease) => self.holds(person, lease.pass.position, now_ms),
            _ => drop(self.place.remove(&person)),
        }
    }

    fn holds(&mut self, person: usize, position: u32, now_ms: i64) {
        if self.place.insert(person, position) != Some(position) {
            // A new number: nobody may ever have had it. That the old one was given up is checked where it is told.
            assert!(self.given.insert(position), "number {position} was given twice");
        }
        self.heard_at_ms.insert(person, now_ms);
    }
}

async fn run(steps: Vec<Step>) {
    let mut rig = Rig::on(&support::redis_settings(), ROOM);
    let mut known = Known {
        people: (0..PEOPLE).map(|_| UserId::generate()).collect(),
        heard_at_ms: HashMap::new(),
        place: HashMap::new(),
        given: BTreeSet::new(),
        highest_capacity: ROOM.max_active,
        passed_ms: 0,
        furthest_ms: START_MS,
    };
    rig.admit().await;
    for step in steps {
        let before = look(&rig).await;
        take(&mut rig, &mut known, step, &before).await;
        let after = look(&rig).await;
        check(&rig, &known, step, &before, &after).await;
    }
}

async fn take(rig: &mut Rig, known: &mut Known, step: Step, before: &Inside) {
    let now_ms = rig.context.now_ms;
    match step {
        Step::Join(person) => {
            let standing = rig.join_one(known.people[person]).await;
            let user = known.people[person].compact();
            if let Some(position) = before
                .turns
                .get(&user)
                .or_else(|| position_of(&before.waiting, &user))
                .or_else(|| position_of(&before.away, &user))
                && !matches!(standing, Standing::Admitted(lease) if lease.pass.position != *position)
                && !is_over(known, person, standing)
            {
                assert_eq!(support::position(standing), *position, "joining again keeps the number");
            }
            known.told(person, standing, now_ms);
        }
        Step::Poll(person) => {
            let standing = rig.poll(known.people[person]).await;
            known.told(person, standing, now_ms);
        }
        Step::Leave(person) => {
            rig.leave(known.people[person]).await;
            known.place.remove(&person);
        }
        Step::Tick => drop(rig.admit().await),
        Step::Advance(by_ms) => {
            rig.context.now_ms += by_ms;
            known.passed_ms += by_ms;
            known.furthest_ms = known.furthest_ms.max(rig.context.now_ms);
        }
        Step::ClockBack(by_ms) => rig.context.now_ms -= by_ms,
        Step::Pause(paused) => rig.set("paused", if paused { "1" } else { "0" }).await,
        Step::Capacity(most) => {
            rig.set("max_active", &most.to_string()).await;
            known.highest_capacity = known.highest_capacity.max(most);
        }
    }
}

fn position_of<'a>(set: &'a BTreeMap<u32, String>, user: &str) -> Option<&'a u32> {
    set.iter().find(|(_, known)| *known == user).map(|(position, _)| position)
}

/// Whether a join found that the last admission had run out, so that a new number was due.
fn is_over(known: &Known, person: usize, standing: Standing) -> bool {
    known.place.get(&person).is_some_and(|place| *place != support::position(standing))
}

async fn check(rig: &Rig, known: &Known, step: Step, before: &Inside, after: &Inside) {
    let active = after.offers + after.leases;
    assert!(
        active <= known.highest_capacity as usize || active <= before.offers + before.leases,
        "capacity: {after:?}"
    );
    let admitted = rig.counts().await.admitted;
    let allowed = i64::from(ROOM.burst) + known.passed_ms * 2 / 1_000;
    assert!(i64::try_from(admitted).unwrap() <= allowed, "{admitted} turns in {} ms", known.passed_ms);

    assert_eq!(after.turns.len(), active, "who has a turn has one pass");
    let mut everywhere: Vec<&String> =
        after.waiting.values().chain(after.away.values()).chain(after.turns.keys()).collect();
    let people = everywhere.len();
    everywhere.sort_unstable();
    everywhere.dedup();
    assert_eq!(people, everywhere.len(), "somebody is in two places: {after:?}");

    // Nobody present is overtaken: whoever just got a turn is behind no one who was surely there and still waits.
    let newest =
        after.turns.iter().filter(|(user, _)| !before.turns.contains_key(*user)).map(|(_, position)| *position).max();
    let Some(newest) = newest else { return };
    for (position, user) in after.waiting.range(..newest) {
        let person = known.people.iter().position(|known| known.compact() == **user).unwrap();
        let silent_ms = rig.context.now_ms - known.heard_at_ms.get(&person).copied().unwrap_or(i64::MIN / 2);
        assert!(
            !(0..SURELY_PRESENT_MS).contains(&silent_ms),
            "{step:?}: number {position} was heard of {silent_ms} ms ago, and {newest} got a turn"
        );
    }
}

#[test]
fn nobody_present_is_overtaken_and_limits_hold() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // A failure prints the steps, shrunk to the fewest, and the seed that repeats them.
    let mut runner = TestRunner::new(Config { cases: 120, failure_persistence: None, ..Config::default() });
    let steps = proptest::collection::vec(step(), 1..80);
    if let Err(failure) = runner.run(&steps, |steps| {
        runtime.block_on(run(steps));
        Ok(())
    }) {
        panic!("{failure}");
    }
}
