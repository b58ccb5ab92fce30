//! What administrators send, read and checked.

use chrono::{DateTime, Datelike as _, NaiveDate, Utc};
use common::http::given;
use common::ids::SeatId;
use common::money::Money;
use common::problem::Problem;
use common::whole::Whole;
use serde::{Deserialize, Deserializer};

use super::super::concerts::day;
use crate::domain::managed::{ConcertFacts, Edit, Name, SeatsMeant, SectionPrice};
use crate::domain::plan::{self, MAX_SECTIONS, Part, PlanFault, PlannedSection, Row};
use crate::domain::seat::{SeatNumber, Section};

/// How many seats are held back or released by one request.
const MAX_SEATS: usize = 500;
/// How many prices are changed by one request.
const MAX_PRICES: usize = 100;
/// Years that a concert can be in; what is outside is a slip of the finger.
const YEARS: std::ops::RangeInclusive<i32> = 2000..=2999;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewConcert {
    name: Name,
    date: String,
    venue: Name,
    announced_at: Option<DateTime<Utc>>,
    sale_opens_at: Option<DateTime<Utc>>,
    sale_closes_at: Option<DateTime<Utc>>,
    seats_per_user: Option<Whole<u32>>,
    sections: Vec<PartRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSections {
    sections: Vec<PartRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PartRequest {
    name: Section,
    price: Money,
    #[serde(default, deserialize_with = "given")]
    rows: Option<Vec<RowRequest>>,
    #[serde(default, deserialize_with = "given")]
    seats: Option<SeatNumber>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RowRequest {
    #[serde(default, deserialize_with = "given")]
    name: Option<Section>,
    seats: SeatNumber,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(clippy::option_option, reason = "`null` is not the same as a field that is missing")]
pub(super) struct ConcertEdit {
    #[serde(default, deserialize_with = "given")]
    name: Option<Name>,
    #[serde(default, deserialize_with = "given")]
    date: Option<String>,
    #[serde(default, deserialize_with = "given")]
    venue: Option<Name>,
    #[serde(default, deserialize_with = "present")]
    announced_at: Option<Option<DateTime<Utc>>>,
    #[serde(default, deserialize_with = "present")]
    sale_opens_at: Option<Option<DateTime<Utc>>>,
    #[serde(default, deserialize_with = "present")]
    sale_closes_at: Option<Option<DateTime<Utc>>>,
    #[serde(default, deserialize_with = "present")]
    seats_per_user: Option<Option<Whole<u32>>>,
    #[serde(default)]
    prices: Vec<PriceRequest>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceRequest {
    section: Section,
    price: Money,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SeatsRequest {
    #[serde(default, deserialize_with = "given")]
    seat_ids: Option<Vec<SeatId>>,
    #[serde(default, deserialize_with = "given")]
    section: Option<Section>,
    #[serde(default, deserialize_with = "given")]
    from_seat_number: Option<SeatNumber>,
    #[serde(default, deserialize_with = "given")]
    to_seat_number: Option<SeatNumber>,
}

/// Tells `null` from a field that is missing.
#[expect(clippy::option_option, reason = "see there")]
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl NewConcert {
    /// The concert and its sections.
    pub(super) fn read(self) -> Result<(ConcertFacts, Vec<PlannedSection>), Problem> {
        let facts = ConcertFacts {
            name: self.name.as_str().to_owned(),
            venue: self.venue.as_str().to_owned(),
            date: concert_day(&self.date)?,
            announced_at: time("announcedAt", self.announced_at)?,
            sale_opens_at: time("saleOpensAt", self.sale_opens_at)?,
            sale_closes_at: time("saleClosesAt", self.sale_closes_at)?,
            seats_per_user: seats_per_user(self.seats_per_user)?,
        };
        Ok((facts.checked()?, sections(self.sections)?))
    }
}

impl NewSections {
    /// The sections.
    pub(super) fn read(self) -> Result<Vec<PlannedSection>, Problem> {
        sections(self.sections)
    }
}

fn sections(parts: Vec<PartRequest>) -> Result<Vec<PlannedSection>, Problem> {
    let row = |row: RowRequest| Row { name: row.name, seats: row.seats };
    let part = |part: PartRequest| Part {
        name: part.name,
        price: part.price,
        rows: part.rows.map(|rows| rows.into_iter().map(row).collect()),
        seats: part.seats,
    };
    let parts: Vec<Part> = parts.into_iter().map(part).collect();
    plan::sections(&parts).map_err(|fault| match fault {
        PlanFault::Size => Problem::invalid(
            format!("sections에는 1개에서 {MAX_SECTIONS}개의 구역(열 포함)이 필요합니다."),
            format!("sections must make 1 to {MAX_SECTIONS} sections, each row counted as one."),
        ),
        PlanFault::SeatsOrRows(place) => Problem::invalid(
            format!("sections[{place}]에는 seats와 rows 중 하나만 있어야 합니다."),
            format!("sections[{place}] needs either seats or rows."),
        ),
        PlanFault::NameTooLong(place) => Problem::invalid(
            format!("sections[{place}]의 이름과 열 이름은 합쳐서 20자까지입니다."),
            format!(
                "sections[{place}]: its name and that of a row, with the hyphen between, have at most 20 characters."
            ),
        ),
        PlanFault::Twice(name) => Problem::invalid(
            format!("구역 {name}이(가) 두 번 있습니다."),
            format!("The section {name} is there twice."),
        ),
    })
}

impl ConcertEdit {
    /// The edit.
    pub(super) fn read(self) -> Result<Edit, Problem> {
        if self.prices.len() > MAX_PRICES {
            return Err(Problem::invalid(
                format!("prices는 {MAX_PRICES}개까지입니다."),
                format!("prices has at most {MAX_PRICES} entries."),
            ));
        }
        let mut named = std::collections::HashSet::new();
        if let Some(twice) = self.prices.iter().find(|price| !named.insert(price.section.as_str())) {
            let name = twice.section.as_str();
            return Err(Problem::invalid(
                format!("prices에 구역 {name}이(가) 두 번 있습니다."),
                format!("prices has the section {name} twice."),
            ));
        }
        let price = |price: PriceRequest| SectionPrice { section: price.section, price: price.price };
        Ok(Edit {
            name: self.name,
            venue: self.venue,
            date: self.date.as_deref().map(concert_day).transpose()?,
            announced_at: self.announced_at.map(|at| time("announcedAt", at)).transpose()?,
            sale_opens_at: self.sale_opens_at.map(|at| time("saleOpensAt", at)).transpose()?,
            sale_closes_at: self.sale_closes_at.map(|at| time("saleClosesAt", at)).transpose()?,
            seats_per_user: self.seats_per_user.map(seats_per_user).transpose()?,
            prices: self.prices.into_iter().map(price).collect(),
        })
    }
}

impl SeatsRequest {
    /// Which seats are meant.
    pub(super) fn read(self) -> Result<SeatsMeant, Problem> {
        let by_number = self.from_seat_number.is_some() || self.to_seat_number.is_some();
        match (self.seat_ids, self.section) {
            (Some(ids), None) if !by_number && (1..=MAX_SEATS).contains(&ids.len()) => Ok(SeatsMeant::Ids(ids)),
            (None, Some(section)) => {
                let from = self.from_seat_number.unwrap_or(SeatNumber::FIRST);
                let to = self.to_seat_number.unwrap_or(SeatNumber::LAST);
                Ok(SeatsMeant::Range { section, from, to })
            }
            _ => Err(Problem::invalid(
                format!("seatIds(1~{MAX_SEATS}개) 또는 section 중 하나가 필요합니다."),
                format!(
                    "Either seatIds (1 to {MAX_SEATS}) or section is needed, the latter with fromSeatNumber and toSeatNumber if need be."
                ),
            )),
        }
    }
}

fn concert_day(text: &str) -> Result<NaiveDate, Problem> {
    day(text).ok().filter(|date| YEARS.contains(&date.year())).ok_or_else(|| {
        Problem::invalid("date는 YYYY-MM-DD 형식의 날짜여야 합니다.", "date must be a day in the form YYYY-MM-DD.")
    })
}

fn time(name: &str, at: Option<DateTime<Utc>>) -> Result<Option<DateTime<Utc>>, Problem> {
    if at.is_none_or(|at| YEARS.contains(&at.year())) {
        return Ok(at.map(to_micros));
    }
    let (low, high) = (YEARS.start(), YEARS.end());
    Err(Problem::invalid(
        format!("{name}의 연도는 {low}에서 {high} 사이여야 합니다."),
        format!("{name} must lie in the years {low} to {high}."),
    ))
}

/// As the database keeps it: what is answered at once and what is read later are the same.
fn to_micros(at: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.timestamp_micros()).unwrap_or(at)
}

fn seats_per_user(limit: Option<Whole<u32>>) -> Result<Option<u32>, Problem> {
    let limit = limit.map(|Whole(limit)| limit);
    if limit.is_none_or(|limit| (1..=20).contains(&limit)) {
        return Ok(limit);
    }
    Err(Problem::invalid("seatsPerUser는 1에서 20 사이여야 합니다.", "seatsPerUser must lie between 1 and 20."))
}
