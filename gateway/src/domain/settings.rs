//! How a room is run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What holds in a room that has no settings of its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RoomDefaults {
    /// Admissions a second, fractions allowed.
    pub admit_per_second: f64,
    /// How many may be admitted at once after a lull.
    pub burst: u32,
    /// How many may be inside at once, offers included.
    pub max_active: u32,
    /// How long an admission lasts.
    pub session: Duration,
    /// How long a turn may be claimed.
    pub claim: Duration,
}

/// Who is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In line, at the rate and capacity that are set.
    Queue,
    /// Everyone is let in at once.
    Passthrough,
    /// Nobody is let in.
    Closed,
}

/// In which order people have their turn who came before the opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they came.
    Fifo,
    /// As the draw at the opening deals it.
    RandomAtOpen,
}

/// A room's settings, in the form that the room keeps them in (as JSON) and its scripts read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoomSettings {
    /// Rises with every change; 0 is what holds where nobody has set anything.
    pub version: u32,
    /// Who is let in.
    pub mode: Mode,
    /// Whether turns are stopped for now.
    pub paused: bool,
    /// Turns a second, fractions allowed.
    pub admit_per_second: f64,
    /// How many turns may be given at once after a lull.
    pub burst: u32,
    /// How many may be inside at once, offers included.
    pub max_active: u32,
    /// How long an admission lasts at most.
    pub session_ms: u64,
    /// How long a turn may be claimed.
    pub claim_ms: u64,
    /// How long an admission lasts without being used; 0: as long as the session.
    pub idle_ms: u64,
    /// When turns begin, in ms of Unix time; 0: with the sale.
    pub opens_at_ms: i64,
    /// In which order those have their turn who came before that.
    pub order: Order,
    /// Whether the room ends everyone's wait once everything is sold.
    pub stop_when_sold_out: bool,
    /// Whether an admission ends when its owner has paid for everything they hold.
    pub leave_on_payment: bool,
    /// What the draw will be made from, in hex; nobody sees it before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub seed: Option<String>,
}

impl From<RoomDefaults> for RoomSettings {
    fn from(defaults: RoomDefaults) -> Self {
        Self {
            version: 0,
            mode: Mode::Queue,
            paused: false,
            admit_per_second: defaults.admit_per_second,
            burst: defaults.burst,
            max_active: defaults.max_active,
            session_ms: millis(defaults.session),
            claim_ms: millis(defaults.claim),
            idle_ms: 0,
            opens_at_ms: 0,
            order: Order::Fifo,
            stop_when_sold_out: true,
            leave_on_payment: false,
            seed: None,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Settings and the very text that the room keeps them as. Cloning it shares both.
#[derive(Clone)]
pub struct SettingsInForce {
    settings: Arc<RoomSettings>,
    text: Arc<str>,
}

impl SettingsInForce {
    /// Reads what a room keeps; `None` for what no version of the gateway wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        Some(Self { settings: Arc::new(serde_json::from_str(text).ok()?), text: text.into() })
    }

    /// The JSON.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<RoomSettings> for SettingsInForce {
    fn from(settings: RoomSettings) -> Self {
        // Numbers, names and booleans: nothing that JSON can't hold.
        let text = serde_json::to_string(&settings).unwrap_or_default().into();
        Self { settings: Arc::new(settings), text }
    }
}

impl From<RoomDefaults> for SettingsInForce {
    fn from(defaults: RoomDefaults) -> Self {
        RoomSettings::from(defaults).into()
    }
}

impl std::ops::Deref for SettingsInForce {
    type Target = RoomSettings;

    fn deref(&self) -> &RoomSettings {
        &self.settings
    }
}

impl PartialEq for SettingsInForce {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for SettingsInForce {
    /// Without the seed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettingsInForce").field("version", &self.settings.version).finish_non_exhaustive()
    }
}
