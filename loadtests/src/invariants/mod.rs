//! What must always hold (points 1–4 of the design), asked of the stores themselves.
//!
//! Each check has a name and answers with how often it is broken and some examples. The queries run
//! in one snapshot, so they are right at every instant, also in the middle of a run.

mod locks;
mod sql;
mod watch;

use lua::RedisSettings;
use serde::Serialize;

pub use invariants::NAMES;
pub use sql::Database;
pub(crate) use watch::{StoreWatch, Watching};

/// The servers whose state is checked.
#[derive(Clone)]
pub struct Stores {
    /// Connection URL of `PostgreSQL`; may hold a password.
    pub database_url: String,
    /// Where the rooms are.
    pub redis: RedisSettings,
}

/// How many examples of a broken rule are kept.
const EXAMPLES_MAX: usize = 5;

/// How often a rule was broken, counted while a run lasts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Broken {
    count: u64,
    examples: Vec<String>,
}

impl Broken {
    /// Once more; `example` says it in words.
    pub(crate) fn note(&mut self, example: String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example);
        }
    }

    /// All of these together.
    fn sum<'a>(all: impl IntoIterator<Item = (&'a &'static str, &'a Self)>) -> Self {
        let mut sum = Self::default();
        for (_, broken) in all {
            sum.count += broken.count;
            sum.examples.extend(broken.examples.iter().take(EXAMPLES_MAX - sum.examples.len()).cloned());
        }
        sum
    }

    /// The verdict; `title` says what holds when the rule isn't broken.
    pub(crate) fn finding(&self, point: u8, name: &'static str, title: &str) -> Finding {
        Finding::new(point, name, title, self.count, self.examples.clone())
    }
}

/// The verdict of one check.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The point of the design it belongs to: 1 seats, 2 money, 3 order, 4 limits, 5 places.
    pub point: u8,
    /// Stable name of the check.
    pub name: &'static str,
    /// What holds when it isn't broken.
    pub title: String,
    /// How often it is broken: rows, looks or visitors.
    pub broken: u64,
    /// The first few of those, in words.
    pub examples: Vec<String>,
    /// Why nothing can be said; then `broken` means nothing.
    pub not_checked: Option<String>,
}

impl Finding {
    /// A verdict; it is broken if `broken` is above 0.
    pub fn new(point: u8, name: &'static str, title: &str, broken: u64, examples: Vec<String>) -> Self {
        Self { point, name, title: title.to_owned(), broken, examples, not_checked: None }
    }

    /// The same check without a verdict.
    #[must_use]
    pub fn not_checked(mut self, reason: &str) -> Self {
        self.not_checked = Some(reason.to_owned());
        self
    }

    /// Whether there is a verdict.
    pub fn is_checked(&self) -> bool {
        self.not_checked.is_none()
    }

    /// Whether there is one and it is bad.
    pub fn is_broken(&self) -> bool {
        self.is_checked() && self.broken > 0
    }
}
