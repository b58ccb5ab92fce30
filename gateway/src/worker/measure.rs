//! What a room comes to, for Prometheus.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use common::ids::ConcertId;
use common::metrics::HANDLE_LASTS;
use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};

use super::waits::{Learnt, Waits};
use crate::domain::{DrawState, Mode, Pace, RoomView};
use crate::metrics::{
    ACTIVE, ADMITTING, AWAY, BATCH, CAPACITY, CLAIM_LAG, CLAIMS, ETA_ERROR, FRONTIER, GATHERED, JOINS, NO_SHOWS,
    OFFERED, PASSED_OVER, POLLS, PRESENT, REBUILDING, REBUILDS, TURNS_GIVEN, UNRECORDED, WAITING,
};
use crate::store::Batch;

/// A room's figures. Those of the process are made once, so that a poll costs an addition; those of the room lapse
/// where it is not used, and are made anew each minute that it is.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) joins: Counter,
    pub(super) polls_from_memory: Counter,
    pub(super) polls_by_redis: Counter,
    pub(super) joined_at_once: Histogram,
    pub(super) polled_at_once: Histogram,
    concert: SharedString,
    room: Mutex<OfRoom>,
    waits: Mutex<Waits>,
}

#[derive(Debug, Default)]
struct OfRoom {
    handles: Option<(Instant, Handles)>,
    turns_given: Total,
    passed_over: Total,
}

#[derive(Debug, Clone)]
struct Handles {
    waiting: Gauge,
    present: Gauge,
    away: Gauge,
    offered: Gauge,
    active: Gauge,
    capacity: Gauge,
    gathered: Gauge,
    frontier: Gauge,
    admitting: Gauge,
    rebuilding: Gauge,
    unrecorded: Gauge,
    turns_given: Counter,
    passed_over: Counter,
    claims: Counter,
    absent: Counter,
    unclaimed: Counter,
    rebuilds: Counter,
    claim_lag: Histogram,
    came_sooner: Histogram,
    came_later: Histogram,
}

impl Figures {
    pub(super) fn of(concert: ConcertId) -> Self {
        Self {
            joins: counter!(JOINS.name),
            polls_from_memory: counter!(POLLS.name, "answered" => "memory"),
            polls_by_redis: counter!(POLLS.name, "answered" => "redis"),
            joined_at_once: histogram!(BATCH.name, "kind" => "join"),
            polled_at_once: histogram!(BATCH.name, "kind" => "poll"),
            concert: SharedString::from(concert.to_string()),
            room: Mutex::default(),
            waits: Mutex::default(),
        }
    }

    /// Notes what the room looks like.
    pub(super) fn note_view(&self, view: &RoomView, sale_over: bool) {
        let (counts, settings) = (&view.counts, &view.settings);
        let is_open = !sale_over && counts.opens_at_ms <= counts.now_ms && settings.mode != Mode::Closed;
        let is_drawn = !matches!(view.draw, DrawState::Pending | DrawState::Dealing);
        let is_admitting = is_open && is_drawn && !settings.paused && !counts.rebuilding;
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let turns_given = room.turns_given.take_in(counts.epoch, counts.admitted);
        let passed_over = room.passed_over.take_in(counts.epoch, counts.passed_over);
        let handles = room.handles(&self.concert);
        handles.waiting.set(counts.waiting);
        handles.present.set(counts.present);
        handles.away.set(counts.away);
        handles.offered.set(counts.offers);
        handles.active.set(counts.leased);
        handles.capacity.set(settings.max_active);
        handles.gathered.set(counts.gathered);
        handles.frontier.set(counts.frontier);
        handles.admitting.set(u8::from(is_admitting));
        handles.rebuilding.set(u8::from(counts.rebuilding));
        handles.unrecorded.set(counts.unrecorded);
        handles.turns_given.absolute(turns_given);
        handles.passed_over.absolute(passed_over);
        // A room in use keeps its counts, also those that do not rise.
        for count in [&handles.claims, &handles.absent, &handles.unclaimed, &handles.rebuilds] {
            count.increment(0);
        }
    }

    /// Notes that this process does not look at the room any more: what it last saw says nothing of now, and other
    /// gateways' figures must not lose against it.
    pub(super) fn note_rest(&self) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if room.handles.is_some() {
            room.handles(&self.concert).gauges().into_iter().for_each(|gauge| gauge.set(f64::NAN));
        }
    }

    /// Notes what has been recorded: newcomers were told a wait by this `pace`.
    pub(super) fn note_recorded(&self, batches: &[Batch], pace: Option<&Pace>) {
        let handles = self.room.lock().unwrap_or_else(PoisonError::into_inner).handles(&self.concert).clone();
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        for batch in batches {
            waits.follow(batch, pace, |learnt| handles.note(learnt));
        }
    }

    /// Notes that the room was put together again.
    pub(super) fn note_rebuilt(&self) {
        self.room.lock().unwrap_or_else(PoisonError::into_inner).handles(&self.concert).rebuilds.increment(1);
    }
}

