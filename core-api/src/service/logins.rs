//! How often one account may be tried.

use std::hash::{BuildHasher as _, RandomState};

use common::clock::SharedClock;
use common::rate_limit::{Rate, RateLimit, TooOften};

use crate::domain::account::Login;

/// Counts logins by the account that they name, whether it exists or not: who is refused learns nothing. Cloning it
/// shares the count.
///
/// No name is kept, only its hash under a key that lives as long as the process. An account goes by two names, its id
/// and its email, and each has the quota: to find out that both are one would tell whoever tries that they are.
#[derive(Debug, Clone)]
pub struct Logins {
    tried: RateLimit<u64>,
    hash: RandomState,
}

impl Logins {
    /// At most `rate` for each name.
    pub fn new(rate: Rate, clock: &SharedClock) -> Self {
        Self { tried: RateLimit::new(rate, clock), hash: RandomState::new() }
    }

    /// Counts one more try, unless that is too often.
    pub fn check(&self, login: &Login) -> Result<(), TooOften> {
        self.tried.check(&self.hash.hash_one(login))
    }

    /// Forgets whom nobody tried of late.
    pub fn forget(&self) {
        self.tried.forget();
    }

    /// How many names are remembered.
    pub fn remembered(&self) -> usize {
        self.tried.keys()
    }
}
