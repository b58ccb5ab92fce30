//! What takes more than one store, or a cache, or a pool: the steps between a request and its answer.

mod accounts;
mod best_available;
mod catalogue;
mod handing_on;
mod left_behind;
mod logins;
mod passwords;
mod payments;
mod provider_payments;
mod reports;
mod reserving;
mod returns;
mod sealing;
mod seat_watch;
mod spoken_for;
mod turns;
mod webhook_sender;
mod webhooks;

pub use accounts::{Accounts, CredentialError, NewAccountError, Tokens};
pub use best_available::BestAvailable;
pub use catalogue::{Catalogue, SeatList};
pub use handing_on::HandingOn;
pub use left_behind::LeftBehind;
pub use logins::Logins;
pub use passwords::{HashCost, HashError, Passwords};
pub use payments::{PaymentBatches, Payments};
pub use provider_payments::{CardOrder, CardOutcome, ProviderPayments, ProviderRules, Verdict};
pub use reports::{ORDERS_PER_PAGE, Reports};
pub use reserving::Reserving;
pub use returns::Returns;
pub use sealing::SealingKeys;
pub use seat_watch::{SeatWatch, Watcher};
pub use spoken_for::SpokenFor;
pub use turns::{Turn, Turns};
pub use webhook_sender::WebhookSender;
pub use webhooks::{SealError, WebhookSettings, Webhooks, new_secret};
