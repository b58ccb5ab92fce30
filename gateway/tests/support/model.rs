//! The waiting room as a small program without Redis: what the scripts should do, said a second time in another way.

use std::collections::{BTreeMap, HashMap};

use chrono::DateTime;
use common::tokens::PassId;
use gateway::domain::{Lease, MAX_POLL_AFTER, Mode, PRESENCE_GRACE, RoomSettings, SETTLE, Standing};
use gateway::store::Turns;

/// A person, by their number in the test.
pub type Person = usize;

/// Epochs are tenths of a second since 2025.
const EPOCH_ZERO_MS: i64 = 1_735_689_600_000;

/// Where a person is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Waiting { position: u32, present_until_ms: Option<i64> },
    Away { position: u32 },
    Offered { pass: PassId, until_ms: i64 },
    Inside { pass: PassId, until_ms: i64, cap_ms: Option<i64> },
}

/// A room.
#[derive(Debug)]
pub struct Model {
    pub settings: RoomSettings,
    pub places: BTreeMap<Person, Place>,
    pub epoch: Option<u32>,
    pub seq: u32,
    pub frontier: u32,
    pub admitted: u64,
    nonce: u16,
    bucket: Option<(f64, i64)>,
    expired: HashMap<Person, i64>,
    left: HashMap<Person, i64>,
    ticked_at_ms: i64,
    grace_until_ms: i64,
    horizon: u32,
    next_horizon: u32,
    next_horizon_at_ms: i64,
}

impl Model {
    pub fn new(settings: RoomSettings) -> Self {
        Self {
            settings,
            places: BTreeMap::new(),
            epoch: None,
            seq: 0,
            frontier: 0,
            admitted: 0,
            nonce: 0,
            bucket: None,
            expired: HashMap::new(),
            left: HashMap::new(),
            ticked_at_ms: 0,
            grace_until_ms: 0,
            horizon: 0,
            next_horizon: 0,
            next_horizon_at_ms: 0,
        }
    }

    pub fn join(&mut self, people: &[Person], settings: &RoomSettings, now_ms: i64) -> Vec<Standing> {
        let mut bucket = self.begin(settings, now_ms);
        self.expire(now_ms);
        let mut free = self.capacity(bucket, now_ms);
        for person in people {
            self.expired.remove(person);
            self.left.remove(person);
        }
        // First who is known, then who is new.
        let mut standings: Vec<Option<Standing>> = people
            .iter()
            .map(|person| self.places.contains_key(person).then(|| self.arrive(*person, now_ms)).flatten())
            .collect();
        for (person, standing) in people.iter().zip(&mut standings) {
            if standing.is_none() {
                *standing = Some(
                    self.arrive(*person, now_ms).unwrap_or_else(|| self.come(*person, &mut free, &mut bucket, now_ms)),
                );
            }
        }
        self.bucket = Some((bucket, now_ms));
        standings.into_iter().flatten().collect()
    }

    /// Someone new.
    fn come(&mut self, person: Person, free: &mut f64, bucket: &mut f64, now_ms: i64) -> Standing {
        if self.settings.mode == Mode::Closed {
            return Standing::Closed;
        }
        self.seq += 1;
        let ahead = u32::try_from(self.waiting().len()).unwrap();
        if *free < 1.0 || (ahead > 0 && self.settings.mode != Mode::Passthrough) {
            return self.wait(person, ahead, now_ms);
        }
        *free -= 1.0;
        if self.settings.mode != Mode::Passthrough {
            *bucket -= 1.0;
        }
        let pass = self.give_turn(self.seq);
        self.begin_lease(person, pass, now_ms)
    }

    pub fn poll(&mut self, person: Person, settings: &RoomSettings, now_ms: i64) -> Standing {
        let bucket = self.begin(settings, now_ms);
        self.bucket = Some((bucket, now_ms));
        self.arrive(person, now_ms)
            .unwrap_or_else(|| if self.expired.contains_key(&person) { Standing::Expired } else { Standing::Left })
    }

    pub fn leave(&mut self, person: Person, settings: &RoomSettings, now_ms: i64) -> bool {
        let bucket = self.begin(settings, now_ms);
        self.bucket = Some((bucket, now_ms));
        self.expired.remove(&person);
        self.left.insert(person, now_ms);
        self.places.remove(&person).is_some()
    }

