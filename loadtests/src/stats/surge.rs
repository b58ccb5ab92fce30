//! What a surge took.

use crate::client::WaitedInFlight;
use crate::usage::Usage;

/// Beside the figures that every run has.
#[derive(Debug, Clone, Default)]
pub(crate) struct SurgeFigures {
    pub(crate) usage: Usage,
    /// Requests of the generator that waited for a connection.
    pub(crate) waited: WaitedInFlight,
}
