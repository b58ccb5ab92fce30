//! What has changed in a hall, told to everybody who watches it: each change once, in order, as text that all share.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use common::ids::SeatId;
use serde::Serialize;

use super::hall::Hall;
use super::seat::{Seat, SeatStatus};

/// How many changes of seats are remembered. Who missed more is told everything anew.
const MAX_CHANGES: usize = 20_000;
/// How many times of change are remembered: some minutes of a busy sale.
const MAX_STEPS: usize = 1_000;

/// How a seat reads now.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SeatState {
    seat_id: SeatId,
    status: SeatStatus,
}

/// One time of change.
#[derive(Debug)]
struct Step {
    /// The name of the state that it led to.
    name: String,
    /// How many seats changed.
    changes: usize,
    event: Bytes,
}

/// A hall's recent past. States are named by what they say (the hash of the list of seats), so that a watcher who comes
/// from another process, or from before a restart, is understood.
#[derive(Debug, Default)]
pub struct SeatLog {
    current: Option<(String, Arc<Hall>)>,
    /// The name of the state that the first step began from.
    origin: String,
    steps: VecDeque<Step>,
    /// How many steps were ever forgotten: the number of the first that is remembered.
    forgotten: u64,
    changes: usize,
    reset: Option<Bytes>,
}

/// Where a watcher stands: after so many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    /// Nowhere: whoever stands here is told everything.
    pub const NOWHERE: Self = Self(u64::MAX);
}

impl SeatLog {
    /// Takes in how the hall reads now; whether that is news.
    pub fn update(&mut self, name: &str, hall: &Arc<Hall>) -> bool {
        let Some((before, old)) = &self.current else {
            name.clone_into(&mut self.origin);
            self.current = Some((name.to_owned(), Arc::clone(hall)));
            return true;
        };
        if before == name {
            return false;
        }
        if let Some(changed) = changed(old, hall) {
            let event = event("seats", name, &changed);
            self.steps.push_back(Step { name: name.to_owned(), changes: changed.len(), event });
            self.changes += changed.len();
        } else {
            // Other seats than before: nobody's place means anything any more.
            self.forgotten += self.steps.len() as u64 + 1;
            self.steps.clear();
            name.clone_into(&mut self.origin);
            self.changes = 0;
        }
        self.current = Some((name.to_owned(), Arc::clone(hall)));
        self.reset = None;
        while self.changes > MAX_CHANGES || self.steps.len() > MAX_STEPS {
            let Some(oldest) = self.steps.pop_front() else { break };
            self.changes -= oldest.changes;
            self.origin = oldest.name;
            self.forgotten += 1;
        }
        true
    }

    /// Where somebody stands who last saw the state of this name; [`Place::NOWHERE`] where that is not remembered.
    pub fn place_of(&self, name: &str) -> Place {
        if self.current.as_ref().is_some_and(|(current, _)| current == name) {
            return Place(self.end());
        }
        // The latest of that name: the hall has read so more than once, and what came after it suffices.
        let step = self.steps.iter().rposition(|step| step.name == name);
        match step {
            Some(step) => Place(self.forgotten + step as u64 + 1),
            None if self.origin == name => Place(self.forgotten),
            None => Place::NOWHERE,
        }
    }

    /// The next thing to tell somebody who stands there, and where they stand then; `None` where they know everything.
    pub fn next(&mut self, place: Place) -> Option<(Bytes, Place)> {
        let (name, hall) = self.current.as_ref()?;
        let end = Place(self.end());
        if place == end {
            return None;
        }
        let step = place.0.checked_sub(self.forgotten).and_then(|step| usize::try_from(step).ok());
        if let Some(step) = step.and_then(|step| self.steps.get(step)) {
            return Some((step.event.clone(), Place(place.0 + 1)));
        }
        let reset = self
            .reset
            .get_or_insert_with(|| event("reset", name, &hall.seats().iter().map(SeatState::of).collect::<Vec<_>>()));
        Some((reset.clone(), end))
    }

    fn end(&self) -> u64 {
        self.forgotten + self.steps.len() as u64
    }
}

impl SeatState {
    fn of(seat: &Seat) -> Self {
        Self { seat_id: seat.id, status: seat.status }
    }
}

/// Which seats read otherwise than before; `None` where these are not the same seats.
fn changed(before: &Hall, after: &Hall) -> Option<Vec<SeatState>> {
    let (before, after) = (before.seats(), after.seats());
    let same = before.len() == after.len() && before.iter().zip(after).all(|(old, new)| old.id == new.id);
    let differing = before.iter().zip(after).filter(|(old, new)| old.status != new.status);
    same.then(|| differing.map(|(_, new)| SeatState::of(new)).collect())
}

/// An event as it goes over the wire (HTML, 9.2.5): JSON has no line breaks of its own.
fn event(kind: &str, name: &str, seats: &[SeatState]) -> Bytes {
    // Plain structs with string keys always serialise.
    let data = serde_json::to_string(seats).unwrap_or_default();
    format!("event: {kind}\nid: {name}\nretry: 2000\ndata: {data}\n\n").into()
}

