//! The best seats that are free: side by side, in one section, and so that nobody is left with a single seat.
//!
//! A section numbers its seats 1–50 and is one row: two seats are neighbours where they are of the same section and
//! their numbers follow one another. Which of several blocks is the best is decided by, in this order:
//!
//! 1. It makes no orphan: no free seat that had a free neighbour before is left without one. A seat alone is the
//!    hardest to sell.
//! 2. The section that comes first. Sections are named from the front to the back, `A` before `B`, `A-2` before `A-10`.
//! 3. It leaves none over: what is free beside it can be filled by others who want as many. Of eight seats, the pair in the
//!    very middle leaves three on either side, and a seat alone on either side when two more pairs have come.
//! 4. The one closest to the middle of its section.
//! 5. The lowest number.
//!
//! No I/O, no time, no randomness: the same seats and the same wish give the same answer.

use std::cmp::Ordering;

use common::money::Money;

use super::seat::{Seat, Section};

/// What somebody would like to have.
#[derive(Debug, Clone)]
pub struct Wish {
    /// How many seats, at least one.
    pub quantity: usize,
    /// Only of this section.
    pub section: Option<Section>,
    /// None that costs more.
    pub max_price: Option<Money>,
    /// Side by side or not at all. Otherwise they are split into as few, and as large, pieces as there have to be.
    pub adjacent: bool,
}

impl Wish {
    fn wants(&self, seat: &Seat) -> bool {
        self.section.as_ref().is_none_or(|section| section.as_str() == seat.section)
            && self.max_price.is_none_or(|most| seat.price <= most)
    }
}

/// The rows of a hall, from the front to the back: where each begins and ends among its seats.
#[derive(Debug)]
pub struct Rows(Vec<(usize, usize)>);

impl Rows {
    /// Of these seats, which are in order of section and number.
    pub fn of(seats: &[Seat]) -> Self {
        let mut rows: Vec<(usize, usize)> = Vec::new();
        for (index, seat) in seats.iter().enumerate() {
            match rows.last_mut() {
                Some((start, end)) if seats[*start].section == seat.section => *end = index + 1,
                _ => rows.push((index, index + 1)),
            }
        }
        rows.sort_by(|a, b| by_name(&seats[a.0].section, &seats[b.0].section));
        Self(rows)
    }

    /// The seats of the row that a seat is in, by its place among all.
    pub fn around(&self, index: usize) -> std::ops::Range<usize> {
        self.0
            .iter()
            .find(|(start, end)| (*start..*end).contains(&index))
            .map_or(index..index + 1, |(start, end)| *start..*end)
    }
}

/// As people order names: runs of digits by their value, all else by its characters.
fn by_name(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(first), Some(second)) = (a.chars().next(), b.chars().next()) else { return a.len().cmp(&b.len()) };
        if first.is_ascii_digit() && second.is_ascii_digit() {
            let (number, rest) = split_digits(a);
            let (other, other_rest) = split_digits(b);
            let (number, other) = (number.trim_start_matches('0'), other.trim_start_matches('0'));
            let order = number.len().cmp(&other.len()).then_with(|| number.cmp(other));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest, other_rest);
        } else if first == second {
            (a, b) = (&a[first.len_utf8()..], &b[second.len_utf8()..]);
        } else {
            return first.cmp(&second);
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The best seats for a wish, by their places in `seats`; `None` where they are not to be had. `seats` are in order of
/// section and number, `rows` theirs; `is_free` says which of them can be had.
pub fn choose(seats: &[Seat], rows: &Rows, is_free: impl Fn(usize) -> bool, wish: &Wish) -> Option<Vec<usize>> {
    let best = |quantity: usize, taken: &[usize]| {
        best_block(seats, rows, |index| is_free(index) && !taken.contains(&index), wish, quantity)
    };
    if let Some(first) = best(wish.quantity, &[]) {
        return Some((first..first + wish.quantity).collect());
    }
    if wish.adjacent {
        return None;
    }
    let mut chosen = Vec::new();
    let mut size = wish.quantity;
    while chosen.len() < wish.quantity {
        size = size.min(wish.quantity - chosen.len());
        match best(size, &chosen) {
            Some(first) => chosen.extend(first..first + size),
            // Nothing of this size is left: smaller pieces.
            None if size > 1 => size -= 1,
            None => return None,
        }
    }
    Some(chosen)
}

/// Where the best block of so many neighbours begins.
fn best_block(
    seats: &[Seat],
    rows: &Rows,
    is_free: impl Fn(usize) -> bool,
    wish: &Wish,
    quantity: usize,
) -> Option<usize> {
    let mut best: Option<(Rank, usize)> = None;
    for (place, (start, end)) in rows.0.iter().enumerate() {
        // Only an orphan is worse than a row further back: one without it, in a row before this one, can't be beaten.
        if best.is_some_and(|(rank, _)| !rank.makes_orphan) {
            break;
        }
        let middle_twice = number(&seats[*start]) + number(&seats[*end - 1]);
        for (from, to) in runs(seats, *start, *end, &is_free) {
            for first in from..(to + 1).saturating_sub(quantity).max(from) {
                let block = &seats[first..first + quantity];
                if !block.iter().all(|seat| wish.wants(seat)) {
                    continue;
                }
                let both_ends = number(&block[0]) + number(&block[quantity - 1]);
                let beside = [first - from, to - (first + quantity)];
                let rank = Rank {
                    makes_orphan: beside.contains(&1),
                    row: place,
                    left_over: beside.into_iter().filter(|free| quantity > 1 && free % quantity == 1).count(),
                    off_middle: middle_twice.abs_diff(both_ends),
                };
                if best.is_none_or(|(other, _)| rank < other) {
                    best = Some((rank, first));
                }
            }
        }
    }
    best.map(|(_, first)| first)
}

/// How good a block is: the least is the best. Of equals the one with the lowest number is met first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    makes_orphan: bool,
    row: usize,
    left_over: usize,
    off_middle: u32,
}

