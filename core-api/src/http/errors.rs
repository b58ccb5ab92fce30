//! Which failure of the domain is which code for clients: one exhaustive match per error, and nowhere else.

use common::problem::{ErrorCode, Problem};

use crate::domain::Fault;
use crate::domain::account::SignUpError;
use crate::domain::effect::EffectError;
use crate::domain::ledger::ChargeRefusal;
use crate::domain::payment::PayRefusal;
use crate::domain::refund::RefundRefusal;
use crate::domain::reservation::{CancelError, ExtendRefusal, ReserveRefusal};
use crate::domain::waitlist::JoinRefusal;
use crate::service::HashError;

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let code = match fault {
            Fault::Unavailable(_) => ErrorCode::ServiceUnavailable,
            Fault::Internal(_) => ErrorCode::Internal,
        };
        Self::new(code).because(fault)
    }
}

impl<R: Into<Problem>> From<EffectError<R>> for Problem {
    fn from(error: EffectError<R>) -> Self {
        match error {
            EffectError::Refused(refusal) => refusal.into(),
            EffectError::Superseded => Self::new(ErrorCode::IdempotencyInProgress),
            EffectError::Fault(fault) | EffectError::Unsettled(fault) => fault.into(),
        }
    }
}

impl From<ReserveRefusal> for Problem {
    fn from(refusal: ReserveRefusal) -> Self {
        Self::new(match refusal {
            ReserveRefusal::NotAdmitted => ErrorCode::NotAdmitted,
            ReserveRefusal::SeatTaken => ErrorCode::SeatTaken,
            ReserveRefusal::NoSeatsTogether => ErrorCode::NoSeatsTogether,
            ReserveRefusal::SeatLimit => ErrorCode::SeatLimit,
            ReserveRefusal::UnknownUser => ErrorCode::InvalidSession,
        })
    }
}

impl From<PayRefusal> for Problem {
    fn from(refusal: PayRefusal) -> Self {
        Self::new(match refusal {
            PayRefusal::UnknownReservation => ErrorCode::NotFound,
            PayRefusal::AlreadyPaid => ErrorCode::AlreadyPaid,
            PayRefusal::InProgress => ErrorCode::PaymentInProgress,
            PayRefusal::Expired => ErrorCode::ReservationExpired,
            PayRefusal::InsufficientBalance => ErrorCode::InsufficientBalance,
            PayRefusal::UnknownUser => ErrorCode::InvalidSession,
        })
    }
}

impl From<ChargeRefusal> for Problem {
    fn from(refusal: ChargeRefusal) -> Self {
        match refusal {
            ChargeRefusal::OverLimit => Self::new(ErrorCode::InvalidRequest)
                .saying("잔액은 99,999,999.99를 넘을 수 없습니다.", "A balance is at most 99,999,999.99."),
            ChargeRefusal::UnknownUser => Self::new(ErrorCode::InvalidSession),
        }
    }
}

impl From<CancelError> for Problem {
    fn from(error: CancelError) -> Self {
        match error {
            CancelError::Unknown => Self::new(ErrorCode::NotFound),
            CancelError::Refused(refusal) => refusal.into(),
            CancelError::Fault(fault) => fault.into(),
        }
    }
}

impl From<JoinRefusal> for Problem {
    fn from(refusal: JoinRefusal) -> Self {
        Self::new(match refusal {
            JoinRefusal::Full => ErrorCode::WaitlistFull,
            JoinRefusal::UnknownUser => ErrorCode::InvalidSession,
        })
    }
}

impl From<ExtendRefusal> for Problem {
    fn from(refusal: ExtendRefusal) -> Self {
        Self::new(match refusal {
            ExtendRefusal::Unknown => ErrorCode::NotFound,
            ExtendRefusal::NotOffered => ErrorCode::NotExtendable,
            ExtendRefusal::AlreadyPaid => ErrorCode::AlreadyPaid,
            ExtendRefusal::Expired => ErrorCode::ReservationExpired,
            ExtendRefusal::AlreadyExtended => ErrorCode::AlreadyExtended,
        })
    }
}

impl From<RefundRefusal> for Problem {
    fn from(refusal: RefundRefusal) -> Self {
        Self::new(match refusal {
            RefundRefusal::Closed => ErrorCode::RefundClosed,
            RefundRefusal::OverLimit => ErrorCode::BalanceLimit,
            RefundRefusal::Unsettled => ErrorCode::PaymentInProgress,
        })
    }
}

impl From<SignUpError> for Problem {
    fn from(error: SignUpError) -> Self {
        match error {
            SignUpError::EmailTaken => Self::new(ErrorCode::EmailTaken),
            SignUpError::Fault(fault) => fault.into(),
        }
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy(wait) => Self::new(ErrorCode::TooManyRequests).retry_after(wait),
            HashError::Failed(cause) => Self::new(ErrorCode::Internal).because(cause),
        }
    }
}

/// 400 with what is wrong, in both languages.
pub(super) fn invalid(ko: &'static str, en: &'static str) -> Problem {
    Problem::new(ErrorCode::InvalidRequest).saying(ko, en)
}
