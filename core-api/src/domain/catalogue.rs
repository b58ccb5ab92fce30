//! Concerts and when they are sold.

use std::collections::HashMap;
use std::time::Instant;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use common::ids::ConcertId;
use serde::Serialize;

use super::branding::Branding;

/// Whether a concert is being sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SaleStatus {
    /// Seats can be held, if one is free.
    OnSale,
    /// The sale opens later.
    Scheduled,
    /// Every seat is paid for, or not in the sale.
    SoldOut,
    /// The sale, or the concert itself, is over.
    Closed,
}

/// A concert, and how many of its seats were free a moment ago.
#[derive(Debug, Clone)]
pub struct Concert {
    /// Which one.
    pub id: ConcertId,
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub venue: String,
    /// The day it is on.
    pub date: NaiveDate,
    /// When its sale opens; `None`: it always was open.
    pub sale_opens_at: Option<DateTime<Utc>>,
    /// When its sale ends; `None`: with the day of the concert.
    pub sale_closed_at: Option<DateTime<Utc>>,
    /// How many of its seats a user may hold and own, where it has a limit of its own.
    pub seats_per_user: Option<u32>,
    /// All its seats.
    pub total_seats: i64,
    /// Those nobody holds or has bought.
    pub available_seats: i64,
    /// Those in the sale that nobody has bought.
    pub unsold_seats: i64,
    /// How many are paid for.
    pub sold_seats: i64,
    /// What its pages show of the organiser.
    pub branding: Branding,
}

impl Concert {
    /// Whether it is being sold at `now`.
    pub fn status(&self, now: DateTime<Utc>) -> SaleStatus {
        sale_status(self.date, self.sale_opens_at, self.sale_closed_at, self.unsold_seats, now)
    }
}

/// Whether a concert of that day, whose sale opens and ends then, is being sold at `now`.
pub fn sale_status(
    date: NaiveDate,
    opens_at: Option<DateTime<Utc>>,
    closed_at: Option<DateTime<Utc>>,
    unsold_seats: i64,
    now: DateTime<Utc>,
) -> SaleStatus {
    if closed_at.is_some_and(|end| end <= now) || date < now.date_naive() {
        SaleStatus::Closed
    } else if opens_at.is_some_and(|start| start > now) {
        SaleStatus::Scheduled
    } else if unsold_seats == 0 {
        SaleStatus::SoldOut
    } else {
        SaleStatus::OnSale
    }
}

/// Which concerts a list is of.
#[derive(Debug, Clone, Copy, Default)]
pub struct ConcertFilter {
    /// Only those on sale that have a free seat.
    pub available: bool,
    /// Only those on this day or later.
    pub from: Option<NaiveDate>,
    /// Only those on this day or earlier.
    pub to: Option<NaiveDate>,
}

/// All concerts as they were at one moment.
#[derive(Debug)]
pub struct Snapshot {
    concerts: Vec<Concert>,
    by_id: HashMap<ConcertId, usize>,
    read_at: Instant,
    /// The database's time at the reading.
    database_time: DateTime<Utc>,
}

impl Snapshot {
    /// Of these concerts, in the order of lists, read at `database_time`, which is now.
    pub fn new(concerts: Vec<Concert>, database_time: DateTime<Utc>) -> Self {
        let by_id = concerts.iter().enumerate().map(|(index, concert)| (concert.id, index)).collect();
        Self { concerts, by_id, read_at: Instant::now(), database_time }
    }

    /// The database's time now: the one clock that opens and closes sales, the same for every process.
    pub fn now(&self) -> DateTime<Utc> {
        self.database_time + TimeDelta::from_std(self.read_at.elapsed()).unwrap_or_default()
    }

    /// A concert.
    pub fn concert(&self, id: ConcertId) -> Option<&Concert> {
        self.by_id.get(&id).and_then(|index| self.concerts.get(*index))
    }

    /// Those that a filter lets through, in the order of lists.
    pub fn matching(&self, filter: ConcertFilter) -> impl Iterator<Item = &Concert> {
        let now = self.now();
        self.concerts.iter().filter(move |concert| {
            filter.from.is_none_or(|from| concert.date >= from)
                && filter.to.is_none_or(|to| concert.date <= to)
                && (!filter.available || (concert.status(now) == SaleStatus::OnSale && concert.available_seats > 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concert() -> Concert {
        Concert {
            id: ConcertId::generate(),
            name: String::new(),
            venue: String::new(),
            date: NaiveDate::from_ymd_opt(2030, 6, 15).unwrap(),
            sale_opens_at: None,
            sale_closed_at: None,
            seats_per_user: None,
            total_seats: 2,
            available_seats: 1,
            unsold_seats: 2,
            sold_seats: 0,
            branding: Branding::default(),
        }
    }

    #[test]
    fn a_sale_opens_sells_out_and_ends() {
        let now: DateTime<Utc> = "2030-06-15T12:00:00Z".parse().unwrap();
        let second = TimeDelta::seconds(1);
        let status = |change: fn(&mut Concert, DateTime<Utc>)| {
            let mut concert = concert();
            change(&mut concert, now);
            concert.status(now)
        };
        assert_eq!(status(|_, _| {}), SaleStatus::OnSale);
        assert_eq!(status(|c, now| c.sale_opens_at = Some(now + TimeDelta::seconds(1))), SaleStatus::Scheduled);
        assert_eq!(status(|c, now| c.sale_opens_at = Some(now)), SaleStatus::OnSale);
        assert_eq!(status(|c, _| c.available_seats = 0), SaleStatus::OnSale);
        assert_eq!(status(|c, _| c.unsold_seats = 0), SaleStatus::SoldOut);
        assert_eq!(status(|c, now| c.sale_closed_at = Some(now)), SaleStatus::Closed);
        assert_eq!(concert().status(now + TimeDelta::hours(12) - second), SaleStatus::OnSale);
        assert_eq!(concert().status(now + TimeDelta::hours(12)), SaleStatus::Closed);
    }
}
