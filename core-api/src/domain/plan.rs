//! The sections of a hall as an administrator plans them.
//!
//! A section numbers its seats 1–50 and is one row (see [`super::best_available`]). A part of a hall that has rows becomes
//! a section for each: `A` with the rows 1 and 2 is the sections `A-1` and `A-2`.

use std::collections::HashSet;

use common::money::Money;

use super::seat::{SeatNumber, Section};

/// How many sections a concert has at most. At 50 seats each it has at most 50,000 seats.
pub const MAX_SECTIONS: usize = 1_000;

/// A part of a hall: seats, or rows of seats.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is called.
    pub name: Section,
    /// What a seat of it costs.
    pub price: Money,
    /// Its rows, where it has any.
    pub rows: Option<Vec<Row>>,
    /// How many seats it has, where it has no rows.
    pub seats: Option<SeatNumber>,
}

/// A row of a part.
#[derive(Debug, Clone)]
pub struct Row {
    /// What it is called; without a name, its number from 1.
    pub name: Option<Section>,
    /// How many seats it has.
    pub seats: SeatNumber,
}

/// A section to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSection {
    /// What it is called.
    pub name: String,
    /// How many seats it has, numbered from 1.
    pub seats: u8,
    /// What each costs.
    pub price: Money,
}

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanFault {
    /// It has no section, or more than [`MAX_SECTIONS`].
    Size,
    /// The part at this place, from 0, has both seats and rows, or neither.
    SeatsOrRows(usize),
    /// A row's section at this place would have a name of more than 20 characters.
    NameTooLong(usize),
    /// A section would be there twice.
    Twice(String),
}

/// The sections that a plan makes.
pub fn sections(parts: &[Part]) -> Result<Vec<PlannedSection>, PlanFault> {
    let mut planned = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        match (&part.rows, part.seats) {
            (None, Some(seats)) => planned.push(section(part.name.as_str(), seats, part.price)),
            (Some(rows), None) if !rows.is_empty() => {
                for (number, row) in (1..).zip(rows) {
                    planned.push(section(&row_name(place, part, row, number)?, row.seats, part.price));
                }
            }
            _ => return Err(PlanFault::SeatsOrRows(place)),
        }
        if planned.len() > MAX_SECTIONS {
            return Err(PlanFault::Size);
        }
    }
    let mut names = HashSet::new();
    match planned.iter().find(|section| !names.insert(section.name.as_str())) {
        Some(twice) => Err(PlanFault::Twice(twice.name.clone())),
        None if planned.is_empty() => Err(PlanFault::Size),
        None => Ok(planned),
    }
}

fn section(name: &str, seats: SeatNumber, price: Money) -> PlannedSection {
    PlannedSection { name: name.to_owned(), seats: seats.get(), price }
}

fn row_name(place: usize, part: &Part, row: &Row, number: usize) -> Result<String, PlanFault> {
    let part = part.name.as_str();
    let name = row.name.as_ref().map_or_else(|| format!("{part}-{number}"), |row| format!("{part}-{}", row.as_str()));
    Section::parse(&name).map_err(|_| PlanFault::NameTooLong(place))?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &str, seats: Option<i64>, rows: Option<Vec<(Option<&str>, i64)>>) -> Part {
        let number = |seats: i64| SeatNumber::try_from(seats).unwrap();
        let section = |name: &str| Section::parse(name).unwrap();
        let row = |(name, seats): (Option<&str>, i64)| Row { name: name.map(section), seats: number(seats) };
        let rows = rows.map(|rows| rows.into_iter().map(row).collect());
        Part { name: section(name), price: Money::ZERO, rows, seats: seats.map(number) }
    }

    #[test]
    fn rows_are_sections_of_their_own() {
        let plan = [part("A", None, Some(vec![(None, 50), (Some("B"), 3), (None, 7)])), part("VIP", Some(12), None)];
        let planned = sections(&plan).unwrap();
        let short: Vec<_> = planned.iter().map(|section| (section.name.as_str(), section.seats)).collect();
        assert_eq!(short, [("A-1", 50), ("A-B", 3), ("A-3", 7), ("VIP", 12)]);
    }

    #[test]
    fn what_is_no_plan_is_named() {
        let good = part("A", Some(1), None);
        assert_eq!(sections(&[]), Err(PlanFault::Size));
        assert_eq!(sections(&[part("A", None, None)]), Err(PlanFault::SeatsOrRows(0)));
        assert_eq!(sections(&[good.clone(), part("B", Some(1), Some(vec![]))]), Err(PlanFault::SeatsOrRows(1)));
        assert_eq!(sections(&[part("B", None, Some(vec![]))]), Err(PlanFault::SeatsOrRows(0)));
        assert_eq!(
            sections(&[part("twenty characters ab", None, Some(vec![(None, 1)]))]),
            Err(PlanFault::NameTooLong(0))
        );
        let twice = [part("A-1", Some(1), None), part("A", None, Some(vec![(None, 1)]))];
        assert_eq!(sections(&twice), Err(PlanFault::Twice("A-1".to_owned())));
        let rows = |count| part("A", None, Some(vec![(None, 50); count]));
        assert_eq!(sections(&[rows(MAX_SECTIONS)]).unwrap().len(), MAX_SECTIONS);
        assert_eq!(sections(&[rows(MAX_SECTIONS + 1)]), Err(PlanFault::Size));
    }
}
