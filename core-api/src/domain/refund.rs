//! Giving back what is paid for: until when, and what comes of it.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use common::money::Money;

/// Why a paid reservation was not given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefundRefusal {
    /// The concert is too near.
    Closed,
    /// The balance would be over what a balance can be.
    OverLimit,
    /// Its ticket was let in.
    CheckedIn,
    /// The provider has not taken the money yet.
    Unsettled,
}

/// The balance after `amount` has gone back to it. Refunds end `until` before the concert's day begins in UTC; `now` is
/// the time at which the reservation and the balance were locked.
pub fn decide(
    balance: Money,
    amount: Money,
    concert_date: NaiveDate,
    until: TimeDelta,
    now: DateTime<Utc>,
) -> Result<Money, RefundRefusal> {
    in_time(concert_date, until, now)?;
    balance.checked_add(amount).ok_or(RefundRefusal::OverLimit)
}

/// Whether refunds go on: they end `until` before the concert's day begins in UTC.
pub fn in_time(concert_date: NaiveDate, until: TimeDelta, now: DateTime<Utc>) -> Result<(), RefundRefusal> {
    let end = concert_date.and_time(NaiveTime::MIN).and_utc() - until;
    if now < end { Ok(()) } else { Err(RefundRefusal::Closed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refunds_end_in_time_and_at_the_limit() {
        let (date, until) = (NaiveDate::from_ymd_opt(2030, 1, 3).unwrap(), TimeDelta::hours(24));
        let end = NaiveDate::from_ymd_opt(2030, 1, 2).unwrap().and_time(NaiveTime::MIN).and_utc();
        let (some, cent) = (Money::from_json_number("99999999.98").unwrap(), Money::from_json_number("0.01").unwrap());
        let before = end - TimeDelta::microseconds(1);
        assert_eq!(decide(some, cent, date, until, before), Ok(Money::MAX));
        assert_eq!(decide(some, cent, date, until, end), Err(RefundRefusal::Closed));
        assert_eq!(decide(Money::MAX, cent, date, until, before), Err(RefundRefusal::OverLimit));
    }
}
