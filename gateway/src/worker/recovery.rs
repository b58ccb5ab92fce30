//! Opening a room's next epoch, and deciding about people whom the room does not know.

use std::time::Duration;

use common::ids::UserId;
use tokio::time::Instant;

use super::room::Room;
use crate::domain::recovery::{
    Epoch, Evidence, Place, Shown, Verdict, Word, by_record, gap, next_epoch, without_record,
};
use crate::domain::{QueueError, Standing};
use crate::store::record::RecordError;
use crate::store::{Lost, Opening};

/// How long a gateway that claimed an epoch in the record has to open it, before another one claims the next.
const OPENS_WITHIN: Duration = Duration::from_secs(1);
/// People whom the record is asked about at once; others wait.
pub(super) const LOOK_UPS: usize = 4;

/// An epoch that another gateway claimed, and since when this one waits for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited {
    epoch: Epoch,
    since: Instant,
}

impl From<RecordError> for QueueError {
    fn from(error: RecordError) -> Self {
        Self::StoreAway(error.to_string())
    }
}

impl Room {
    /// Opens the epoch after the one that was found lost. Where another gateway is about to, or did, nothing is done; the next
    /// look at the room shows it.
    pub(super) async fn open_next_epoch(&self, lost: Lost) -> Result<(), QueueError> {
        self.note_seen(lost.proof);
        let seen = self.seen_so_far();
        let row = match &self.record {
            Some(record) => record.room(self.concert).await?,
            None => None,
        };
        let recorded = row.map_or(0, |row| row.at.epoch);
        // An epoch that this gateway has never seen in Redis may be about to be opened by the one that claimed it.
        if recorded > lost.epoch.max(self.seen_epoch()) && !self.waited_for(recorded) {
            return Ok(());
        }
        let epoch = next_epoch(lost.now_ms, &[seen.epoch, lost.epoch, recorded]);
        let opening = Opening {
            lost_epoch: lost.epoch,
            epoch,
            position: seen.position.max(row.map_or(0, |row| row.position)),
            frontier: seen.frontier,
            gap: gap(self.fastest_joins_per_second()),
            rebuild: seen.epoch > 0 || lost.epoch > 0 || row.is_some(),
        };
        if let Some(record) = &self.record {
            // The jump is claimed with the epoch: the next epoch jumps from there, though nothing of this one may be recorded.
            let behind = if opening.rebuild { opening.position.saturating_add(opening.gap) } else { 0 };
            if !record.claim_epoch(self.concert, row.map(|row| row.at.epoch), (epoch, behind)).await? {
                return Ok(());
            }
        }
        let opened = self.store.open(&self.keys, &self.context(), &opening).await?;
        if let Some(record) = &self.record
            && let Some(now) = record.room(self.concert).await?
        {
            // This process was paused between the claim and the opening, and a later epoch came and went meanwhile.
            self.note_seen(Evidence { epoch: now.at.epoch.max(epoch), ..Evidence::default() });
        }
        if opened && opening.rebuild {
            tracing::warn!(
                concert = %self.concert, epoch, lost_epoch = lost.epoch,
                "the room's state was lost; the next epoch is open and the room is being rebuilt"
            );
        }
        Ok(())
    }

    /// Whether the room's sale is over and everybody has gone, so that it need not be opened again.
    pub(super) async fn is_over_and_empty(&self, lost: Lost) -> Result<bool, QueueError> {
        if lost.epoch > 0 || !self.context().sale_over {
            return Ok(false);
        }
        let Some(record) = &self.record else { return Ok(true) };
        let inside = record.inside(self.concert).await?;
        let is_live = |word: &Word| matches!(word.place, Place::Admitted { cap_ms, .. } if cap_ms > lost.now_ms);
        Ok(!inside.iter().any(is_live))
    }

    /// Whether the gateway that claimed this epoch had its time to open it.
    fn waited_for(&self, epoch: Epoch) -> bool {
        let mut awaited = self.awaited();
        match *awaited {
            Some(known) if known.epoch == epoch => known.since.elapsed() >= OPENS_WITHIN,
            _ => {
                *awaited = Some(Awaited { epoch, since: Instant::now() });
                false
            }
        }
    }

    /// What becomes of a person whom the room did not know in that epoch. `None` where they were put back: the room knows
    /// them now.
    pub(super) async fn decide_unknown(
        &self,
        user: UserId,
        shown: Shown,
        epoch: Epoch,
    ) -> Result<Option<Standing>, QueueError> {
        let Some(view) = self.latest_view() else { return Err(QueueError::Rebuilding) };
        let verdict = if let Some(place) = self.words.ended(user, shown.position()) {
            // This process answered their end itself; the record and the other gateways may not know of it.
            Verdict::Ended(place)
        } else if let Some(record) = &self.record {
            // The semaphore is never closed, so there is always a permit to wait for.
            let _permit = self.look_ups.acquire().await.map_err(|_| QueueError::Overloaded)?;
            let words = record.persons(self.concert, &[user]).await?;
            by_record(shown, words.first(), view.counts.now_ms)
        } else {
            without_record(shown, epoch, view.counts.base_frontier)
        };
        let (position, place) = match verdict {
            Verdict::Reinstate(position, place) => (position, place),
            Verdict::Ended(place) => (shown.position(), place),
        };
        self.store.reinstate(&self.keys, &self.context(), epoch, (user, position, place)).await?;
        Ok(match verdict {
            Verdict::Reinstate(..) => None,
            Verdict::Ended(Place::Expired) => Some(Standing::Expired),
            Verdict::Ended(_) => Some(Standing::Left),
        })
    }
}
