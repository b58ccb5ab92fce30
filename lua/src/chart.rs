//! What operators see of a room: a point a second, written by whichever gateway comes first, of what gateways and core-apis
//! have counted.

use crate::script::Script;

/// The chart's verbs.
#[derive(Debug)]
pub struct ChartScripts {
    /// Takes in what a gateway has counted, and writes the second's point.
    pub add: Script,
    /// Counts payments that came to nothing.
    pub fail: Script,
}

impl Default for ChartScripts {
    fn default() -> Self {
        Self {
            // Sums and points.
            add: Script::new("chart/add", include_str!("../chart/add.lua"), 2),
            // Sums.
            fail: Script::new("chart/fail", include_str!("../chart/fail.lua"), 1),
        }
    }
}

impl ChartScripts {
    /// All of them.
    pub fn all(&self) -> [&Script; 2] {
        [&self.add, &self.fail]
    }
}
