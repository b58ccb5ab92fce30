//! The settings of the rate limits. What each counts, and whom it spares, is told in `docs/RATE_LIMITS.md`.

use common::config::{Reader, Setting};
use common::rate_limit::Rate;

/// Sets [`RateLimits::joins_per_user`].
pub const JOINS_PER_MINUTE_PER_USER: Setting = Setting {
    name: "JOINS_PER_MINUTE_PER_USER",
    default: Some("300"),
    unit: "requests a minute; 0 is no limit",
    meaning: "How often a user may join and leave; 20 seconds' worth of it at once.",
};
/// Sets [`RateLimits::polls_per_user`].
pub const POLLS_PER_MINUTE_PER_USER: Setting = Setting {
    name: "POLLS_PER_MINUTE_PER_USER",
    default: Some("120"),
    unit: "requests a minute; 0 is no limit",
    meaning: "How often a user may ask where they stand; 15 seconds' worth of it at once.",
};
/// Sets [`RateLimits::reservations_per_user`].
pub const RESERVATIONS_PER_MINUTE_PER_USER: Setting = Setting {
    name: "RESERVATIONS_PER_MINUTE_PER_USER",
    default: Some("600"),
    unit: "requests a minute; 0 is no limit",
    meaning: "How often a user may try to reserve; 15 seconds' worth of it at once.",
};
/// Sets [`RateLimits::logins_per_address`].
pub const LOGINS_PER_MINUTE_PER_ADDRESS: Setting = Setting {
    name: "LOGINS_PER_MINUTE_PER_ADDRESS",
    default: Some("6000"),
    unit: "requests a minute; 0 is no limit",
    meaning: "How often people at one address may log in, sign up, refresh a session and change a password; 6 seconds' worth of it at once.",
};
/// Sets [`RateLimits::unverified_per_address`].
pub const UNVERIFIED_PER_MINUTE_PER_ADDRESS: Setting = Setting {
    name: "UNVERIFIED_PER_MINUTE_PER_ADDRESS",
    default: Some("6000"),
    unit: "requests a minute; 0 is no limit",
    meaning: "How many requests without a valid token one address may send to the queue and to reserve; 20 seconds' \
              worth of it at once.",
};

/// What one device needs that asks as often as it is told to.
const POLLS_AT_LEAST: u32 = 60;

/// How often what may be done. What comes with a valid token is counted by its user, wherever they are; what does not, by
/// the address that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Joining and leaving.
    pub joins_per_user: Rate,
    /// Asking where one stands: two devices that ask as often as they are told to at most use all of it, and no burst.
    pub polls_per_user: Rate,
    /// Trying to reserve.
    pub reservations_per_user: Rate,
    /// Logging in, signing up, refreshing, changing a password: many people may share an address, so guessing a password is limited by core-api, which
    /// knows the account.
    pub logins_per_address: Rate,
    /// Requests that need a token and have none that is valid.
    pub unverified_per_address: Rate,
}

impl RateLimits {
    /// No limits.
    pub const OFF: Self = Self {
        joins_per_user: Rate::OFF,
        polls_per_user: Rate::OFF,
        reservations_per_user: Rate::OFF,
        logins_per_address: Rate::OFF,
        unverified_per_address: Rate::OFF,
    };

    /// Reads them all. `None` is a fault already noted.
    pub fn read(reader: &mut Reader) -> Option<Self> {
        let joins_per_user = Rate::read(reader, &JOINS_PER_MINUTE_PER_USER, 20);
        let polls_per_user = Rate::read(reader, &POLLS_PER_MINUTE_PER_USER, 15);
        if polls_per_user.is_some_and(|rate| (1..POLLS_AT_LEAST).contains(&rate.per_minute)) {
            reader.fault(
                &POLLS_PER_MINUTE_PER_USER,
                "must be 0 or at least 60, since people are told to ask every second",
            );
        }
        let reservations_per_user = Rate::read(reader, &RESERVATIONS_PER_MINUTE_PER_USER, 15);
        let logins_per_address = Rate::read(reader, &LOGINS_PER_MINUTE_PER_ADDRESS, 6);
        let unverified_per_address = Rate::read(reader, &UNVERIFIED_PER_MINUTE_PER_ADDRESS, 20);
        Some(Self {
            joins_per_user: joins_per_user?,
            polls_per_user: polls_per_user?,
            reservations_per_user: reservations_per_user?,
            logins_per_address: logins_per_address?,
            unverified_per_address: unverified_per_address?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_say_the_bursts_that_there_are() {
        let limits = RateLimits::read(&mut Reader::new([])).unwrap();
        for (setting, rate, burst) in [
            (JOINS_PER_MINUTE_PER_USER, limits.joins_per_user, 100),
            (POLLS_PER_MINUTE_PER_USER, limits.polls_per_user, 30),
            (RESERVATIONS_PER_MINUTE_PER_USER, limits.reservations_per_user, 150),
            (LOGINS_PER_MINUTE_PER_ADDRESS, limits.logins_per_address, 600),
            (UNVERIFIED_PER_MINUTE_PER_ADDRESS, limits.unverified_per_address, 2_000),
        ] {
            assert_eq!(setting.default, Some(&*rate.per_minute.to_string()), "{}", setting.name);
            assert_eq!(rate.burst(), burst, "{}", setting.name);
            assert!(setting.meaning.contains(&format!("; {} seconds' worth", rate.burst_seconds)), "{}", setting.name);
        }
    }

    #[test]
    fn every_fault_is_named() {
        let names = [JOINS_PER_MINUTE_PER_USER, UNVERIFIED_PER_MINUTE_PER_ADDRESS].map(|setting| setting.name);
        let mut reader = Reader::new(names.map(|name| (name.to_owned(), "-1".to_owned())));
        assert_eq!(RateLimits::read(&mut reader), None);
        let message = reader.finish().unwrap_err().to_string();
        assert!(names.iter().all(|name| message.contains(name)), "{message}");
    }

    #[test]
    fn who_asks_as_told_can_not_be_refused() {
        let fault = |polls: &str| {
            let mut reader = Reader::new([(POLLS_PER_MINUTE_PER_USER.name.to_owned(), polls.to_owned())]);
            RateLimits::read(&mut reader);
            reader.finish().is_err()
        };
        assert_eq!(["0", "1", "59", "60"].map(fault), [false, true, true, false]);
    }
}
