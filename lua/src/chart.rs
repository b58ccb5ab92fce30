//! What operators see of a room: a point a second, written by whichever gateway comes first.

use crate::script::Script;

/// The chart's verbs.
#[derive(Debug)]
pub struct ChartScripts {
    /// Takes in what a gateway has counted, and writes the second's point.
    pub add: Script,
}

impl Default for ChartScripts {
    fn default() -> Self {
        Self { add: Script::new("chart/add", include_str!("../chart/add.lua"), 2) }
    }
}

impl ChartScripts {
    /// All of them.
    pub fn all(&self) -> [&Script; 1] {
        [&self.add]
    }
}
