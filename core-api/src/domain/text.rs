//! Text that people type: bounded, and without control characters.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// Text of `MIN` to `MAX` characters, none of them a control character: those have no place in a name, spoil logs, and
/// one of them, NUL, is nothing that `PostgreSQL` can hold.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Reads text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("text must not hold control characters".to_owned());
        }
        if (MIN..=MAX).contains(&text.chars().count()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("text must have {MIN} to {MAX} characters"))
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Debug for Text<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may be a password or a name.
        f.write_str("Text(…)")
    }
}

impl<'de, const MIN: usize, const MAX: usize> Deserialize<'de> for Text<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&Cow::<'de, str>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_count_characters_and_control_characters_are_refused() {
        assert!(Text::<1, 3>::parse("김하늘").is_ok());
        for bad in ["", "abcd", "a\0", "a\n", "\u{85}"] {
            assert!(Text::<1, 3>::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(format!("{:?}", Text::<1, 9>::parse("hunter2").unwrap()), "Text(…)");
    }
}
