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
            QueueError::Rebuilding => Problem::new(ErrorCode::ServiceUnavailable)
                .saying(
                    "대기열을 복구하고 있습니다. 순서는 그대로 유지됩니다. 잠시 후 다시 시도해 주세요.",
                    "The queue is being put together again. Your place is kept. Try again in a moment.",
                )
                .because("the room is being rebuilt"),
            QueueError::Overloaded => Problem::new(ErrorCode::Overloaded),
        }
    }
}

impl From<Away> for Problem {
    fn from(away: Away) -> Self {
        Problem::new(ErrorCode::ServiceUnavailable).because(away)
    }
}
