//! Fields that may be left out.

use serde::{Deserialize, Deserializer};

/// For `#[serde(default, deserialize_with = "given")]`: a field that may be left out, but not be `null`. Where several
/// fields exclude each other, `null` would leave open which of them was meant.
pub fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