    /// What a gateway notes of somebody near the front; how many of them are in line.
    pub fn note_present(&mut self, person: Person, for_ms: i64, now_ms: i64) -> u32 {
        match self.places.get_mut(&person) {
            Some(Place::Waiting { present_until_ms, .. }) => {
                *present_until_ms = Some(present_until_ms.unwrap_or(i64::MIN).max(now_ms + for_ms));
                1
            }
            _ => 0,
        }
    }

    pub fn admit(&mut self, extra: u32, settings: &RoomSettings, now_ms: i64) -> Turns {
        let bucket = self.begin(settings, now_ms);
        self.expire(now_ms);
        self.expired.retain(|_, at| *at > now_ms - 3_600_000);
        self.left.retain(|_, at| *at > now_ms - 3_600_000);
        self.watch(now_ms);

        let by_rate = self.capacity(bucket, now_ms).min(2_500.0);
        let mut free = by_rate;
        if extra > 0 && self.settings.mode != Mode::Closed {
            free = (by_rate + f64::from(extra)).min(self.free_places().max(0.0));
        }
        let mut turns = Turns { offered: 0, aside: 0 };
        for (position, person, present_until_ms) in self.waiting() {
            if f64::from(turns.offered) >= free {
                break;
            }
            let absent = now_ms >= self.grace_until_ms
                && present_until_ms.map_or(position <= self.horizon, |until_ms| until_ms <= now_ms);
            let place = if absent {
                turns.aside += 1;
                self.frontier = self.frontier.max(position);
                Place::Away { position }
            } else {
                turns.offered += 1;
                let until_ms = now_ms + i64::try_from(self.settings.claim_ms).unwrap();
                Place::Offered { pass: self.give_turn(position), until_ms }
            };
            self.places.insert(person, place);
        }
        let spent = if self.settings.mode == Mode::Passthrough { 0.0 } else { f64::from(turns.offered).min(by_rate) };
        self.bucket = Some((bucket - spent, now_ms));
        turns
    }

    /// Those in line by position.
    pub fn waiting(&self) -> Vec<(u32, Person, Option<i64>)> {
        let mut waiting: Vec<_> = self
            .places
            .iter()
            .filter_map(|(person, place)| match place {
                Place::Waiting { position, present_until_ms } => Some((*position, *person, *present_until_ms)),
                _ => None,
            })
            .collect();
        waiting.sort_unstable();
        waiting
    }

    /// Offers and leases.
    pub fn active(&self) -> usize {
        let inside = |place: &&Place| matches!(place, Place::Offered { .. } | Place::Inside { .. });
        self.places.values().filter(inside).count()
    }

    /// Begins a call: takes settings on, and fills the bucket at the rate that was set until now.
    fn begin(&mut self, settings: &RoomSettings, now_ms: i64) -> f64 {
        self.epoch.get_or_insert_with(|| u32::try_from((now_ms - EPOCH_ZERO_MS) / 100).unwrap());
        let rate_until_now = self.settings.admit_per_second;
        if settings.version > self.settings.version {
            self.settings = settings.clone();
        }
        let burst = f64::from(self.settings.burst);
        let (saved, at_ms) = self.bucket.unwrap_or((burst, now_ms));
        #[expect(clippy::cast_precision_loss, reason = "a test's times are far below 2^52")]
        let elapsed_ms = (now_ms - at_ms).max(0) as f64;
        burst.min(saved + elapsed_ms * rate_until_now / 1000.0)
    }

    fn expire(&mut self, now_ms: i64) {
        let mut over = Vec::new();
        for (person, place) in &mut self.places {
            match *place {
                Place::Inside { until_ms, .. } if until_ms <= now_ms => over.push(*person),
                Place::Offered { pass, until_ms } if until_ms <= now_ms => {
                    *place = Place::Away { position: pass.position };
                }
                _ => {}
            }
        }
        for person in over {
            self.places.remove(&person);
            self.expired.insert(person, now_ms);
        }
    }

    /// Who is expected to have shown themselves by now.
    fn watch(&mut self, now_ms: i64) {
        let settle_ms = i64::try_from(SETTLE.as_millis()).unwrap();
        if now_ms - self.ticked_at_ms > 5_000 {
            self.grace_until_ms = now_ms + settle_ms;
        }
        if now_ms - self.next_horizon_at_ms >= settle_ms {
            self.horizon = self.next_horizon;
            self.next_horizon = self.seq;
            self.next_horizon_at_ms = now_ms;
        }
        self.ticked_at_ms = now_ms;
    }

