//! Property: whatever happens in whatever order, the real scripts answer as a small model of the room does, word for
//! word; and on the model's own state nobody present is overtaken, limits hold, nobody loses their number. Time is
//! handed to both.

#![allow(clippy::unwrap_used, reason = "a test that can not go on fails")]

mod support;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use common::ids::UserId;
use gateway::domain::{Mode, RoomDefaults, RoomSettings, Standing};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::model::{Model, Person, Place};
use support::{Rig, START_MS};

const CASES: u32 = 10_000;
const WORKERS: u32 = 4;
const PEOPLE: usize = 8;
const ROOM: RoomDefaults = RoomDefaults {
    admit_per_second: 2.0,
    burst: 3,
    max_active: 4,
    session: Duration::from_secs(20),
    claim: Duration::from_secs(6),
};
/// Who was heard of within this time is present by any reading; the scripts' own grace is longer.
const SURELY_PRESENT_MS: i64 = 5_000;

/// Who calls: two gateways, of which one may not have heard of the latest settings yet.
#[derive(Debug, Clone, Copy)]
enum Gateway {
    Informed,
    Behind,
}

#[derive(Debug, Clone)]
enum Step {
    Join(Vec<Person>),
    Poll(Person),
    Present(Person, i64),
    Leave(Person),
    Tick(Gateway),
    AdmitNow(u32),
    Advance(i64),
    ClockBack(i64),
    Configure(Setting),
}

#[derive(Debug, Clone, Copy)]
enum Setting {
    Paused(bool),
    Mode(Mode),
    Capacity(u32),
    Rate(f64, u32),
    Idle(u64),
    OpensInMs(i64),
}

fn setting() -> impl Strategy<Value = Setting> {
    prop_oneof![
        2 => any::<bool>().prop_map(Setting::Paused),
        1 => prop_oneof![3 => Just(Mode::Queue), 1 => Just(Mode::Passthrough), 1 => Just(Mode::Closed)]
            .prop_map(Setting::Mode),
        2 => (1_u32..6).prop_map(Setting::Capacity),
        2 => (prop_oneof![Just(0.5), Just(1.667), Just(2.0), Just(7.0)], 1_u32..6)
            .prop_map(|(rate, burst)| Setting::Rate(rate, burst)),
        1 => prop_oneof![Just(0_u64), Just(5_000), Just(60_000)].prop_map(Setting::Idle),
        1 => (-1_000_i64..10_000).prop_map(Setting::OpensInMs),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(0..PEOPLE, 1..4).prop_map(Step::Join),
        6 => (0..PEOPLE).prop_map(Step::Poll),
        2 => (0..PEOPLE, 1_000_i64..42_000).prop_map(|(person, for_ms)| Step::Present(person, for_ms)),
        1 => (0..PEOPLE).prop_map(Step::Leave),
        8 => prop_oneof![2 => Just(Gateway::Informed), 1 => Just(Gateway::Behind)].prop_map(Step::Tick),
        1 => (1_u32..4).prop_map(Step::AdmitNow),
        8 => (1_i64..4_000).prop_map(Step::Advance),
        2 => (20_000_i64..90_000).prop_map(Step::Advance),
        1 => (1_i64..5_000).prop_map(Step::ClockBack),
        2 => setting().prop_map(Step::Configure),
    ]
}

/// One case under way.
struct Case {
    rig: Rig,
    model: Model,
    people: Vec<UserId>,
    /// What a gateway knows that has not heard of the last change of settings.
    behind: RoomSettings,
    heard_at_ms: HashMap<Person, i64>,
    given: BTreeSet<u32>,
    /// What rate and burst allow up to now. Time counts that really passed: a clock set back and forth gives no turns.
    allowed: f64,
    /// Turns that neither bounds: an operator's, and those while everyone is let in.
    unbounded: u64,
    /// Until when the time went by already: a clock that was set back lives some of it twice.
    furthest_ms: i64,
}

impl Case {
    fn new(settings: &lua::RedisSettings) -> Self {
        let rig = Rig::on(settings, ROOM);
        let model = Model::new(RoomSettings::clone(&rig.context.settings));
        Self {
            behind: model.settings.clone(),
            rig,
            model,
            people: (0..PEOPLE).map(|_| UserId::generate()).collect(),
            heard_at_ms: HashMap::new(),
            given: BTreeSet::new(),
            allowed: f64::from(ROOM.burst),
            unbounded: 0,
            furthest_ms: START_MS,
        }
    }

    fn now_ms(&self) -> i64 {
        self.rig.context.now_ms
    }

