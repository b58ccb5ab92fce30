//! Money: exact decimals with at most two places, within the bounds of `DECIMAL(10,2)`.

use std::fmt;
use std::ops::Add;

use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

/// An amount of money, 0.00 to 99,999,999.99: what `DECIMAL(10,2)` can hold.
///
/// In JSON it is a number, read and written digit by digit: it never passes through a float.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(Decimal);

/// As many digits a decimal holds exactly, whatever they are.
const MAX_DIGITS: usize = 28;

/// Why a number is no amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// Not a number in JSON's sense.
    #[error("an amount of money must be a JSON number")]
    NotANumber,
    /// Below zero.
    #[error("an amount of money must not be negative")]
    Negative,
    /// Three or more decimals.
    #[error("an amount of money has at most two decimals")]
    TooPrecise,
    /// Over [`Money::MAX`].
    #[error("an amount of money is at most 99999999.99")]
    TooLarge,
}

impl Money {
    /// No money.
    pub const ZERO: Self = Self(Decimal::ZERO);
    /// The most that `DECIMAL(10,2)` can hold.
    pub const MAX: Self = Self(Decimal::from_parts(1_410_065_407, 2, 0, false, 2));

    /// Reads a JSON number, exactly.
    pub fn from_json_number(text: &str) -> Result<Self, InvalidMoney> {
        // RawValue hands over whatever JSON stands there: strings, objects and literals are no amounts.
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            return Err(InvalidMoney::NotANumber);
        }
        // No amount needs more digits than this, and parsing stays cheap whatever is sent.
        if text.len() > 64 {
            return Err(InvalidMoney::TooLarge);
        }
        // A mantissa of more digits than a decimal has would be rounded before anyone could tell.
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        if mantissa.bytes().filter(u8::is_ascii_digit).count() > MAX_DIGITS {
            return Err(if text.contains('.') { InvalidMoney::TooPrecise } else { InvalidMoney::TooLarge });
        }
        let parsed =
            if text.contains(['e', 'E']) { Decimal::from_scientific(text) } else { Decimal::from_str_exact(text) };
        parsed
            .map_err(|_| if text.contains('.') { InvalidMoney::TooPrecise } else { InvalidMoney::TooLarge })?
            .try_into()
    }

    /// Whether it is nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// The decimal, for the database.
    pub fn as_decimal(self) -> Decimal {
        self.0
    }

    /// The sum, or `None` where it would be over [`Money::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.add(other.0).try_into().ok()
    }

    /// The difference, or `None` where it would be below zero.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        (self.0 - other.0).try_into().ok()
    }
}

impl TryFrom<Decimal> for Money {
    type Error = InvalidMoney;

    fn try_from(decimal: Decimal) -> Result<Self, InvalidMoney> {
        let decimal = decimal.normalize();
        if decimal.is_sign_negative() && !decimal.is_zero() {
            Err(InvalidMoney::Negative)
        } else if decimal > Self::MAX.0 {
            Err(InvalidMoney::TooLarge)
        } else if decimal.scale() > 2 {
            Err(InvalidMoney::TooPrecise)
        } else {
            // A zero may carry a minus sign, which would be written as `-0.00`.
            Ok(Self(decimal.abs()))
        }
    }
}

impl From<Money> for Decimal {
    fn from(money: Money) -> Self {
        money.0
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json_number(raw.get()).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Money, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn amounts_are_read_exactly_and_written_with_two_decimals() {
        for (json, written) in [
            ("0", "0.00"),
            ("250", "250.00"),
            ("250.0", "250.00"),
            ("0.1", "0.10"),
            ("99999999.99", "99999999.99"),
            ("1e3", "1000.00"),
            ("1.50000", "1.50"),
            ("-0", "0.00"),
            ("2.5E-1", "0.25"),
        ] {
            assert_eq!(serde_json::to_string(&read(json).unwrap()).unwrap(), written, "{json}");
        }
        assert_eq!(Money::MAX.to_string(), "99999999.99");
    }

    #[test]
    fn what_is_no_amount_is_refused_with_the_reason() {
        for (json, reason) in [
            ("-1", "negative"),
            ("0.001", "two decimals"),
            ("100000000", "at most 99999999.99"),
            ("1e400", "99999999.99"),
            ("\"5\"", "JSON number"),
            ("null", "JSON number"),
            ("true", "JSON number"),
            ("[1]", "JSON number"),
            ("1e-400", "at most"),
            ("0.99999999999999999999999999999999999e2", "two decimals"),
            ("5.0000000000000000000000000000000001e0", "two decimals"),
            ("0.00000000000000000000000000000000000001", "two decimals"),
            ("99999999999999999999999999999999999999999", "99999999.99"),
        ] {
            assert!(read(json).unwrap_err().contains(reason), "{json}: {:?}", read(json));
        }
        assert!(read("NaN").is_err());
    }

    #[test]
    fn sums_stay_in_bounds() {
        let one = read("1").unwrap();
        assert_eq!(Money::MAX.checked_add(one), None);
        assert_eq!(one.checked_sub(Money::MAX), None);
        assert_eq!(one.checked_sub(one), Some(Money::ZERO));
    }
}