fn number(seat: &Seat) -> u32 {
    seat.number.get().into()
}

/// The runs of free neighbours in a row: from, to (exclusive).
fn runs(
    seats: &[Seat],
    start: usize,
    end: usize,
    is_free: impl Fn(usize) -> bool,
) -> impl Iterator<Item = (usize, usize)> {
    let mut next = start;
    std::iter::from_fn(move || {
        let from = (next..end).find(|index| is_free(*index))?;
        let follows = |index: usize| is_free(index) && number(&seats[index]) == number(&seats[index - 1]) + 1;
        let to = (from + 1..end).find(|index| !follows(*index)).unwrap_or(end);
        next = to;
        Some((from, to))
    })
}

#[cfg(test)]
mod tests {
    use common::ids::SeatId;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::seat::{SeatNumber, SeatStatus};

    fn seat(section: &str, number: i64, price: u32, is_free: bool) -> Seat {
        Seat {
            id: SeatId::generate(),
            number: SeatNumber::try_from(number).unwrap(),
            section: section.to_owned(),
            price: Money::from_json_number(&price.to_string()).unwrap(),
            status: if is_free { SeatStatus::Available } else { SeatStatus::Sold },
        }
    }

    /// `.` is free, `x` is not, a space is no seat at all.
    fn hall(sections: &[(&str, &str)]) -> Vec<Seat> {
        let row = |(section, row): &(&str, &str)| {
            let section = (*section).to_owned();
            let seats = row.chars().enumerate().filter(|(_, c)| *c != ' ');
            seats.map(|(n, c)| seat(&section, i64::try_from(n).unwrap() + 1, 10, c == '.')).collect::<Vec<_>>()
        };
        let mut seats: Vec<Seat> = sections.iter().flat_map(row).collect();
        seats.sort_by(|a, b| (&a.section, a.number).cmp(&(&b.section, b.number)));
        seats
    }

    fn wish(quantity: usize, adjacent: bool) -> Wish {
        Wish { quantity, section: None, max_price: None, adjacent }
    }

    fn chosen(seats: &[Seat], wish: &Wish) -> Option<Vec<String>> {
        let is_free = |index: usize| seats[index].status == SeatStatus::Available;
        let found = choose(seats, &Rows::of(seats), is_free, wish)?;
        Some(found.iter().map(|at| format!("{}{}", seats[*at].section, seats[*at].number.get())).collect())
    }