    fn free_places(&self) -> f64 {
        f64::from(self.settings.max_active) - f64::from(u32::try_from(self.active()).unwrap())
    }

    fn capacity(&self, bucket: f64, now_ms: i64) -> f64 {
        let settings = &self.settings;
        if settings.mode == Mode::Closed || settings.paused || now_ms < settings.opens_at_ms {
            return 0.0;
        }
        if settings.mode == Mode::Passthrough {
            return f64::INFINITY;
        }
        (bucket + 0.000_001).floor().min(self.free_places()).max(0.0)
    }

    fn give_turn(&mut self, position: u32) -> PassId {
        self.nonce = (self.nonce + 1) % 1_024;
        self.admitted += 1;
        self.frontier = self.frontier.max(position);
        PassId { position, nonce: self.nonce }
    }

    fn begin_lease(&mut self, person: Person, pass: PassId, now_ms: i64) -> Standing {
        let cap_ms = now_ms + i64::try_from(self.settings.session_ms).unwrap();
        let idle_ms = i64::try_from(self.settings.idle_ms).unwrap();
        let renews = idle_ms > 0;
        let until_ms = if renews { cap_ms.min(now_ms + idle_ms) } else { cap_ms };
        self.places.insert(person, Place::Inside { pass, until_ms, cap_ms: renews.then_some(cap_ms) });
        inside(pass, until_ms, now_ms)
    }

    fn wait(&mut self, person: Person, ahead: u32, now_ms: i64) -> Standing {
        let grace_ms = i64::try_from(PRESENCE_GRACE.as_millis()).unwrap();
        let longest_ms = i64::try_from((MAX_POLL_AFTER + PRESENCE_GRACE).as_millis()).unwrap();
        #[expect(clippy::cast_possible_truncation, reason = "clamped to a minute; the room's time is in whole ms too")]
        let until_polled_ms = (f64::from(ahead) / self.settings.admit_per_second.max(0.001) * 1_000.0).min(1e6) as i64;
        let present_until_ms = Some(now_ms + longest_ms.min(grace_ms + until_polled_ms));
        self.places.insert(person, Place::Waiting { position: self.seq, present_until_ms });
        self.in_line(self.seq, Some(ahead), now_ms)
    }

    /// Someone who is here right now.
    fn arrive(&mut self, person: Person, now_ms: i64) -> Option<Standing> {
        let place = *self.places.get(&person)?;
        let position = match place {
            Place::Inside { pass, until_ms, cap_ms } if until_ms > now_ms => {
                return Some(self.renew(person, pass, until_ms, cap_ms, now_ms));
            }
            Place::Inside { .. } => {
                self.places.remove(&person);
                self.expired.insert(person, now_ms);
                return None;
            }
            Place::Offered { pass, until_ms } if until_ms > now_ms && self.settings.mode != Mode::Closed => {
                return Some(self.begin_lease(person, pass, now_ms));
            }
            Place::Offered { pass, .. } => pass.position,
            Place::Away { position } | Place::Waiting { position, .. } => position,
        };
        // The scripts set this even where a later time stands.
        let grace_ms = i64::try_from(PRESENCE_GRACE.as_millis()).unwrap();
        self.places.insert(person, Place::Waiting { position, present_until_ms: Some(now_ms + grace_ms) });
        Some(self.in_line(position, None, now_ms))
    }

    fn renew(&mut self, person: Person, pass: PassId, until_ms: i64, cap_ms: Option<i64>, now_ms: i64) -> Standing {
        let idle_ms = i64::try_from(self.settings.idle_ms).unwrap();
        let renewed_ms =
            if idle_ms == 0 { until_ms } else { until_ms.max((now_ms + idle_ms).min(cap_ms.unwrap_or(until_ms))) };
        self.places.insert(person, Place::Inside { pass, until_ms: renewed_ms, cap_ms });
        inside(pass, renewed_ms, now_ms)
    }

    fn in_line(&self, position: u32, ahead: Option<u32>, now_ms: i64) -> Standing {
        let at_seconds = u32::try_from(now_ms / 1_000).unwrap();
        Standing::Waiting { position, epoch: self.epoch.unwrap(), ahead, at_seconds }
    }
}

fn inside(pass: PassId, until_ms: i64, now_ms: i64) -> Standing {
    Standing::Admitted(Lease {
        pass,
        ends_at: DateTime::from_timestamp_millis(until_ms).unwrap(),
        remaining_seconds: u64::try_from((until_ms - now_ms) / 1_000).unwrap_or(0),
    })
}
