//! What happened in a world, line by line. Two runs of the same seed write the same bytes.

use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::VirtualClock;

/// Lines kept of one world; a longer run has lost its order anyway.
const LINES_MAX: usize = 200_000;

/// The log of one world. Cloning it shares it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    clock: VirtualClock,
    lines: Arc<Mutex<Vec<Line>>>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When it was written, in ms since the world began.
    pub at_ms: i64,
    /// The people and gateways that it is about, to find what led to a failure.
    pub about: Option<u32>,
    /// What it says.
    pub text: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>4}.{:03}  {}", self.at_ms / 1_000, self.at_ms % 1_000, self.text)
    }
}

impl Log {
    /// An empty one.
    pub(crate) fn new(clock: VirtualClock) -> Self {
        Self { clock, lines: Arc::default() }
    }

    /// Writes what concerns the whole world.
    pub(crate) fn world(&self, text: impl std::fmt::Display) {
        self.add(None, text);
    }

    /// Writes what concerns one visitor, by number.
    pub(crate) fn visitor(&self, visitor: u32, text: impl std::fmt::Display) {
        self.add(Some(visitor), format_args!("v{visitor:02} {text}"));
    }

    /// Now, in ms since the world began.
    pub(crate) fn now_ms(&self) -> i64 {
        self.clock.elapsed_ms()
    }

    /// All lines.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, about: Option<u32>, text: impl std::fmt::Display) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(Line { at_ms: self.clock.elapsed_ms(), about, text: text.to_string() });
        }
    }
}
