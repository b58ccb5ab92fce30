//! A room as one gateway remembers it between two looks at Redis: enough to answer almost every poll.

use std::collections::VecDeque;

use super::{SettingsInForce, reach};

/// How far the draw of a room has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrawState {
    /// There is none.
    None,
    /// People gather for it.
    Pending,
    /// It is made; the positions are being given out.
    Dealing,
    /// Everyone has their position.
    Done,
}

impl DrawState {
    /// The scripts' word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Pending => "pending",
            Self::Dealing => "dealing",
            Self::Done => "done",
        }
    }

    /// Reads that word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::None, Self::Pending, Self::Dealing, Self::Done].into_iter().find(|state| state.as_str() == word)
    }
}

/// A room's numbers at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomCounts {
    /// Which life of the room it is.
    pub epoch: u32,
    /// When it was read, in ms, by the clock of Redis.
    pub now_ms: i64,
    /// Changes to the room so far: a room that shows fewer has lost its latest part.
    pub changes: u64,
    /// The highest position given.
    pub seq: u32,
    /// The highest position that had its turn.
    pub frontier: u32,
    /// People in line.
    pub waiting: u32,
    /// People whose turn came while they were absent.
    pub away: u32,
    /// People near the front who were heard of.
    pub present: u32,
    /// Turns that may be claimed.
    pub offers: u32,
    /// People inside.
    pub leased: u32,
    /// People in the draw who have no position yet.
    pub gathered: u32,
    /// Turns given so far.
    pub admitted: u64,
    /// Turns passed over so far, because somebody was absent.
    pub passed_over: u64,
    /// When turns begin, in ms of Unix time; 0 where they have.
    pub opens_at_ms: i64,
    /// Whether what the room has forgotten is still being put back.
    pub rebuilding: bool,
    /// How many numbers took part in the draw.
    pub entries: u32,
    /// Batches of events that are not recorded yet.
    pub unrecorded: u32,
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

    /// The position at a rank or the next one known behind it; `None` where fewer are in line.
    pub fn position_at(&self, rank: u32) -> Option<u32> {
        let at = self.entries.partition_point(|(_, known)| *known < rank);
        self.entries.get(at).map(|(position, _)| *position)
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
#[derive(Debug, Clone)]
pub struct RoomView {
    /// Its numbers.
    pub counts: RoomCounts,
    /// How it is run.
    pub settings: SettingsInForce,
    /// How far its draw has come.
    pub draw: DrawState,
    /// Who stands where.
    pub ranks: RankTable,
    /// How fast the line moved of late; `None` while too little was seen, or nobody was waiting.
    pub measured: Option<MeasuredPace>,
}

/// How fast a line moved of late, in places of the line a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MeasuredPace {
    /// Turns given and places passed over.
    pub moved_per_second: f64,
    /// How fast it would have moved if turns had been given only as others went out again: what a full room can keep up.
    pub sustained_per_second: f64,
}

impl RoomView {
    /// How many people in line are before `position`.
    pub fn ahead(&self, position: u32) -> u32 {
        self.ranks.ahead(position, self.counts.seq)
    }

    /// The position up to which people are expected to show that they are there.
    pub fn expected_up_to(&self) -> u32 {
        self.ranks.position_at(reach(self.settings.admit_per_second)).unwrap_or(self.counts.seq)
    }

    /// Whether positions are only entries for the draw yet.
    pub fn is_undrawn(&self) -> bool {
        matches!(self.draw, DrawState::Pending | DrawState::Dealing)
    }

    /// How fast the line moved of late, in people a second; 0 while that is not known.
    pub fn moved_per_second(&self) -> f64 {
        self.measured.map_or(0.0, |pace| pace.moved_per_second)
    }

    /// How many people wait, whatever they wait for.
    pub fn in_line(&self) -> u32 {
        self.counts.waiting + self.counts.gathered
    }
}

/// Measures how fast the line moves, from the room's counters of turns given and passed over, over the last minute in
/// which someone was waiting.
#[derive(Debug, Default)]
pub struct RateMeter {
    samples: VecDeque<Sample>,
    epoch: u32,
    settings_version: u32,
    known: Option<MeasuredPace>,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ms: i64,
    given: u64,
    passed_over: u64,
    active: u32,
}

