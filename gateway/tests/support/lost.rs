//! What the tests of lost rooms share.

use std::time::Duration;

use common::ids::UserId;
use gateway::domain::recovery::{Epoch, Evidence, Moment, Place, Word};

use super::Rig;

/// Longer than offers are held back after the front of the line is back.
pub const RETURNED: Duration = Duration::from_secs(4);

/// Makes the rig a gateway that has seen the room as it is.
pub async fn look(rig: &mut Rig) -> Epoch {
    let counts = rig.counts().await;
    let (epoch, version) = (counts.epoch, counts.version);
    rig.context.seen = Evidence { epoch, version, position: counts.seq, frontier: counts.frontier };
    epoch
}

pub fn word(user: UserId, position: u32, place: Place, epoch: Epoch, version: u64) -> Word {
    Word { user, position, place, at: Moment { epoch, version } }
}
