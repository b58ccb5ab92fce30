//! Keys from the environment.

use std::sync::Arc;

use super::KeyError;
use crate::config::{Reader, Setting};

/// The secrets of user sessions, shared by gateway and core-api.
pub const SESSION_SECRET: Setting = Setting {
    name: "SESSION_SECRET",
    default: None,
    unit: "text of 32 characters or more; several, comma-separated",
    meaning: "Signs user sessions, the same for gateway and core-api; the first signs, all verify.",
};

/// Reads a list of keys, such as [`SESSION_SECRET`]. `None` is a fault already noted.
pub fn read_keys<K>(
    reader: &mut Reader,
    setting: &Setting,
    make: impl FnOnce(&[String]) -> Result<K, KeyError>,
) -> Option<Arc<K>> {
    let texts = reader.list(setting);
    if texts.is_empty() {
        return None;
    }
    make(&texts).map_err(|error| reader.fault(setting, error)).ok().map(Arc::new)
}