impl Sample {
    fn of(counts: &RoomCounts) -> Self {
        let active = counts.offers.saturating_add(counts.leased);
        Self { at_ms: counts.now_ms, given: counts.admitted, passed_over: counts.passed_over, active }
    }

    /// Whether a room can look like this after it looked like `earlier`.
    fn may_follow(&self, earlier: &Self) -> bool {
        self.at_ms >= earlier.at_ms && self.given >= earlier.given && self.passed_over >= earlier.passed_over
    }

    /// The pace from `earlier` on. All counts are far below 2^52.
    #[expect(clippy::cast_precision_loss)]
    fn pace_since(&self, earlier: &Self) -> MeasuredPace {
        let seconds = (self.at_ms - earlier.at_ms) as f64 / 1_000.0;
        let given = (self.given - earlier.given) as f64;
        let moved = given + (self.passed_over - earlier.passed_over) as f64;
        let went_out = (given - (f64::from(self.active) - f64::from(earlier.active))).max(0.0);
        let sustained = if given > 0.0 { moved * went_out / given } else { 0.0 };
        MeasuredPace { moved_per_second: moved / seconds, sustained_per_second: sustained / seconds }
    }
}

impl RateMeter {
    /// Longer than turns that nobody claims keep their places: a full room moves in waves of that length, and a shorter
    /// look would take each for the pace.
    const WINDOW_MS: i64 = 60_000;
    const AT_LEAST_MS: i64 = 2_000;

