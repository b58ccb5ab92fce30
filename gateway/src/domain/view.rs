//! A room as one gateway remembers it between two looks at Redis: enough to answer almost every poll.

use std::collections::VecDeque;

/// How a room is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In line, at the rate and capacity that are set.
    Queue,
    /// Everyone is let in at once.
    Passthrough,
    /// Nobody is let in.
    Closed,
}

/// A room's numbers at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoomCounts {
    /// Which life of the room it is.
    pub epoch: u32,
    /// When it was read, in ms, by the clock of Redis.
    pub now_ms: i64,
    /// The highest position given.
    pub seq: u32,
    /// The highest position that had its turn.
    pub frontier: u32,
    /// People in line.
    pub waiting: u32,
    /// People whose turn came while they were absent.
    pub away: u32,
    /// Turns that may be claimed.
    pub offers: u32,
    /// People inside.
    pub leased: u32,
    /// Turns given since the room began.
    pub admitted: u64,
    /// How it is run.
    pub mode: Mode,
    /// Whether admissions are stopped for now.
    pub paused: bool,
    /// The rate that is set.
    pub admit_per_second: f64,
    /// How many turns may come at once after a lull.
    pub burst: u32,
    /// The capacity that is set.
    pub max_active: u32,
    /// When it opens, in ms of Unix time; 0 where it is open.
    pub opens_at_ms: i64,
    /// How long a turn may be claimed, in ms.
    pub claim_ms: u32,
    /// How long an admission lasts, in ms.
    pub session_ms: u32,
}

/// Positions and how many people in line are before them: exact at the front, interpolated further back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RankTable {
    entries: Vec<(u32, u32)>,
}

impl RankTable {
    /// From pairs of position and rank, both rising.
    pub fn new(entries: Vec<(u32, u32)>) -> Self {
        Self { entries }
    }

    /// How many people in line are before `position`, where `seq` was the highest position when the table was read.
    pub fn ahead(&self, position: u32, seq: u32) -> u32 {
        let after = self.entries.partition_point(|(known, _)| *known < position);
        let Some(&(before_position, before_rank)) = after.checked_sub(1).and_then(|at| self.entries.get(at)) else {
            // Before everyone in the table: either nobody is in front, or only those who joined since it was read.
            return if self.entries.is_empty() { position.saturating_sub(seq).saturating_sub(1) } else { 0 };
        };
        match self.entries.get(after) {
            Some(&(known, rank)) if known == position => rank,
            Some(&(known, rank)) => {
                let (gap, into) = (u64::from(known - before_position), u64::from(position - before_position));
                let between = u64::from(rank - before_rank - 1) * into / gap;
                before_rank + 1 + u32::try_from(between).unwrap_or(0)
            }
            // Behind the last one in line: all of those, and whoever joined between the reading and this person.
            None => before_rank + 1 + position.saturating_sub(seq.max(before_position)).saturating_sub(1),
        }
    }
}

/// What a gateway remembers of a room.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomView {
    /// Its numbers.
    pub counts: RoomCounts,
    /// Who stands where.
    pub ranks: RankTable,
    /// Turns given a second, of late; `None` while too little was seen, or nobody was waiting.
    pub measured_per_second: Option<f64>,
}

impl RoomView {
    /// How many people in line are before `position`.
    pub fn ahead(&self, position: u32) -> u32 {
        self.ranks.ahead(position, self.counts.seq)
    }

    /// Whether people are let in at all at this moment.
    pub fn is_admitting(&self) -> bool {
        !self.counts.paused && self.counts.mode != Mode::Closed && self.counts.opens_at_ms <= self.counts.now_ms
    }
}

/// Measures how fast turns are given, from the room's counter, over the last seconds in which someone was waiting.
#[derive(Debug, Default)]
pub struct RateMeter {
    samples: VecDeque<(i64, u64)>,
    epoch: u32,
}

impl RateMeter {
    const WINDOW_MS: i64 = 20_000;
    const AT_LEAST_MS: i64 = 2_000;

    /// Takes a look at the counter and tells the rate where it is known.
    pub fn observe(&mut self, counts: &RoomCounts) -> Option<f64> {
        let idle = counts.waiting == 0;
        let restarted = counts.epoch != self.epoch
            || self.samples.back().is_some_and(|(at, admitted)| counts.now_ms < *at || counts.admitted < *admitted);
        if idle || restarted {
            self.samples.clear();
            self.epoch = counts.epoch;
        }
        self.samples.push_back((counts.now_ms, counts.admitted));
        while self.samples.front().is_some_and(|(at, _)| counts.now_ms - at > Self::WINDOW_MS) {
            self.samples.pop_front();
        }
        let (first_at, first) = *self.samples.front()?;
        let elapsed_ms = counts.now_ms - first_at;
        // Both are far below 2^52.
        #[expect(clippy::cast_precision_loss)]
        let rate = (counts.admitted - first) as f64 * 1_000.0 / elapsed_ms as f64;
        (elapsed_ms >= Self::AT_LEAST_MS).then_some(rate)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn counts() -> RoomCounts {
        RoomCounts {
            epoch: 1,
            now_ms: 1_000_000,
            seq: 0,
            frontier: 0,
            waiting: 0,
            away: 0,
            offers: 0,
            leased: 0,
            admitted: 0,
            mode: Mode::Queue,
            paused: false,
            admit_per_second: 10.0,
            burst: 5,
            max_active: 100,
            opens_at_ms: 0,
            claim_ms: 30_000,
            session_ms: 600_000,
        }
    }

    #[test]
    fn ahead_is_exact_where_the_table_is_and_bounded_between() {
        let table = RankTable::new(vec![(10, 0), (11, 1), (15, 2), (115, 52), (300, 99)]);
        for (position, ahead) in [(1, 0), (10, 0), (11, 1), (15, 2), (115, 52), (300, 99), (301, 100), (305, 104)] {
            assert_eq!(table.ahead(position, 300), ahead, "position {position}");
        }
        for position in 16..115 {
            let ahead = table.ahead(position, 300);
            assert!((3..=52).contains(&ahead), "position {position}: {ahead}");
            assert!(ahead <= table.ahead(position + 1, 300), "position {position}");
        }
    }

    #[test]
    fn who_joined_after_the_reading_is_behind_whoever_was_there() {
        assert_eq!(RankTable::default().ahead(8, 7), 0);
        assert_eq!(RankTable::default().ahead(10, 7), 2);
        // 300 was the last in line, but numbers up to 400 had been given (and are inside or gone).
        assert_eq!(RankTable::new(vec![(300, 0)]).ahead(401, 400), 1);
    }

    #[test]
    fn the_rate_is_what_the_counter_shows_while_people_wait() {
        let mut meter = RateMeter::default();
        let at = |ms: i64, admitted: u64, waiting: u32| RoomCounts { now_ms: ms, admitted, waiting, ..counts() };
        assert_eq!(meter.observe(&at(0, 0, 5)), None);
        assert_eq!(meter.observe(&at(1_000, 10, 5)), None);
        assert_eq!(meter.observe(&at(4_000, 40, 5)), Some(10.0));
        assert_eq!(meter.observe(&at(5_000, 40, 0)), None, "nobody waits: nothing is measured");
        assert_eq!(meter.observe(&at(9_000, 48, 5)), Some(2.0));
        assert_eq!(meter.observe(&at(8_000, 48, 5)), None, "a clock set back begins anew");
    }
}
