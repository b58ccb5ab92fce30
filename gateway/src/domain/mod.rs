//! Places in line and what is told about them. Knows neither HTTP nor Redis.

mod chart;
mod concert;
mod error;
mod estimate;
mod event;
mod outlook;
mod protected;
mod settings;
mod standing;
mod view;

pub use chart::{CHART_SECONDS, Chart, Counted, Point, RoomSight, Second, Sums};
pub use concert::{ConcertFacts, SaleStatus};
pub use error::QueueError;
pub use estimate::{Pace, WaitEstimate};
pub use event::{Event, Happened};
pub use outlook::{Outlook, Stock};
pub use protected::{AmbiguousPath, ProtectedRoutes};
pub use settings::{Mode, Order, RoomDefaults, RoomSettings, SettingsInForce};
pub use standing::{Lease, Standing};
#[cfg(test)]
pub(crate) use view::tests::for_tests as view_for_tests;
pub use view::{DrawState, RankTable, RateMeter, RoomCounts, RoomView};

use std::time::Duration;

/// How long after a promised poll someone still counts as present.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(10);
/// The longest that anyone is told to wait between two polls.
pub const MAX_POLL_AFTER: Duration = Duration::from_secs(30);
/// Within this time everyone near the front has been asked to poll, so that a missing sign means absence.
pub const SETTLE: Duration = Duration::from_secs(45);

/// How many people from the front are watched for presence, at this many admissions a second: a minute and a half of
/// admissions, and never fewer than a thousand.
pub fn reach(admit_per_second: f64) -> u32 {
    const AT_MOST: f64 = 1_000_000.0;
    // Clamped between two small constants before the cast.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let reach = (admit_per_second * 90.0).clamp(1_000.0, AT_MOST) as u32;
    reach
}