    #[track_caller]
    fn assert_chosen(sections: &[(&str, &str)], wish: &Wish, expected: Option<&str>) {
        let expected = expected.map(|text| text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(chosen(&hall(sections), wish), expected);
    }

    #[test]
    fn the_front_and_the_middle_come_first_and_nobody_is_left_alone() {
        assert_chosen(&[("A", "........"), ("B", "........")], &wish(2, true), Some("A3 A4"));
        assert_chosen(&[("A", "xxxxxx.."), ("B", "........")], &wish(2, true), Some("A7 A8"));
        assert_chosen(&[("A", "........."), ("B", "........")], &wish(1, true), Some("A5"));
        assert_chosen(&[("A", "...")], &wish(2, true), Some("A1 A2"));
        // Any two of three leave one alone: rather two further back.
        assert_chosen(&[("A", "..."), ("B", "....")], &wish(2, true), Some("B1 B2"));
        assert_chosen(&[("A", "..x")], &wish(1, true), Some("A2"));
        assert_chosen(&[("A-10", ".."), ("A-2", "..")], &wish(2, true), Some("A-21 A-22"));
    }

    #[test]
    fn neighbours_are_of_one_section_with_numbers_that_follow() {
        assert_chosen(&[("A", "xx."), ("B", ".xx")], &wish(2, true), None);
        assert_chosen(&[("A", ". . .")], &wish(2, true), None);
        assert_chosen(&[("A", ".x.x.")], &wish(2, true), None);
        assert_chosen(&[("A", "x..")], &wish(3, true), None);
        assert_chosen(&[], &wish(1, true), None);
    }

    #[test]
    fn who_may_be_split_is_split_as_little_as_can_be() {
        assert_chosen(&[("A", "..x..."), ("B", ".")], &wish(4, false), Some("A4 A5 A6 B1"));
        assert_chosen(&[("A", ".x.x.")], &wish(3, false), Some("A3 A1 A5"));
        assert_chosen(&[("A", ".x.x.")], &wish(4, false), None);
        assert_chosen(&[("A", "....")], &wish(2, false), Some("A1 A2"));
    }

    #[test]
    fn section_and_price_bind() {
        let mut seats = hall(&[("A", "...."), ("B", "....")]);
        seats[1].price = Money::from_json_number("11").unwrap();
        let cheap = Wish { max_price: Some(Money::from_json_number("10").unwrap()), ..wish(2, true) };
        assert_eq!(chosen(&seats, &cheap), Some(vec!["A3".to_owned(), "A4".to_owned()]));
        let there = Wish { section: Some(Section::parse("B").unwrap()), ..wish(4, true) };
        assert_eq!(chosen(&seats, &there), Some(["B1", "B2", "B3", "B4"].map(str::to_owned).to_vec()));
        let nowhere = Wish { section: Some(Section::parse("C").unwrap()), ..wish(1, false) };
        assert_eq!(chosen(&seats, &nowhere), None);
    }

    /// Whether taking these leaves a free seat alone that was not alone before.
    fn makes_orphan(seats: &[Seat], taken: &[usize]) -> bool {
        let free = |index: usize| seats[index].status == SeatStatus::Available;
        let neighbours = |index: usize| {
            let beside = |other: usize| {
                seats[other].section == seats[index].section
                    && number(&seats[other]).abs_diff(number(&seats[index])) == 1
            };
            (0..seats.len()).filter(move |other| beside(*other)).collect::<Vec<_>>()
        };
        (0..seats.len()).filter(|index| free(*index) && !taken.contains(index)).any(|index| {
            let before = neighbours(index).into_iter().filter(|other| free(*other));
            let before: Vec<usize> = before.collect();
            !before.is_empty() && before.iter().all(|other| taken.contains(other))
        })
    }

    /// Every block of neighbours that would do, found the slow way.
    fn blocks(seats: &[Seat], wish: &Wish) -> Vec<Vec<usize>> {
        let fits = |block: &Vec<usize>| {
            block.iter().all(|at| {
                let seat = &seats[*at];
                seat.status == SeatStatus::Available
                    && wish.max_price.is_none_or(|most| seat.price <= most)
                    && wish.section.as_ref().is_none_or(|section| section.as_str() == seat.section)
            }) && block.windows(2).all(|pair| {
                let (a, b) = (&seats[pair[0]], &seats[pair[1]]);
                a.section == b.section && number(b) == number(a) + 1
            })
        };
        let all =
            (0..(seats.len() + 1).saturating_sub(wish.quantity)).map(|first| (first..first + wish.quantity).collect());
        all.filter(fits).collect()
    }

    fn halls() -> impl Strategy<Value = Vec<Seat>> {
        let one = (0..3_usize, 1..=12_i64, 1..=3_u32, prop::bool::weighted(0.7));
        prop::collection::vec(one, 0..40).prop_map(|list| {
            let mut seats: Vec<Seat> = list
                .into_iter()
                .map(|(s, number, price, free)| seat(["A", "B-2", "B-10"][s], number, price, free))
                .collect();
            seats.sort_by(|a, b| (&a.section, a.number).cmp(&(&b.section, b.number)));
            seats.dedup_by(|a, b| (&a.section, a.number) == (&b.section, b.number));
            seats
        })
    }

    fn wishes() -> impl Strategy<Value = Wish> {
        let section = prop::option::weighted(0.3, prop::sample::select(vec!["A", "B-2", "C"]));
        (1..=5_usize, section, prop::option::weighted(0.4, 1..=3_u32), any::<bool>()).prop_map(
            |(quantity, section, price, adjacent)| Wish {
                quantity,
                section: section.map(|name| Section::parse(name).unwrap()),
                max_price: price.map(|most| Money::from_json_number(&most.to_string()).unwrap()),
                adjacent,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_chosen_is_what_was_wished_for_and_could_not_be_better(seats in halls(), wish in wishes()) {
            let is_free = |index: usize| seats[index].status == SeatStatus::Available;
            let found = choose(&seats, &Rows::of(&seats), is_free, &wish);
            let possible = blocks(&seats, &wish);
            let fitting = blocks(&seats, &Wish { quantity: 1, ..wish.clone() }).len();
            let expected = if wish.adjacent { !possible.is_empty() } else { fitting >= wish.quantity };
            prop_assert_eq!(found.is_some(), expected);
            let Some(mut found) = found else { return Ok(()) };
            found.sort_unstable();
            let mut distinct = found.clone();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), wish.quantity);
            for at in &found {
                prop_assert!(blocks(&seats, &Wish { quantity: 1, ..wish.clone() }).contains(&vec![*at]), "seat {} does not fit", at);
            }
            if !possible.is_empty() {
                prop_assert!(possible.contains(&found), "they could sit together");
                let could = possible.iter().any(|block| !makes_orphan(&seats, block));
                prop_assert_eq!(makes_orphan(&seats, &found), !could, "an orphan that could be avoided");
            }
        }
    }
}
