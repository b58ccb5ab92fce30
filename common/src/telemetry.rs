//! Logs: one line per event on standard error, JSON or text.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Reader, Setting};

/// How log lines are written.
pub const LOG_FORMAT: Setting = Setting {
    name: "LOG_FORMAT",
    default: Some("json"),
    unit: "`json` or `text`",
    meaning: "How log lines are written.",
};

/// Which log lines are written.
pub const RUST_LOG: Setting = Setting {
    name: "RUST_LOG",
    default: Some("info,request=warn"),
    unit: "filter",
    meaning: "Which log lines are written; `request=info` adds one for each request.",
};

/// Begins to log. A second call in one process changes nothing.
pub fn init(reader: &mut Reader) {
    let filter = EnvFilter::try_new(reader.text(&RUST_LOG));
    if filter.is_err() {
        reader.fault(&RUST_LOG, "is no filter");
    }
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let _ = match reader.text(&LOG_FORMAT).as_str() {
        "text" => builder.try_init(),
        "json" => builder.json().flatten_event(true).try_init(),
        _ => {
            reader.fault(&LOG_FORMAT, "is neither json nor text");
            builder.try_init()
        }
    };
}
