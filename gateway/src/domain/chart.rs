//! What operators see of a room: figures of each second of the last quarter of an hour, of all gateways together.

use std::collections::VecDeque;

use super::{ConcertFacts, Pace, RoomView};

/// For how many seconds points are kept, and so how many there are at most.
pub const CHART_SECONDS: u32 = 900;

/// What gateways have counted: one since it last told, or all since the room's sums began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// People who were given a place, or told the one they have.
    pub joins: u64,
    /// Answers to who asked where they stand, streams included.
    pub polls: u64,
    /// Answers of the gateways, whatever was asked for, that say that the service failed.
    pub errors: u64,
}

/// What had been counted by everybody, since the room's sums began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sums {
    /// By the gateways.
    pub counted: Counted,
    /// Payments of the concert that came to nothing, as core-apis count them.
    pub failed_payments: u64,
}

impl Sums {
    /// Reads what the script wrote; `None` for anything else.
    pub fn from_line(line: &str) -> Option<Self> {
        let [joins, polls, errors, failed_payments] = numbers(line)?;
        Some(Self { counted: Counted { joins, polls, errors }, failed_payments })
    }
}

/// A room at one moment, as one gateway sees it. Everything in it is of the whole room, not of that gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomSight {
    /// Which life of the room it is.
    pub epoch: u32,
    /// People in line, or gathered for the draw.
    pub waiting: u32,
    /// People near the front who were heard of.
    pub present: u32,
    /// Turns that may be claimed.
    pub offered: u32,
    /// People inside.
    pub active: u32,
    /// How many may be inside, offers included.
    pub capacity: u32,
    /// Turns given so far in this life of the room.
    pub turns_given: u64,
    /// What somebody who joins now is told of their wait: hardly less, the likeliest, hardly more, in seconds.
    pub wait_seconds: [u64; 3],
    /// Seats that can be had, that are held, that are sold; `None` where nobody knows.
    pub seats: Option<[u32; 3]>,
}

impl RoomSight {
    /// What is to be seen of a room and its sale.
    pub fn of(view: &RoomView, facts: &ConcertFacts) -> Self {
        let (counts, in_line, pace) = (&view.counts, view.in_line(), Pace::of(view));
        let wait = if view.is_undrawn() { pace.wait_for_draw(in_line) } else { pace.wait(in_line) };
        Self {
            epoch: counts.epoch,
            waiting: in_line,
            present: counts.present,
            offered: counts.offers,
            active: counts.leased,
            capacity: view.settings.max_active,
            turns_given: counts.admitted,
            wait_seconds: [wait.low_seconds, wait.expected_seconds, wait.high_seconds],
            seats: facts.stock.and_then(|stock| Some([stock.available, stock.held, stock.sold?])),
        }
    }

    /// As it is kept: numbers with commas between, which is a fifth of what names would take.
    pub fn to_line(&self) -> String {
        let Self { epoch, waiting, present, offered, active, capacity, turns_given, .. } = self;
        let [low, expected, high] = self.wait_seconds;
        let room = format!("{epoch},{waiting},{present},{offered},{active},{capacity},{turns_given}");
        let seats = self.seats.map(|[available, held, sold]| format!(",{available},{held},{sold}"));
        format!("{room},{low},{expected},{high}{}", seats.unwrap_or_default())
    }

    /// Reads what [`Self::to_line`] wrote; `None` for anything else.
    pub fn from_line(line: &str) -> Option<Self> {
        let (room, seats) = match line.split(',').count() {
            10 => (line, None),
            13 => {
                let (at, _) = line.match_indices(',').nth(9)?;
                let [available, held, sold] = numbers(&line[at + 1..])?;
                (&line[..at], Some([small(available)?, small(held)?, small(sold)?]))
            }
            _ => return None,
        };
        let [epoch, waiting, present, offered, active, capacity, turns_given, low, expected, high] = numbers(room)?;
        Some(Self {
            epoch: small(epoch)?,
            waiting: small(waiting)?,
            present: small(present)?,
            offered: small(offered)?,
            active: small(active)?,
            capacity: small(capacity)?,
            turns_given,
            wait_seconds: [low, expected, high],
            seats,
        })
    }
}

fn small(number: u64) -> Option<u32> {
    u32::try_from(number).ok()
}

fn numbers<const N: usize>(line: &str) -> Option<[u64; N]> {
    let read: Option<Vec<u64>> = line.split(',').map(|number| number.parse().ok()).collect();
    read?.try_into().ok()
}

/// A room in one second, and what had been counted until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// Which second of Unix time, by the clock of Redis.
    pub second: i64,
    /// The room.
    pub sight: RoomSight,
    /// What had been counted.
    pub sums: Sums,
}

/// Figures of one second. Rates are `None` where there is nothing to measure them from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Second {
    /// The room.
    pub point: Point,
    /// Joins a second.
    pub joins: Option<f64>,
    /// Polls a second.
    pub polls: Option<f64>,
    /// Failures a second.
    pub errors: Option<f64>,
    /// Failed payments a second.
    pub failed_payments: Option<f64>,
    /// Turns given a second.
    pub admitted: Option<f64>,
    /// Seats paid for a second, less those given back.
    pub sold: Option<f64>,
}

