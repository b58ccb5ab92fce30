//! What was sold of a concert, and for how much.

use std::ops::AddAssign;

use chrono::{DateTime, Utc};
use common::ids::{PaymentId, ReservationId, UserId};
use common::money::Money;
use rust_decimal::Decimal;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::managed::SeatCounts;

/// A sum of money: of many payments, so it may be more than one [`Money`] can be. In JSON a number with two decimals,
/// written digit by digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum(pub Decimal);

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2}", self.0)
    }
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

/// What came in and what went back, by the ledger's account `sales`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Takings {
    /// What was paid.
    pub gross: Sum,
    /// What of it went back.
    pub refunds: Sum,
    /// What is left: the sum of the ledger's entries.
    pub net: Sum,
}

impl Takings {
    /// Of what came in and what went back, both not negative.
    pub fn new(gross: Decimal, refunds: Decimal) -> Self {
        Self { gross: Sum(gross), refunds: Sum(refunds), net: Sum(gross - refunds) }
    }
}

impl AddAssign for Takings {
    fn add_assign(&mut self, other: Self) {
        *self = Self::new(self.gross.0 + other.gross.0, self.refunds.0 + other.refunds.0);
    }
}

/// The sales of one section.
#[derive(Debug, Clone)]
pub struct SectionSales {
    /// What it is called.
    pub name: String,
    /// What its cheapest seat costs.
    pub lowest_price: Money,
    /// What its dearest seat costs.
    pub highest_price: Money,
    /// Its seats.
    pub seats: SeatCounts,
    /// Their money.
    pub takings: Takings,
}

/// How long the steps of a series are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Hours, in UTC.
    Hour,
    /// Days, in UTC.
    Day,
}

impl Step {
    /// As it is asked for.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// One step of a series: only those in which money moved are there.
#[derive(Debug, Clone)]
pub struct SeriesPoint {
    /// When it begins.
    pub from: DateTime<Utc>,
    /// How many payments there were.
    pub payments: i64,
    /// How many of them, or of earlier ones, went back.
    pub refunded: i64,
    /// Their money.
    pub takings: Takings,
}

/// A report, all of it as of one moment.
#[derive(Debug, Clone)]
pub struct SalesReport {
    /// That moment, by the database's clock.
    pub read_at: DateTime<Utc>,
    /// By section, in the order of their names.
    pub sections: Vec<SectionSales>,
    /// By time.
    pub series: Vec<SeriesPoint>,
}

impl SalesReport {
    /// All sections together.
    pub fn totals(&self) -> (SeatCounts, Takings) {
        let (mut seats, mut takings) = (SeatCounts::default(), Takings::default());
        for section in &self.sections {
            seats.total += section.seats.total;
            seats.available += section.seats.available;
            seats.held += section.seats.held;
            seats.sold += section.seats.sold;
            seats.held_back += section.seats.held_back;
            takings += section.takings;
        }
        (seats, takings)
    }
}

/// Where a list of orders goes on.
#[derive(Debug, Clone, Copy)]
pub struct OrderCursor {
    /// Behind this reservation
    pub reservation: ReservationId,
    /// and this entry of the ledger.
    pub entry: i64,
}

impl OrderCursor {
    /// Before the first.
    pub const START: Self = Self { reservation: ReservationId::NIL, entry: 0 };
}

/// A payment or a refund.
#[derive(Debug, Clone)]
pub struct OrderRow {
    /// Where it stands in the list.
    pub cursor: OrderCursor,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// `payment` or `refund`, as in the ledger.
    pub kind: String,
    /// Positive for what came in, negative for what went back.
    pub amount: Sum,
    /// The payment, the same for its refund.
    pub payment: Option<PaymentId>,
    /// How it was paid.
    pub method: Option<String>,
    /// Who paid.
    pub user: UserId,
    /// The seat's section.
    pub section: String,
    /// The seat's number.
    pub seat_number: i32,
}
