//! A colour as people pick one: `#1d4ed8`, and in no other form.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The text was no colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a colour (expected the form #rrggbb)")]
pub struct InvalidColour;

/// Red, green and blue of sRGB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub [u8; 3]);

impl FromStr for Colour {
    type Err = InvalidColour;

    fn from_str(text: &str) -> Result<Self, InvalidColour> {
        let mut channels = [0_u8; 3];
        let digits = text.strip_prefix('#').ok_or(InvalidColour)?;
        hex::decode_to_slice(digits, &mut channels).map_err(|_| InvalidColour)?;
        Ok(Self(channels))
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([red, green, blue]) = self;
        write!(f, "#{red:02x}{green:02x}{blue:02x}")
    }
}

impl Serialize for Colour {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Colour {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_six_digits_behind_a_hash_are_a_colour() {
        assert_eq!("#1D4ed8".parse(), Ok(Colour([0x1d, 0x4e, 0xd8])));
        assert_eq!("#1D4ed8".parse::<Colour>().unwrap().to_string(), "#1d4ed8");
        for text in ["", "#", "1d4ed8", "#1d4ed", "#1d4ed8ff", "#fff", "red", "#1d4ed\u{e9}", "#1d4e;8", " #1d4ed8"] {
            assert_eq!(text.parse::<Colour>(), Err(InvalidColour), "{text:?}");
        }
    }
}
