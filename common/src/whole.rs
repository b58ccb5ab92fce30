//! Whole numbers as JSON has them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A whole number that fits `T`. `5.0` is one as well as `5` (JSON Schema 2020-12, Validation, 6.1.1): JSON has one kind
/// of number, and some clients write all of theirs with a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Whole<T>(pub T);

impl<'de, T: TryFrom<i64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor(PhantomData))
    }
}

struct WholeVisitor<T>(PhantomData<T>);

impl<T: TryFrom<i64>> Visitor<'_> for WholeVisitor<T> {
    type Value = Whole<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number that is not too large")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Whole<T>, E> {
        T::try_from(number).map(Whole).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole<T>, E> {
        match i64::try_from(number) {
            Ok(number) => self.visit_i64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Whole<T>, E> {
        // Above this not every whole number is a double, so that it could have been another one.
        const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
        if number.fract() != 0.0 || number.abs() > EXACT_MAX {
            return Err(E::invalid_value(de::Unexpected::Float(number), &self));
        }
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within 2^53")]
        self.visit_i64(number as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        let read = |text: &str| serde_json::from_str::<Whole<u32>>(text).ok().map(|whole| whole.0);
        assert_eq!(
            [read("5"), read("5.0"), read("5e0"), read("0.0"), read("-0.0")],
            [Some(5), Some(5), Some(5), Some(0), Some(0)]
        );
        for bad in ["5.5", "-1", "-1.0", "4294967296", "1e300", "18446744073709551616", "\"5\"", "true", "null", "[5]"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