#[cfg(test)]
mod tests {
    use common::money::Money;

    use super::*;
    use crate::domain::seat::SeatNumber;

    fn seats(count: i64) -> Vec<Seat> {
        (1..=count)
            .map(|number| Seat {
                id: SeatId::generate(),
                number: SeatNumber::try_from((number - 1) % 50 + 1).unwrap(),
                section: format!("{:03}", (number - 1) / 50),
                price: Money::ZERO,
                status: SeatStatus::Available,
            })
            .collect()
    }

    fn hall(seats: &[Seat]) -> Arc<Hall> {
        Arc::new(Hall::new(seats.to_vec()))
    }

    fn text(event: Option<(Bytes, Place)>) -> (String, Place) {
        let (bytes, place) = event.unwrap();
        (String::from_utf8(bytes.to_vec()).unwrap(), place)
    }

    #[test]
    fn only_what_changed_is_told_and_each_change_once() {
        let mut seats = seats(3);
        let mut log = SeatLog::default();
        assert!(log.next(Place::NOWHERE).is_none(), "nothing is known yet");
        assert!(log.update("a", &hall(&seats)));
        assert!(!log.update("a", &hall(&seats)));
        let (first, place) = text(log.next(Place::NOWHERE));
        assert!(first.starts_with("event: reset\nid: a\n") && first.ends_with("\n\n"), "{first}");
        assert_eq!(first.matches("\"available\"").count(), 3);
        assert!(log.next(place).is_none());

        seats[1].status = SeatStatus::Reserved;
        log.update("b", &hall(&seats));
        seats[1].status = SeatStatus::Sold;
        log.update("c", &hall(&seats));
        let (second, place) = text(log.next(place));
        let expected = format!("data: [{{\"seatId\":\"{}\",\"status\":\"reserved\"}}]\n\n", seats[1].id);
        assert!(second.starts_with("event: seats\nid: b\n") && second.ends_with(&expected), "{second}");
        let (third, place) = text(log.next(place));
        assert!(third.contains("\"sold\"") && third.contains("id: c\n"), "{third}");
        assert!(log.next(place).is_none());
    }

    #[test]
    fn who_comes_back_gets_what_they_missed_or_everything() {
        let mut seats = seats(2);
        let mut log = SeatLog::default();
        log.update("start", &hall(&seats));
        for (name, status) in [
            ("a", SeatStatus::Reserved),
            ("b", SeatStatus::Available),
            ("a", SeatStatus::Reserved),
            ("c", SeatStatus::Sold),
        ] {
            seats[0].status = status;
            log.update(name, &hall(&seats));
        }
        assert!(log.next(log.place_of("c")).is_none());
        assert_eq!(log.place_of("start"), Place(0));
        let (event, _) = text(log.next(log.place_of("a")));
        assert!(event.contains("id: c\n") && event.starts_with("event: seats"), "the latest of that name: {event}");
        assert!(text(log.next(log.place_of("b"))).0.contains("id: a\n"));
        assert_eq!(log.place_of("unknown"), Place::NOWHERE);
        assert!(text(log.next(Place::NOWHERE)).0.starts_with("event: reset\nid: c\n"));
    }

    #[test]
    fn other_seats_are_told_as_a_whole() {
        let mut log = SeatLog::default();
        log.update("a", &hall(&seats(2)));
        let place = log.place_of("a");
        log.update("b", &hall(&seats(3)));
        let (event, place) = text(log.next(place));
        assert!(event.starts_with("event: reset\nid: b\n"), "{event}");
        assert!(log.next(place).is_none());
        assert_eq!(log.place_of("a"), Place::NOWHERE);
    }

    #[test]
    fn the_past_is_bounded_and_who_missed_too_much_starts_anew() {
        let mut seats = seats(5_000);
        let mut log = SeatLog::default();
        log.update("0", &hall(&seats));
        let start = log.place_of("0");
        for (n, status) in
            [(1, SeatStatus::Reserved), (2, SeatStatus::Available)].into_iter().cycle().take(6).enumerate()
        {
            for seat in &mut seats {
                seat.status = status.1;
            }
            log.update(&format!("{}", n + 1), &hall(&seats));
        }
        assert!(log.changes <= MAX_CHANGES && log.steps.len() == 4, "{} {}", log.changes, log.steps.len());
        assert!(text(log.next(start)).0.starts_with("event: reset\nid: 6\n"));
        assert!(text(log.next(log.place_of("2"))).0.starts_with("event: seats\nid: 3\n"), "the state it began from");
        assert_eq!(log.place_of("1"), Place::NOWHERE);
        assert!(text(log.next(log.place_of("3"))).0.starts_with("event: seats\nid: 4\n"));
    }
}
