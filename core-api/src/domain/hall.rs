//! A concert's seats, ready to be looked up.

use std::collections::HashMap;

use common::ids::SeatId;

use super::best_available::Rows;
use super::seat::{Seat, SeatNumber, Section};

/// Which seat a request means.
#[derive(Debug, Clone)]
pub enum SeatChoice {
    /// By its id.
    Id(SeatId),
    /// By section and number.
    Number(String, SeatNumber),
}

/// All seats of a concert as they were a moment ago. Where they are, what they cost and that they are sold changes
/// rarely enough to be believed; who holds them is asked of Redis.
#[derive(Debug)]
pub struct Hall {
    seats: Vec<Seat>,
    by_id: HashMap<SeatId, usize>,
    rows: Rows,
}

impl Hall {
    /// Of these seats, which are in order of section and number.
    pub fn new(seats: Vec<Seat>) -> Self {
        let by_id = seats.iter().enumerate().map(|(index, seat)| (seat.id, index)).collect();
        let rows = Rows::of(&seats);
        Self { seats, by_id, rows }
    }

    /// All seats, in order of section and number.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Their rows.
    pub fn rows(&self) -> &Rows {
        &self.rows
    }

    /// All seats of the rows that these seats are in.
    pub fn rows_of(&self, seats: &[Seat]) -> Vec<SeatId> {
        let mut places: Vec<usize> = seats
            .iter()
            .filter_map(|seat| self.by_id.get(&seat.id))
            .flat_map(|place| self.rows.around(*place))
            .collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|place| self.seats.get(place)).map(|seat| seat.id).collect()
    }

    /// Whether a section has a seat.
    pub fn has_section(&self, section: &Section) -> bool {
        let first = self.seats.partition_point(|seat| seat.section.as_str() < section.as_str());
        self.seats.get(first).is_some_and(|seat| seat.section == section.as_str())
    }

    /// How many seats there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The seat that is meant, if the concert has it.
    pub fn find(&self, choice: &SeatChoice) -> Option<&Seat> {
        match choice {
            SeatChoice::Id(id) => self.by_id.get(id).and_then(|index| self.seats.get(*index)),
            SeatChoice::Number(section, number) => self
                .seats
                .binary_search_by(|seat| (seat.section.as_str(), seat.number).cmp(&(section, *number)))
                .ok()
                .and_then(|index| self.seats.get(index)),
        }
    }
}

#[cfg(test)]
mod tests {
    use common::money::Money;

    use super::*;
    use crate::domain::seat::SeatStatus;

    #[test]
    fn seats_are_found_by_id_and_by_number() {
        let mut seats = Vec::new();
        for section in ["A", "AA", "B"] {
            for number in 1..=50 {
                seats.push(Seat {
                    id: SeatId::generate(),
                    number: SeatNumber::try_from(number).unwrap(),
                    section: section.to_owned(),
                    price: Money::ZERO,
                    status: SeatStatus::Available,
                });
            }
        }
        let hall = Hall::new(seats.clone());
        for seat in &seats {
            assert_eq!(hall.find(&SeatChoice::Id(seat.id)), Some(seat));
            assert_eq!(hall.find(&SeatChoice::Number(seat.section.clone(), seat.number)), Some(seat));
        }
        assert_eq!(hall.find(&SeatChoice::Id(SeatId::generate())), None);
        assert_eq!(hall.find(&SeatChoice::Number("C".to_owned(), seats[0].number)), None);
    }
}
