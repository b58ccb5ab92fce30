//! Holding the best seats that are free: somebody says how many, and is given seats that nobody else was given.

use std::collections::HashSet;
use std::sync::Arc;

use common::ids::SeatId;

use super::{Catalogue, Reserving, SpokenFor};
use crate::domain::best_available::Wish;
use crate::domain::effect::{Done, EffectError, Record};
use crate::domain::hall::Hall;
use crate::domain::reservation::{Held, Order, ReserveRefusal};
use crate::domain::seat::Seat;

/// How many blocks are tried for one request. Each that is refused teaches this process who has that row.
const TRIES: usize = 16;
/// How many of the best blocks are left to others, at most, by who was refused one.
const SPREAD: usize = 7;

/// Finds seats and holds them.
#[derive(Debug, Clone)]
pub struct BestAvailable {
    reserving: Reserving,
    catalogue: Catalogue,
    spoken_for: SpokenFor,
}

impl BestAvailable {
    /// Over what holds and what is known.
    pub fn new(reserving: Reserving, catalogue: Catalogue) -> Self {
        Self { spoken_for: reserving.spoken_for().clone(), reserving, catalogue }
    }

    /// Holds the best seats for a wish; `order` says for whom, and names no seats. Where another process was faster the
    /// next best is tried. Must run to its end once begun.
    pub async fn hold(
        &self,
        order: Order,
        wish: &Wish,
        record: &Arc<Record<Held>>,
    ) -> Result<Done<Held>, EffectError<ReserveRefusal>> {
        self.reserving.check_size(&order, wish.quantity)?;
        let mut refused: HashSet<SeatId> = HashSet::new();
        for attempt in 0..TRIES {
            let hall = self.catalogue.latest_hall(order.concert).await?;
            // The first goes for the best. Whoever met somebody there makes way, or all who did would meet again.
            let skip = rand::random_range(0..=attempt.min(SPREAD));
            let Some(chosen) = self.spoken_for.choose(&hall, wish, &refused, skip) else { break };
            let ids: Vec<SeatId> = chosen.iter().map(|seat| seat.id).collect();
            let tried = Order { seats: chosen, ..order.clone() };
            match self.reserving.hold(tried.clone(), record).await {
                Ok(done) => return Ok(done),
                Err(EffectError::Refused(ReserveRefusal::SeatTaken)) => {
                    self.spoken_for.forget(ids);
                    refused.extend(self.who_was_faster(&hall, &tried).await);
                }
                Err(nothing_held) => {
                    self.spoken_for.forget(ids);
                    return Err(nothing_held);
                }
            }
        }
        Err(EffectError::Refused(ReserveRefusal::NoSeatsTogether))
    }

    /// Which seats to keep away from after a refusal: those that are locked in the rows that were tried, which others
    /// who ask are kept away from as well; at least those tried.
    async fn who_was_faster(&self, hall: &Hall, tried: &Order) -> Vec<SeatId> {
        let around = hall.rows_of(&tried.seats);
        let locked = self.reserving.locked(tried.concert, &around).await.unwrap_or_default();
        self.spoken_for.mark(locked.iter().copied());
        let is_tried = |id: &SeatId| tried.seats.iter().any(|seat| seat.id == *id);
        if locked.iter().any(is_tried) {
            locked
        } else {
            // Free again, or PostgreSQL said it: there is no telling which of them.
            locked.into_iter().chain(tried.seats.iter().map(|seat: &Seat| seat.id)).collect()
        }
    }
}
