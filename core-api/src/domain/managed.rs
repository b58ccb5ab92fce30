//! Concerts as administrators see and change them.

use chrono::{DateTime, NaiveDate, Utc};
use common::clock::serialize_rfc3339_opt;
use common::ids::{ConcertId, SeatId};
use common::money::Money;
use serde::Serialize;

use super::catalogue::{SaleStatus, sale_status};
use super::seat::{SeatNumber, Section};
use super::text::Text;

/// What a concert or a venue is called.
pub type Name = Text<1, 255>;

/// Why something that an administrator wanted was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminRefusal {
    /// They are no administrator any more, whatever their session says.
    NotAdministrator,
    /// There is no such concert.
    UnknownConcert,
    /// The concert has no such section, or the section no such seats.
    UnknownSection(String),
    /// Some of the seats are not the concert's.
    UnknownSeats,
    /// The concert has this section already.
    SectionExists(String),
    /// It would have more than [`MAX_SECTIONS`](super::plan::MAX_SECTIONS).
    TooManySections,
    /// The sale would end before it opens.
    EndsBeforeItOpens,
    /// The day of the concert is over: its sale can't be opened.
    Over,
    /// These seats are held or sold, or about to be; some of them by name.
    SeatsTaken(Vec<String>),
}

/// What an administrator can change about a concert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConcertFacts {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub venue: String,
    /// The day it is on.
    pub date: NaiveDate,
    /// When everybody can see it; `None`: always.
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    pub announced_at: Option<DateTime<Utc>>,
    /// When its sale opens; `None`: it always was open.
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    pub sale_opens_at: Option<DateTime<Utc>>,
    /// When its sale ends; `None`: with the day of the concert.
    #[serde(serialize_with = "serialize_rfc3339_opt")]
    pub sale_closes_at: Option<DateTime<Utc>>,
    /// How many of its seats a user may have; `None`: as many as the setting says.
    pub seats_per_user: Option<u32>,
}

impl ConcertFacts {
    /// Itself, unless its times contradict each other.
    pub fn checked(self) -> Result<Self, AdminRefusal> {
        match (self.sale_opens_at, self.sale_closes_at) {
            (Some(opens), Some(closes)) if closes <= opens => Err(AdminRefusal::EndsBeforeItOpens),
            _ => Ok(self),
        }
    }
}

/// A change of a concert.
#[derive(Debug, Clone)]
pub enum Change {
    /// Of what is given.
    Edit(Box<Edit>),
    /// Its sale is on from now on.
    Open,
    /// Its sale has ended.
    Close,
}

/// What is given is changed; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    /// What it is called.
    pub name: Option<Name>,
    /// Where it is.
    pub venue: Option<Name>,
    /// The day it is on.
    pub date: Option<NaiveDate>,
    /// When everybody can see it.
    pub announced_at: Option<Option<DateTime<Utc>>>,
    /// When its sale opens.
    pub sale_opens_at: Option<Option<DateTime<Utc>>>,
    /// When its sale ends.
    pub sale_closes_at: Option<Option<DateTime<Utc>>>,
    /// How many of its seats a user may have.
    pub seats_per_user: Option<Option<u32>>,
    /// What the seats of a section cost that are not sold.
    pub prices: Vec<SectionPrice>,
}

/// What the seats of a section cost.
#[derive(Debug, Clone)]
pub struct SectionPrice {
    /// Which section.
    pub section: Section,
    /// What each seat costs.
    pub price: Money,
}

impl Change {
    /// As it is kept in the record.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Edit(_) => "change",
            Self::Open => "open",
            Self::Close => "close",
        }
    }

    /// The prices that it changes.
    pub fn prices(&self) -> &[SectionPrice] {
        match self {
            Self::Edit(edit) => &edit.prices,
            Self::Open | Self::Close => &[],
        }
    }

    /// What comes of it at `now`. Opening what is open, and closing what is closed, changes nothing.
    pub fn apply(&self, before: &ConcertFacts, now: DateTime<Utc>) -> Result<ConcertFacts, AdminRefusal> {
        let mut after = before.clone();
        match self {
            Self::Edit(edit) => edit.apply(&mut after),
            Self::Open => {
                if before.date < now.date_naive() {
                    return Err(AdminRefusal::Over);
                }
                after.sale_opens_at = before.sale_opens_at.map(|opens| opens.min(now));
                after.sale_closes_at = before.sale_closes_at.filter(|closes| *closes > now);
            }
            Self::Close => {
                after.sale_closes_at = Some(before.sale_closes_at.map_or(now, |closes| closes.min(now)));
                // A sale that ends before it has opened never opens.
                after.sale_opens_at = before.sale_opens_at.filter(|opens| *opens < now);
            }
        }
        if matches!(self, Self::Edit(_)) { after.checked() } else { Ok(after) }
    }
}

