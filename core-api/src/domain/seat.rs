//! Seats.

use common::ids::SeatId;
use common::money::Money;
use common::whole::Whole;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::text::Text;

/// A part of a hall that numbers its own seats.
pub type Section = Text<1, 20>;

/// A seat's number within its section, 1–50.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct SeatNumber(u8);

impl SeatNumber {
    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<i64> for SeatNumber {
    type Error = &'static str;

    fn try_from(number: i64) -> Result<Self, &'static str> {
        u8::try_from(number).ok().filter(|n| (1..=50).contains(n)).map(Self).ok_or("a seat's number is 1 to 50")
    }
}

impl<'de> Deserialize<'de> for SeatNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Whole::<i64>::deserialize(deserializer)?.0.try_into().map_err(de::Error::custom)
    }
}

/// What can be done with a seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SeatStatus {
    /// It can be held (`available`).
    Available,
    /// Somebody holds it and has not paid (`reserved_temp`).
    Reserved,
    /// It is paid for (`reserved_final`).
    Sold,
}

/// One seat of a concert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    /// Which one.
    #[serde(rename = "seatId")]
    pub id: SeatId,
    /// Its number in its section.
    #[serde(rename = "seatNumber")]
    pub number: SeatNumber,
    /// Its section.
    pub section: String,
    /// What it costs.
    pub price: Money,
    /// What can be done with it.
    pub status: SeatStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_whole_and_1_to_50() {
        for good in ["1", "50"] {
            assert!(serde_json::from_str::<SeatNumber>(good).is_ok(), "{good}");
        }
        for bad in ["0", "51", "-1", "1.5", "\"1\"", "null", "99999999999999999999"] {
            assert!(serde_json::from_str::<SeatNumber>(bad).is_err(), "{bad}");
        }
    }
}
