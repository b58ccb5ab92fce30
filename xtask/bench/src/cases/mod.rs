//! What is measured.

mod draining;
mod proxying;
mod queueing;
mod selling;
mod streaming;

use anyhow::Result;

use crate::compare::Extent;
use crate::figures::Row;

/// A part of the bench: lines that share a site.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// The lines that it measures, by name.
    pub(crate) names: &'static [&'static str],
    run: Run,
}

#[derive(Debug, Clone, Copy)]
enum Run {
    Queueing,
    Draining,
    Proxying,
    Selling,
    Streaming,
}

/// All parts, in the order of the table.
pub(crate) const PARTS: [Part; 5] = [
    Part { names: queueing::NAMES, run: Run::Queueing },
    Part { names: draining::NAMES, run: Run::Draining },
    Part { names: proxying::NAMES, run: Run::Proxying },
    Part { names: selling::NAMES, run: Run::Selling },
    Part { names: streaming::NAMES, run: Run::Streaming },
];

impl Part {
    /// Measures those lines of it that are `wanted`.
    pub(crate) async fn measure(self, extent: Extent, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Row>> {
        match self.run {
            Run::Queueing => queueing::measure(extent, wanted).await,
            Run::Draining => draining::measure(extent).await,
            Run::Proxying => proxying::measure(extent, wanted).await,
            Run::Selling => selling::measure(extent, wanted).await,
            Run::Streaming => streaming::measure(extent, wanted).await,
        }
    }
}