impl Edit {
    fn apply(&self, after: &mut ConcertFacts) {
        let text = |given: &Option<Name>| given.as_ref().map(|name| name.as_str().to_owned());
        set(&mut after.name, text(&self.name));
        set(&mut after.venue, text(&self.venue));
        set(&mut after.date, self.date);
        set(&mut after.announced_at, self.announced_at);
        set(&mut after.sale_opens_at, self.sale_opens_at);
        set(&mut after.sale_closes_at, self.sale_closes_at);
        set(&mut after.seats_per_user, self.seats_per_user);
    }
}

fn set<T>(fact: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *fact = given;
    }
}

/// How many seats are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeatCounts {
    /// All.
    pub total: i64,
    /// Can be held.
    pub available: i64,
    /// Held and not paid for.
    pub held: i64,
    /// Paid for.
    pub sold: i64,
    /// Kept out of the sale.
    pub held_back: i64,
}

/// A concert with its counts.
#[derive(Debug, Clone)]
pub struct ManagedConcert {
    /// Which one.
    pub id: ConcertId,
    /// What can be changed about it.
    pub facts: ConcertFacts,
    /// Its seats.
    pub seats: SeatCounts,
    /// The database's time at the reading.
    pub read_at: DateTime<Utc>,
}

impl ManagedConcert {
    /// Whether it is being sold.
    pub fn status(&self) -> SaleStatus {
        let facts = &self.facts;
        let unsold = self.seats.available + self.seats.held;
        sale_status(facts.date, facts.sale_opens_at, facts.sale_closes_at, unsold, self.read_at)
    }
}

/// Which seats an administrator means.
#[derive(Debug, Clone)]
pub enum SeatsMeant {
    /// By their ids.
    Ids(Vec<SeatId>),
    /// Those of a section whose numbers lie in between.
    Range {
        /// The section.
        section: Section,
        /// The lowest number.
        from: SeatNumber,
        /// The highest number.
        to: SeatNumber,
    },
}

/// What came of holding seats back, or of releasing them.
#[derive(Debug, Clone)]
pub struct HeldBack {
    /// The seats whose state was changed.
    pub changed: Vec<SeatId>,
    /// How many of the concert are held back now.
    pub held_back: i64,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn facts(opens: Option<DateTime<Utc>>, closes: Option<DateTime<Utc>>) -> ConcertFacts {
        ConcertFacts {
            name: "a".to_owned(),
            venue: "b".to_owned(),
            date: NaiveDate::from_ymd_opt(2030, 6, 15).unwrap(),
            announced_at: None,
            sale_opens_at: opens,
            sale_closes_at: closes,
            seats_per_user: None,
        }
    }

    #[test]
    fn opening_and_closing_say_it_once() {
        let now: DateTime<Utc> = "2030-06-15T12:00:00Z".parse().unwrap();
        let (earlier, later) = (Some(now - TimeDelta::hours(1)), Some(now + TimeDelta::hours(1)));
        let open = |opens, closes| Change::Open.apply(&facts(opens, closes), now).unwrap();
        assert_eq!(open(later, None), facts(Some(now), None));
        assert_eq!(open(earlier, earlier), facts(earlier, None));
        assert_eq!(open(earlier, later), facts(earlier, later));
        assert_eq!(open(None, None), facts(None, None));
        let close = |opens, closes| Change::Close.apply(&facts(opens, closes), now).unwrap();
        assert_eq!(close(earlier, None), facts(earlier, Some(now)));
        assert_eq!(close(earlier, later), facts(earlier, Some(now)));
        assert_eq!(close(None, earlier), facts(None, earlier));
        assert_eq!(close(later, None), facts(None, Some(now)));
        let over = Change::Open.apply(&facts(None, None), now + TimeDelta::days(1));
        assert_eq!(over, Err(AdminRefusal::Over));
    }

    #[test]
    fn an_edit_changes_what_is_given_and_refuses_what_contradicts_itself() {
        let now: DateTime<Utc> = "2030-06-15T12:00:00Z".parse().unwrap();
        let before = facts(Some(now), None);
        let edit = |edit: Edit| Change::Edit(Box::new(edit)).apply(&before, now);
        assert_eq!(edit(Edit::default()), Ok(before.clone()));
        let named = edit(Edit { name: Some(Name::parse("새 이름").unwrap()), ..Edit::default() }).unwrap();
        assert_eq!((named.name.as_str(), named.sale_opens_at), ("새 이름", Some(now)));
        let always = edit(Edit { sale_opens_at: Some(None), ..Edit::default() }).unwrap();
        assert_eq!(always.sale_opens_at, None);
        let backwards = edit(Edit { sale_closes_at: Some(Some(now)), ..Edit::default() });
        assert_eq!(backwards, Err(AdminRefusal::EndsBeforeItOpens));
    }
}