    /// Takes a look at the counters, in a room run by that version of its settings, and tells the pace where it is known.
    pub fn observe(&mut self, counts: &RoomCounts, settings_version: u32) -> Option<MeasuredPace> {
        let now = Sample::of(counts);
        let restarted = counts.epoch != self.epoch || self.samples.back().is_some_and(|before| !now.may_follow(before));
        // It is measured from when there is a line: those who came just before had the turns saved up in a lull.
        let idle = counts.waiting == 0;
        if idle || restarted || settings_version != self.settings_version {
            self.samples.clear();
            self.epoch = counts.epoch;
            self.settings_version = settings_version;
        }
        if idle || restarted {
            self.known = None;
        }
        if idle {
            return None;
        }
        self.samples.push_back(now);
        while self.samples.front().is_some_and(|first| now.at_ms - first.at_ms > Self::WINDOW_MS) {
            self.samples.pop_front();
        }
        let first = self.samples.front()?;
        if now.at_ms - first.at_ms >= Self::AT_LEAST_MS {
            self.known = Some(now.pace_since(first));
        }
        self.known
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::super::{RoomDefaults, RoomSettings};
    use super::*;

    pub(crate) fn settings() -> RoomSettings {
        RoomSettings::from(RoomDefaults {
            admit_per_second: 10.0,
            burst: 5,
            max_active: 100,
            session: Duration::from_mins(10),
            claim: Duration::from_secs(30),
        })
    }

    pub(crate) fn view(counts: RoomCounts, settings: RoomSettings, measured_per_second: Option<f64>) -> RoomView {
        RoomView {
            counts,
            settings: settings.into(),
            draw: DrawState::None,
            ranks: RankTable::default(),
            // A room where as many go out as come in.
            measured: measured_per_second
                .map(|rate| MeasuredPace { moved_per_second: rate, sustained_per_second: rate }),
        }
    }

    /// An empty room that admits ten a second.
    pub(crate) fn for_tests() -> RoomView {
        view(counts(), settings(), None)
    }

    pub(crate) fn counts() -> RoomCounts {
        RoomCounts {
            epoch: 1,
            now_ms: 1_000_000,
            changes: 1,
            seq: 0,
            frontier: 0,
            waiting: 0,
            away: 0,
            present: 0,
            offers: 0,
            leased: 0,
            gathered: 0,
            admitted: 0,
            passed_over: 0,
            opens_at_ms: 0,
            rebuilding: false,
            entries: 0,
            unrecorded: 0,
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

    fn at(now_ms: i64, admitted: u64, waiting: u32) -> RoomCounts {
        RoomCounts { now_ms, waiting, admitted, ..counts() }
    }

    fn moved(measured: Option<MeasuredPace>) -> Option<f64> {
        measured.map(|pace| pace.moved_per_second)
    }

    #[test]
    fn the_rate_is_what_the_counter_shows_while_people_wait() {
        let mut meter = RateMeter::default();
        assert_eq!(moved(meter.observe(&at(0, 0, 5), 0)), None);
        assert_eq!(moved(meter.observe(&at(1_000, 10, 5), 0)), None);
        assert_eq!(moved(meter.observe(&at(4_000, 40, 5), 0)), Some(10.0));
        let passed_over = RoomCounts { passed_over: 20, ..at(5_000, 40, 5) };
        assert_eq!(moved(meter.observe(&passed_over, 0)), Some(12.0), "the line moves past those who are absent, too");
        let earlier = RoomCounts { now_ms: 4_500, ..passed_over };
        assert_eq!(moved(meter.observe(&earlier, 0)), None, "a clock set back begins anew");
    }

    #[test]
    fn what_was_saved_up_in_a_lull_is_not_the_pace_of_the_line() {
        let mut meter = RateMeter::default();
        assert_eq!(moved(meter.observe(&at(0, 0, 0), 0)), None, "nobody waits: nothing is measured");
        // Two hundred walk in, the next ones wait.
        assert_eq!(moved(meter.observe(&at(250, 200, 5), 0)), None);
        assert_eq!(moved(meter.observe(&at(4_250, 240, 5), 0)), Some(10.0));
    }

    #[test]
    fn a_minute_is_looked_back() {
        let mut meter = RateMeter::default();
        for second in 0..=200_u32 {
            // Waves: ten turns a second for twenty seconds, then none for twenty.
            let turns = u64::from(second / 40 * 200 + (second % 40).min(20) * 10);
            let rate = meter.observe(&at(i64::from(second) * 1_000, turns, 5), 0);
            assert!(second < 60 || moved(rate).is_some_and(|rate| (3.3..=6.7).contains(&rate)), "{second} s: {rate:?}");
        }
    }

    #[test]
    fn after_a_change_of_settings_what_was_measured_holds_until_there_is_something_new() {
        let mut meter = RateMeter::default();
        moved(meter.observe(&at(0, 0, 5), 1));
        assert_eq!(moved(meter.observe(&at(30_000, 300, 5), 1)), Some(10.0));
        assert_eq!(moved(meter.observe(&at(30_250, 303, 5), 2)), Some(10.0));
        assert_eq!(moved(meter.observe(&at(32_250, 503, 5), 2)), Some(100.0));
    }

    #[test]
    fn what_a_room_can_keep_up_is_how_fast_people_go_out_again() {
        let mut meter = RateMeter::default();
        let at = |now_ms: i64, given: u64, passed_over: u64, leased: u32| RoomCounts {
            leased,
            passed_over,
            ..at(now_ms, given, 500)
        };
        meter.observe(&at(0, 0, 0, 0), 1);
        let filling = meter.observe(&at(4_000, 400, 0, 300), 1);
        assert_eq!(filling, Some(MeasuredPace { moved_per_second: 100.0, sustained_per_second: 25.0 }));
        // Half of those whose turn it was had given up: the line moves twice as fast as people go out.
        let full = meter.observe(&at(8_000, 400, 400, 300), 1);
        assert_eq!(full, Some(MeasuredPace { moved_per_second: 100.0, sustained_per_second: 25.0 }));
        let steady = RoomCounts { epoch: 2, ..at(0, 0, 0, 300) };
        meter.observe(&steady, 1);
        let steady = meter.observe(&RoomCounts { epoch: 2, ..at(10_000, 400, 100, 300) }, 1);
        assert_eq!(steady, Some(MeasuredPace { moved_per_second: 50.0, sustained_per_second: 50.0 }));
    }
}
