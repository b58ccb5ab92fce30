//! Which seats are about to be somebody's: what this process has handed out, or was refused, too recently for a list of
//! seats to tell it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::ids::SeatId;

use crate::domain::best_available::{Wish, choose};
use crate::domain::hall::Hall;
use crate::domain::seat::{Seat, SeatStatus};

/// How long a mark lasts: longer than it takes until a list of seats shows what became of the seat.
const MARK_LIFE: Duration = Duration::from_secs(2);
/// How many marks are kept. Without one a choice costs a refusal by Redis, no more.
const MAX_MARKS: usize = 100_000;

/// The marks. Cloning it shares them.
#[derive(Debug, Clone, Default)]
pub struct SpokenFor(Arc<Mutex<HashMap<SeatId, Instant>>>);

impl SpokenFor {
    /// The best seats for a wish that are free by all that is known, marked at once: many who ask at the same time get
    /// different ones. Of blocks that do not overlap the `skip` best are left to others. None of `refused` is chosen.
    ///
    /// Marks are a guess. Where nothing is left but what is marked, that is chosen, and Redis decides.
    pub(super) fn choose(&self, hall: &Hall, wish: &Wish, refused: &HashSet<SeatId>, skip: usize) -> Option<Vec<Seat>> {
        let mut marks = self.marks();
        let now = Instant::now();
        let is_marked = |seat: &Seat| marks.get(&seat.id).is_some_and(|until| *until > now);
        let free = |seat: &Seat| seat.status == SeatStatus::Available && !refused.contains(&seat.id);
        let places = nth_best(hall, |seat| free(seat) && !is_marked(seat), wish, skip)
            .or_else(|| nth_best(hall, free, wish, skip))?;
        let chosen: Vec<Seat> = places.into_iter().filter_map(|place| hall.seats().get(place).cloned()).collect();
        add(&mut marks, chosen.iter().map(|seat| seat.id), now);
        Some(chosen)
    }

    /// Marks seats that somebody has.
    pub(super) fn mark(&self, seats: impl IntoIterator<Item = SeatId>) {
        add(&mut self.marks(), seats, Instant::now());
    }

    /// Takes the marks off seats that nobody has.
    pub(super) fn forget(&self, seats: impl IntoIterator<Item = SeatId>) {
        let mut marks = self.marks();
        for seat in seats {
            marks.remove(&seat);
        }
    }

    fn marks(&self) -> MutexGuard<'_, HashMap<SeatId, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(marks: &mut HashMap<SeatId, Instant>, seats: impl IntoIterator<Item = SeatId>, now: Instant) {
    if marks.len() >= MAX_MARKS {
        marks.retain(|_, until| *until > now);
    }
    for seat in seats {
        if marks.len() < MAX_MARKS {
            marks.insert(seat, now + MARK_LIFE);
        }
    }
}

/// The best block, or the one after the `skip` best, or the last there is.
fn nth_best(hall: &Hall, is_free: impl Fn(&Seat) -> bool, wish: &Wish, skip: usize) -> Option<Vec<usize>> {
    let seats = hall.seats();
    let mut left_to_others: HashSet<usize> = HashSet::new();
    let mut best = None;
    for _ in 0..=skip {
        let is_free = |place: usize| is_free(&seats[place]) && !left_to_others.contains(&place);
        match choose(seats, hall.rows(), is_free, wish) {
            Some(found) => {
                left_to_others.extend(&found);
                best = Some(found);
            }
            None => break,
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use common::money::Money;

    use super::*;
    use crate::domain::seat::SeatNumber;

    fn hall(seats: i64) -> Hall {
        let seat = |number| Seat {
            id: SeatId::generate(),
            number: SeatNumber::try_from(number).unwrap(),
            section: "A".to_owned(),
            price: Money::ZERO,
            status: SeatStatus::Available,
        };
        Hall::new((1..=seats).map(seat).collect())
    }

    fn numbers(chosen: Option<Vec<Seat>>) -> Vec<u8> {
        chosen.unwrap_or_default().iter().map(|seat| seat.number.get()).collect()
    }

    #[test]
    fn many_who_ask_at_once_get_different_seats_and_the_rest_is_redis_to_say() {
        let (hall, spoken_for, none) = (hall(8), SpokenFor::default(), HashSet::new());
        let wish = Wish { quantity: 2, section: None, max_price: None, adjacent: true };
        let mut given: Vec<u8> = (0..4).flat_map(|_| numbers(spoken_for.choose(&hall, &wish, &none, 0))).collect();
        given.sort_unstable();
        assert_eq!(given, [1, 2, 3, 4, 5, 6, 7, 8]);
        // All is marked: the best is tried again, but for what was refused.
        let first = spoken_for.choose(&hall, &wish, &none, 0).unwrap();
        let refused = first.iter().map(|seat| seat.id).collect();
        let second = spoken_for.choose(&hall, &wish, &refused, 0).unwrap();
        assert!(second.iter().all(|seat| !refused.contains(&seat.id)));
        spoken_for.forget(hall.seats().iter().map(|seat| seat.id));
        assert_eq!(spoken_for.choose(&hall, &wish, &none, 0), Some(first));
    }

    #[test]
    fn who_leaves_the_best_to_others_gets_a_block_that_does_not_overlap_them() {
        let (hall, none) = (hall(6), HashSet::new());
        let wish = Wish { quantity: 2, section: None, max_price: None, adjacent: true };
        let of = |skip| numbers(SpokenFor::default().choose(&hall, &wish, &none, skip));
        assert_eq!([of(0), of(1), of(2), of(9)], [[3, 4], [1, 2], [5, 6], [5, 6]]);
    }
}
