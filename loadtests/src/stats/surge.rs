//! What a surge took.

use crate::client::WaitedInFlight;
use crate::stats::overload::OverloadFigures;
use crate::usage::Usage;

/// Beside the figures that every run has.
#[derive(Debug, Clone, Default)]
pub(crate) struct SurgeFigures {
    pub(crate) usage: Usage,
    /// Requests of the generator that waited for a connection.
    pub(crate) waited: WaitedInFlight,
    /// What became of many times the load that can be served, where it was asked for.
    pub(crate) overload: Option<OverloadFigures>,
}
