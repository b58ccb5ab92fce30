//! Was anybody overtaken? Judged by what the visitors themselves were told.
//!
//! The gateway admits the lowest positions among those present. A visitor sees only answers to their
//! own polls, and sees an admission only when they next come as told. So the order in which two
//! visitors *notice* their admission proves nothing: the one who was admitted first may have been
//! told to come back later. What does prove something:
//!
//! > A visitor **A** was overtaken if A, who had always come when told to (within the slack), sent a
//! > poll more than the slack *after* some **B** with a higher position had already been told
//! > "admitted", and A's answer was still "waiting".
//!
//! The slack covers what the design allows: each gateway answers from a table that is refreshed a
//! few times a second. A visitor who came late may have been set aside as absent, and is not judged
//! for polls after that. Positions are compared within one run and one concert; nothing here needs
//! clocks of other machines.

use std::collections::HashMap;
use std::time::Duration;

/// How many examples of a broken order are kept.
const EXAMPLES_MAX: usize = 5;

/// What was told to whom and when. One entry per visitor in each list.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderLog {
    /// Time of the answer and position, in the order of the answers.
    admissions: Vec<(Duration, u64)>,
    /// By position: when the visitor last sent, on time, a request that was answered "waiting".
    last_waiting: HashMap<u64, Duration>,
}

/// What [`OrderLog::judge`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OrderVerdict {
    /// Visitors whose admission was seen.
    pub(crate) admitted: usize,
    /// Visitors who had to wait and whose waiting was judged.
    pub(crate) judged: usize,
    /// Visitors who were overtaken.
    pub(crate) overtaken: usize,
    /// The first few of them, in words.
    pub(crate) examples: Vec<String>,
    /// Visitors who *noticed* their admission after somebody with a higher position had noticed theirs:
    /// the effect of polling, not a fault.
    pub(crate) noticed_later: usize,
}

impl OrderLog {
    pub(crate) fn admitted(&mut self, at: Duration, position: u64) {
        self.admissions.push((at, position));
    }

    pub(crate) fn waiting(&mut self, sent: Duration, position: u64, on_time: bool) {
        if on_time {
            let last = self.last_waiting.entry(position).or_default();
            *last = sent.max(*last);
        }
    }

    pub(crate) fn judge(&self, slack: Duration) -> OrderVerdict {
        let front = Front::new(&self.admissions);
        let mut verdict = OrderVerdict {
            admitted: self.admissions.len(),
            judged: self.last_waiting.len(),
            ..OrderVerdict::default()
        };
        let mut waiting: Vec<_> = self.last_waiting.iter().collect();
        waiting.sort_unstable();
        for (&position, &sent) in waiting {
            let Some((at, higher)) = sent.checked_sub(slack).and_then(|before| front.at(before)) else {
                continue;
            };
            if higher > position {
                verdict.overtaken += 1;
                if verdict.examples.len() < EXAMPLES_MAX {
                    verdict.examples.push(format!(
                        "position {position} was told \"waiting\" at {:.2} s, but position {higher} \"admitted\" at {:.2} s",
                        sent.as_secs_f64(),
                        at.as_secs_f64()
                    ));
                }
            }
        }
        verdict.noticed_later = self
            .admissions
            .iter()
            .filter(|(at, position)| front.at(*at).is_some_and(|(_, top)| top > *position))
            .count();
        verdict
    }
}

/// The highest position that had been told "admitted", by time.
struct Front(Vec<(Duration, u64)>);

impl Front {
    fn new(admissions: &[(Duration, u64)]) -> Self {
        let mut by_time = admissions.to_vec();
        by_time.sort_unstable();
        let mut steps: Vec<(Duration, u64)> = Vec::new();
        for (at, position) in by_time {
            if steps.last().is_none_or(|(_, top)| position > *top) {
                steps.push((at, position));
            }
        }
        Self(steps)
    }

    /// The highest position admitted before `time`, and when it was.
    fn at(&self, time: Duration) -> Option<(Duration, u64)> {
        let count = self.0.partition_point(|(at, _)| *at < time);
        self.0[..count].last().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLACK: Duration = Duration::from_millis(500);

    fn log(admissions: &[(u64, u64)], waiting: &[(u64, u64)]) -> OrderLog {
        let mut log = OrderLog::default();
        for (at, position) in admissions {
            log.admitted(Duration::from_millis(*at), *position);
        }
        for (sent, position) in waiting {
            log.waiting(Duration::from_millis(*sent), *position, true);
        }
        log
    }

    #[test]
    fn in_order_is_in_order() {
        let verdict = log(&[(100, 1), (200, 2), (300, 3)], &[(50, 2), (150, 3)]).judge(SLACK);
        assert_eq!((verdict.overtaken, verdict.noticed_later, verdict.judged), (0, 0, 2));
    }

    #[test]
    fn noticing_later_is_not_being_overtaken() {
        // 2 was told to come back at 900; 3 happened to ask earlier.
        let verdict = log(&[(100, 1), (300, 3), (900, 2)], &[(50, 2)]).judge(SLACK);
        assert_eq!((verdict.overtaken, verdict.noticed_later), (0, 1));
    }

    #[test]
    fn waiting_on_after_a_higher_one_is_in_is_being_overtaken() {
        let verdict = log(&[(300, 3), (2_000, 2)], &[(50, 2), (1_000, 2)]).judge(SLACK);
        assert_eq!(verdict.overtaken, 1);
        assert!(verdict.examples[0].contains("position 2"), "{:?}", verdict.examples);
        // Also for one who never got in.
        assert_eq!(log(&[(300, 3)], &[(1_000, 2)]).judge(SLACK).overtaken, 1);
        // Within the slack it is the gateways' refresh.
        assert_eq!(log(&[(300, 3)], &[(790, 2)]).judge(SLACK).overtaken, 0);
        // A lower one may be in.
        assert_eq!(log(&[(300, 1)], &[(1_000, 2)]).judge(SLACK).overtaken, 0);
    }

    #[test]
    fn who_came_late_is_not_judged_for_it() {
        let mut late = log(&[(300, 3)], &[(100, 2)]);
        late.waiting(Duration::from_secs(10), 2, false);
        assert_eq!(late.judge(SLACK).overtaken, 0);
    }
}
