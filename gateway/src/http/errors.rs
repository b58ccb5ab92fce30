//! The one place where a refusal of the waiting room gets its status.

use common::problem::{ErrorCode, Problem};

use crate::domain::QueueError;
use crate::upstream::Away;

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Self {
        match error {
            QueueError::NoSuchConcert => {
                Problem::new(ErrorCode::NotFound).saying("공연을 찾을 수 없습니다.", "There is no such concert.")
            }
            QueueError::SalesClosed => Problem::new(ErrorCode::SalesClosed),
            QueueError::SoldOut => Problem::new(ErrorCode::SoldOut),
            QueueError::StoreAway(cause) | QueueError::CoreAway(cause) => {
                Problem::new(ErrorCode::ServiceUnavailable).because(cause)
            }
            QueueError::Overloaded => Problem::new(ErrorCode::Overloaded),
        }
    }
}

impl From<Away> for Problem {
    fn from(away: Away) -> Self {
        Problem::new(ErrorCode::ServiceUnavailable).because(away)
    }
}
