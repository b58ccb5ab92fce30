//! core-api as the gateway sees it: a set of equal peers to ask and to pass requests on to.

mod concerts;
mod core_api;

pub use concerts::{ConcertList, Concerts};
pub use core_api::{Away, CoreApi};