impl Second {
    /// The figures of a point behind another one, the one before it: averages over the time between both.
    pub fn of(point: Point, before: Option<&Point>) -> Self {
        let mut figures =
            Self { point, joins: None, polls: None, errors: None, failed_payments: None, admitted: None, sold: None };
        let Some(before) = before.filter(|before| before.second < point.second) else { return figures };
        let seconds = u32::try_from(point.second - before.second).unwrap_or(u32::MAX);
        let risen = |now: u64, then: u64| now.checked_sub(then).map(|more| rate(more, seconds));
        figures.failed_payments = risen(point.sums.failed_payments, before.sums.failed_payments);
        let (now, then) = (point.sums.counted, before.sums.counted);
        figures.joins = risen(now.joins, then.joins);
        figures.polls = risen(now.polls, then.polls);
        figures.errors = risen(now.errors, then.errors);
        if point.sight.epoch == before.sight.epoch {
            figures.admitted = risen(point.sight.turns_given, before.sight.turns_given);
        }
        if let (Some([.., now]), Some([.., then])) = (point.sight.seats, before.sight.seats) {
            figures.sold = Some((f64::from(now) - f64::from(then)) / f64::from(seconds));
        }
        figures
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(more: u64, seconds: u32) -> f64 {
    more as f64 / f64::from(seconds)
}

/// The last quarter of an hour of a room, as far as it is known.
#[derive(Debug, Default)]
pub struct Chart(VecDeque<Second>);

impl Chart {
    /// Adds points, which are later than all that it has, and lets go of what is too old.
    pub fn extend(&mut self, points: impl IntoIterator<Item = Point>) {
        for point in points {
            let second = Second::of(point, self.0.back().map(|last| &last.point));
            self.0.push_back(second);
        }
        let first = self.latest().unwrap_or(0) - i64::from(CHART_SECONDS) + 1;
        while self.0.front().is_some_and(|oldest| oldest.point.second < first) {
            self.0.pop_front();
        }
    }

    /// Which second is the latest one.
    pub fn latest(&self) -> Option<i64> {
        self.0.back().map(|last| last.point.second)
    }

    /// The seconds behind that one, the earliest first.
    pub fn since(&self, second: i64) -> Vec<Second> {
        self.0.iter().filter(|known| known.point.second > second).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::{counts, settings, view};
    use super::super::{RoomCounts, SaleStatus, Stock};
    use super::*;

    fn sight(turns_given: u64, sold: u32) -> RoomSight {
        let counts = RoomCounts { waiting: 7, gathered: 2, admitted: turns_given, ..counts() };
        let stock = Some(Stock { available: 40, held: 3, sold: Some(sold) });
        RoomSight::of(
            &view(counts, settings(), None),
            &ConcertFacts { status: SaleStatus::OnSale, sale_opens_at: None, stock },
        )
    }

    fn point(second: i64, joins: u64, sight: RoomSight) -> Point {
        let counted = Counted { joins, polls: 2 * joins, errors: 0 };
        Point { second, sight, sums: Sums { counted, failed_payments: joins / 10 } }
    }

    #[test]
    fn what_is_written_is_read_again_and_nothing_else_is() {
        let seen = sight(12, 7);
        assert_eq!((seen.waiting, seen.seats), (9, Some([40, 3, 7])));
        for seen in [seen, RoomSight { seats: None, ..seen }] {
            assert_eq!(RoomSight::from_line(&seen.to_line()), Some(seen));
        }
        for wrong in ["", "1,2", "1,2,3,4,5,6,7,8,9,x", "1,2,3,4,5,6,7,8,9,10,11", "5000000000,2,3,4,5,6,7,8,9,10"] {
            assert_eq!(RoomSight::from_line(wrong), None, "{wrong}");
        }
        let counted = Counted { joins: 1, polls: 2, errors: 3 };
        assert_eq!(Sums::from_line("1,2,3,4"), Some(Sums { counted, failed_payments: 4 }));
        assert_eq!(Sums::from_line("1,2,3"), None, "of a version that knew of no payments");
    }

    #[test]
    fn rates_are_what_was_added_since_the_point_before() {
        let mut chart = Chart::default();
        chart.extend([point(10, 100, sight(5, 1)), point(11, 130, sight(8, 3)), point(14, 136, sight(8, 0))]);
        let failed: Vec<_> = chart.since(0).iter().map(|second| second.failed_payments).collect();
        assert_eq!(failed, [None, Some(3.0), Some(0.0)]);
        let rates: Vec<_> = chart.since(0).iter().map(|second| (second.joins, second.admitted, second.sold)).collect();
        let expected = [(None, None, None), (Some(30.0), Some(3.0), Some(2.0)), (Some(2.0), Some(0.0), Some(-1.0))];
        assert_eq!(rates, expected);
        // Sums that began anew, and a room that did.
        let anew = RoomSight { epoch: 99, ..sight(1, 0) };
        chart.extend([point(15, 4, anew)]);
        let last = chart.since(14)[0];
        assert_eq!((last.joins, last.admitted), (None, None));
    }

    #[test]
    fn a_quarter_of_an_hour_is_kept_and_no_more() {
        let mut chart = Chart::default();
        chart.extend((1..=2_000).map(|second| point(second, 0, sight(0, 0))));
        let kept = chart.since(0);
        assert_eq!((kept.len(), kept[0].point.second, chart.latest()), (900, 1_101, Some(2_000)));
        assert_eq!(chart.since(1_998).len(), 2);
        // After a pause, those that are too old by now are let go as well.
        chart.extend([point(2_800, 0, sight(0, 0))]);
        assert_eq!(chart.since(0).len(), 101);
    }
}