impl OfRoom {
    fn handles(&mut self, concert: &SharedString) -> &Handles {
        let fresh = self.handles.take().filter(|(made_at, _)| made_at.elapsed() < HANDLE_LASTS);
        let (_, handles) = self.handles.insert(fresh.unwrap_or_else(|| (Instant::now(), Handles::of(concert))));
        handles
    }
}

impl Handles {
    fn of(concert: &SharedString) -> Self {
        let gauge = |name| gauge!(name, "concert" => concert.clone());
        let counter = |name| counter!(name, "concert" => concert.clone());
        let no_shows = |reason| counter!(NO_SHOWS.name, "concert" => concert.clone(), "reason" => reason);
        let eta_error = |came| histogram!(ETA_ERROR.name, "concert" => concert.clone(), "came" => came);
        Self {
            waiting: gauge(WAITING.name),
            present: gauge(PRESENT.name),
            away: gauge(AWAY.name),
            offered: gauge(OFFERED.name),
            active: gauge(ACTIVE.name),
            capacity: gauge(CAPACITY.name),
            gathered: gauge(GATHERED.name),
            frontier: gauge(FRONTIER.name),
            admitting: gauge(ADMITTING.name),
            rebuilding: gauge(REBUILDING.name),
            unrecorded: gauge(UNRECORDED.name),
            turns_given: counter(TURNS_GIVEN.name),
            passed_over: counter(PASSED_OVER.name),
            claims: counter(CLAIMS.name),
            absent: no_shows("absent"),
            unclaimed: no_shows("unclaimed"),
            rebuilds: counter(REBUILDS.name),
            claim_lag: histogram!(CLAIM_LAG.name, "concert" => concert.clone()),
            came_sooner: eta_error("sooner"),
            came_later: eta_error("later"),
        }
    }

    fn gauges(&self) -> [&Gauge; 11] {
        [
            &self.waiting,
            &self.present,
            &self.away,
            &self.offered,
            &self.active,
            &self.capacity,
            &self.gathered,
            &self.frontier,
            &self.admitting,
            &self.rebuilding,
            &self.unrecorded,
        ]
    }

    fn note(&self, learnt: Learnt) {
        match learnt {
            Learnt::Claimed => self.claims.increment(1),
            Learnt::ClaimedAfter { ms } => self.claim_lag.record(seconds(ms)),
            Learnt::LaterThanTold { ms } => {
                if ms < 0 { &self.came_sooner } else { &self.came_later }.record(seconds(ms));
            }
            Learnt::Absent => self.absent.increment(1),
            Learnt::Unclaimed => self.unclaimed.increment(1),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times in ms are far below 2^52")]
fn seconds(ms: i64) -> f64 {
    ms.unsigned_abs() as f64 / 1_000.0
}

/// A room's own count, which begins anew with each of its lives, as one that only rises.
#[derive(Debug, Default)]
struct Total {
    epoch: u32,
    last: u64,
    sum: u64,
}

impl Total {
    fn take_in(&mut self, epoch: u32, count: u64) -> u64 {
        let goes_on = epoch == self.epoch && count >= self.last;
        self.sum += if goes_on { count - self.last } else { count };
        (self.epoch, self.last) = (epoch, count);
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::domain::{RoomCounts, view_for_tests};

    #[test]
    fn a_room_at_rest_is_told_as_unknown_not_as_it_was() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let concert = ConcertId::generate();
        let told = |name: &str, value: &str| {
            recorder.handle().render().contains(&format!("{name}{{concert=\"{concert}\"}} {value}\n"))
        };
        metrics::with_local_recorder(&recorder, || {
            let figures = Figures::of(concert);
            let empty = view_for_tests();
            let view = RoomView { counts: RoomCounts { waiting: 7, admitted: 3, ..empty.counts }, ..empty };
            figures.note_view(&view, false);
            assert!(told("onsale_room_waiting", "7") && told("onsale_room_admitting", "1"));
            figures.note_view(&view, true);
            assert!(told("onsale_room_admitting", "0"), "the sale is over");
            figures.note_rest();
            assert!(told("onsale_room_waiting", "NaN") && told("onsale_room_turns_given_total", "3"));
        });
    }

    #[test]
    fn a_total_never_falls_though_the_room_begins_anew() {
        let mut total = Total::default();
        let totals =
            [(1, 40), (1, 50), (1, 50), (2, 3), (2, 5), (3, 9)].map(|(epoch, count)| total.take_in(epoch, count));
        assert_eq!(totals, [40, 50, 50, 53, 55, 64]);
    }
}
