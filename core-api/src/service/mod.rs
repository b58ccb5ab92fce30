//! What takes more than one store, or a cache, or a pool: the steps between a request and its answer.

mod best_available;
mod catalogue;
mod logins;
mod passwords;
mod payments;
mod provider_payments;
mod reserving;
mod returns;
mod seat_watch;
mod spoken_for;
mod turns;

pub use best_available::BestAvailable;
pub use catalogue::{Catalogue, SeatList};
pub use logins::Logins;
pub use passwords::{HashError, Passwords};
pub use payments::{PaymentBatches, Payments};
pub use provider_payments::{CardOrder, CardOutcome, ProviderPayments, ProviderRules, Verdict};
pub use reserving::Reserving;
pub use returns::Returns;
pub use seat_watch::{SeatWatch, Watcher};
pub use spoken_for::SpokenFor;
pub use turns::{Turn, Turns};