    /// Takes a step in the room and in the model, and compares what both say.
    async fn take(&mut self, step: &Step) {
        let (now_ms, settings) = (self.now_ms(), RoomSettings::clone(&self.rig.context.settings));
        match step {
            Step::Join(people) => {
                let users: Vec<UserId> = people.iter().map(|person| self.people[*person]).collect();
                let told = self.rig.join(&users).await;
                assert_eq!(told, self.model.join(people, &settings, now_ms), "{step:?}");
                for (person, standing) in people.iter().zip(told) {
                    self.heard(*person, standing);
                }
            }
            Step::Poll(person) => {
                let told = self.rig.poll(self.people[*person]).await;
                assert_eq!(told, self.model.poll(*person, &settings, now_ms), "{step:?}");
                self.heard(*person, told);
            }
            Step::Present(person, for_ms) => {
                let seen = [(self.people[*person], u32::try_from(*for_ms).unwrap())];
                let noted = self.rig.note_present(&seen).await;
                assert_eq!(noted, self.model.note_present(*person, *for_ms, now_ms), "{step:?}");
                self.heard_at_ms.insert(*person, now_ms);
            }
            Step::Leave(person) => {
                let was_in = self.rig.leave(self.people[*person]).await;
                assert_eq!(was_in, self.model.leave(*person, &settings, now_ms), "{step:?}");
            }
            Step::Tick(gateway) => self.admit(*gateway, 0).await,
            Step::AdmitNow(extra) => self.admit(Gateway::Informed, *extra).await,
            Step::Advance(by_ms) => self.advance(*by_ms),
            Step::ClockBack(by_ms) => self.rig.context.now_ms -= by_ms,
            Step::Configure(setting) => self.configure(*setting),
        }
    }

    async fn admit(&mut self, gateway: Gateway, extra: u32) {
        let mut context = self.rig.context.clone();
        if matches!(gateway, Gateway::Behind) {
            context.settings = self.behind.clone().into();
        }
        let turns = self.rig.store.admit(&self.rig.keys, &context, extra).await.unwrap();
        assert_eq!(turns, self.model.admit(extra, &context.settings, context.now_ms));
        self.unbounded += u64::from(extra);
    }

    fn advance(&mut self, by_ms: i64) {
        self.rig.context.now_ms += by_ms;
        // The bucket can't hold more than the burst, so a long lull allows no more than that.
        let highest_rate = self.model.settings.admit_per_second.max(self.rig.context.settings.admit_per_second);
        #[expect(clippy::cast_precision_loss, reason = "a test's times are far below 2^52")]
        let passed_ms = by_ms as f64;
        self.allowed += passed_ms * highest_rate / 1_000.0;
        self.furthest_ms = self.furthest_ms.max(self.now_ms());
    }

    fn configure(&mut self, setting: Setting) {
        let now_ms = self.now_ms();
        self.behind = RoomSettings::clone(&self.rig.context.settings);
        let known_burst = self.behind.burst;
        self.rig.configure(|settings| match setting {
            Setting::Paused(paused) => settings.paused = paused,
            Setting::Mode(mode) => settings.mode = mode,
            Setting::Capacity(most) => settings.max_active = most,
            Setting::Rate(rate, burst) => (settings.admit_per_second, settings.burst) = (rate, burst),
            Setting::Idle(idle_ms) => settings.idle_ms = idle_ms,
            Setting::OpensInMs(in_ms) => settings.opens_at_ms = now_ms + in_ms,
        });
        // What was saved up stays; a first bucket may be as full as the new burst.
        self.allowed += f64::from(self.rig.context.settings.burst.saturating_sub(known_burst));
    }

    fn heard(&mut self, person: Person, standing: Standing) {
        if matches!(standing, Standing::Waiting { .. } | Standing::Admitted(_)) {
            self.heard_at_ms.insert(person, self.now_ms());
        }
    }

    /// What must hold whatever the model says.
    fn check(&mut self, step: &Step, before: &HashMap<Person, Place>) {
        self.check_capacity(step, before);
        self.check_rate(step, before);
        self.check_numbers(before);
        self.check_order(step, before);
    }

    fn check_capacity(&self, step: &Step, before: &HashMap<Person, Place>) {
        let has_turn = |place: &&Place| matches!(place, Place::Offered { .. } | Place::Inside { .. });
        let (was, is) = (before.values().filter(has_turn).count(), self.model.active());
        let settings = &self.model.settings;
        let bounded = settings.mode != Mode::Passthrough;
        assert!(!bounded || is <= was || is <= settings.max_active as usize, "{step:?}: {is} inside");
    }

