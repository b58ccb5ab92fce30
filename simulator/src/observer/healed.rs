//! What holds once nothing is wrong any more.

use super::room::RoomState;
use super::{Observer, Promise};
use crate::site::user;

/// Within this time after the healing everything is as it should be again.
pub(super) const HEALED_WITHIN_MS: i64 = 10_000;
/// How long turns may stand still then beyond what the rate says: ticks, and polls on their way.
const STALL_SLACK_MS: f64 = 2_500.0;

impl Observer {
    /// Whether everything is as it should be again.
    pub(super) fn is_healed(&self, now_ms: i64) -> bool {
        self.healed_at_ms.is_some_and(|healed_at_ms| now_ms >= healed_at_ms + HEALED_WITHIN_MS)
    }

    /// Turns are given where somebody waits and there is room.
    pub(super) fn check_turns_go_on(&mut self, before: &RoomState, state: &RoomState, now_ms: i64) {
        let max_active = usize::try_from(self.room.max_active).unwrap_or(usize::MAX);
        let could = |state: &RoomState| !state.waiting.is_empty() && state.inside() < max_active;
        if !self.is_healed(now_ms) || !could(before) || !could(state) {
            self.stalled_since_ms = None;
            return;
        }
        let since_ms = *self.stalled_since_ms.get_or_insert(now_ms);
        #[expect(clippy::cast_possible_truncation, reason = "some seconds")]
        let at_most_ms = (1_000.0 / self.room.per_second() + STALL_SLACK_MS) as i64;
        if now_ms - since_ms > at_most_ms {
            let (waiting, inside) = (state.waiting.len(), state.inside());
            let what = format!("{waiting} wait, {inside} of {max_active} are inside, and no turn for {at_most_ms} ms");
            self.broken(Promise::TurnsGoOn, None, what);
            self.stalled_since_ms = None;
        }
    }

    /// At the end everybody who was answered a place and has not left is asked where they stand. Whether the visitor was
    /// answered at all.
    pub(crate) fn called_in(&mut self, visitor: u32, is_answered: bool) {
        if !is_answered {
            self.broken(Promise::AnswersComeBack, Some(user(visitor)), "no answer at the end");
        }
    }
}
