//! What takes more than one store, or a cache, or a pool: the steps between a request and its answer.

mod catalogue;
mod logins;
mod passwords;
mod payments;
mod reserving;
mod turns;

pub use catalogue::{Catalogue, SeatList};
pub use logins::Logins;
pub use passwords::{HashError, Passwords};
pub use payments::{PaymentBatches, Payments};
pub use reserving::Reserving;
pub use turns::{Turn, Turns};