    fn check_rate(&mut self, step: &Step, before: &HashMap<Person, Place>) {
        if self.model.settings.mode == Mode::Passthrough {
            self.unbounded += self.turns_since(before).count() as u64;
        }
        let bounded = self.model.admitted.saturating_sub(self.unbounded);
        #[expect(clippy::cast_precision_loss, reason = "a test's counts are far below 2^52")]
        let bounded = bounded as f64;
        assert!(bounded <= self.allowed + 0.000_01, "{step:?}: {bounded} turns, {} allowed", self.allowed);
    }

    fn check_numbers(&mut self, before: &HashMap<Person, Place>) {
        for (person, place) in &self.model.places {
            let (position, was) = (position(*place), before.get(person).map(|place| position(*place)));
            if was != Some(position) {
                assert!(self.given.insert(position), "number {position} was given twice");
            }
        }
    }

    /// Nobody present is overtaken: whoever just got a turn is behind no one who was surely there and still waits.
    fn check_order(&self, step: &Step, before: &HashMap<Person, Place>) {
        if self.model.settings.mode == Mode::Passthrough {
            return;
        }
        let Some(newest) = self.turns_since(before).max() else { return };
        for (position, person, _) in self.model.waiting() {
            let silent_ms = self.now_ms() - self.heard_at_ms.get(&person).copied().unwrap_or(i64::MIN / 2);
            assert!(
                position > newest || !(0..SURELY_PRESENT_MS).contains(&silent_ms),
                "{step:?}: number {position} was heard of {silent_ms} ms ago, and {newest} got a turn"
            );
        }
    }

    /// The positions that got a turn.
    fn turns_since(&self, before: &HashMap<Person, Place>) -> impl Iterator<Item = u32> {
        let had = |person: &Person| {
            before.get(person).is_some_and(|place| matches!(place, Place::Offered { .. } | Place::Inside { .. }))
        };
        self.model.places.iter().filter(move |(person, _)| !had(person)).filter_map(|(_, place)| match place {
            Place::Offered { pass, .. } | Place::Inside { pass, .. } => Some(pass.position),
            Place::Waiting { .. } | Place::Away { .. } => None,
        })
    }

    /// The counts of the room are the model's.
    async fn compare_counts(&self) {
        let counts = self.rig.counts().await;
        let count = |wanted: fn(&Place) -> bool| {
            u32::try_from(self.model.places.values().filter(|place| wanted(place)).count()).unwrap()
        };
        assert_eq!(counts.epoch, self.model.epoch.unwrap_or(0));
        assert_eq!((counts.seq, counts.frontier), (self.model.seq, self.model.frontier));
        assert_eq!(counts.admitted, self.model.admitted);
        assert_eq!(counts.waiting, count(|place| matches!(place, Place::Waiting { .. })));
        assert_eq!(counts.away, count(|place| matches!(place, Place::Away { .. })));
        assert_eq!(counts.offers, count(|place| matches!(place, Place::Offered { .. })));
        assert_eq!(counts.leased, count(|place| matches!(place, Place::Inside { .. })));
    }
}

fn position(place: Place) -> u32 {
    match place {
        Place::Waiting { position, .. } | Place::Away { position } => position,
        Place::Offered { pass, .. } | Place::Inside { pass, .. } => pass.position,
    }
}

async fn run(settings: &lua::RedisSettings, steps: Vec<Step>) {
    let mut case = Case::new(settings);
    case.admit(Gateway::Informed, 0).await;
    for step in &steps {
        let before: HashMap<Person, Place> =
            case.model.places.iter().map(|(person, place)| (*person, *place)).collect();
        case.take(step).await;
        case.check(step, &before);
    }
    case.compare_counts().await;
    case.rig.wipe().await;
}

#[test]
fn the_scripts_do_what_the_model_says_and_what_must_hold_holds() {
    let settings = support::redis_settings();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            let settings = settings.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                // A failure prints the steps, shrunk to the fewest, and PROPTEST_RNG_SEED repeats a run.
                let config = Config { cases: CASES / WORKERS, failure_persistence: None, ..Config::default() };
                let mut runner = TestRunner::new(config);
                let steps = proptest::collection::vec(step(), 1..40);
                if let Err(failure) = runner.run(&steps, |steps| {
                    runtime.block_on(run(&settings, steps));
                    Ok(())
                }) {
                    panic!("{failure}");
                }
            });
        }
    });
}
