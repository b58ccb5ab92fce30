//! Which failure of the domain is which code for clients: one exhaustive match per error, and nowhere else.

use std::time::Duration;

use common::clock::rfc3339;
use common::problem::{ErrorCode, Problem};

use crate::domain::Fault;
use crate::domain::account::SignUpError;
use crate::domain::effect::EffectError;
use crate::domain::ledger::ChargeRefusal;
use crate::domain::managed::AdminRefusal;
use crate::domain::payment::PayRefusal;
use crate::domain::plan::MAX_SECTIONS;
use crate::domain::refund::RefundRefusal;
use crate::domain::reservation::{CancelError, ExtendRefusal, ReserveRefusal};
use crate::domain::session::RefreshError;
use crate::domain::ticket::{CheckInRefusal, NoTicket, UndoRefusal};
use crate::domain::waitlist::JoinRefusal;
use crate::domain::webhook_target::TargetError;
use crate::service::{CredentialError, HashError, NewAccountError, SealError};

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

/// When who was declined too often may try again at the latest.
const DECLINED_RETRY_AFTER: Duration = Duration::from_hours(1);

impl From<PayRefusal> for Problem {
    fn from(refusal: PayRefusal) -> Self {
        Self::new(match refusal {
            PayRefusal::TooOften => return Self::new(ErrorCode::TooManyRequests).retry_after(DECLINED_RETRY_AFTER),
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

impl From<AdminRefusal> for Problem {
    fn from(refusal: AdminRefusal) -> Self {
        match refusal {
            AdminRefusal::NotAdministrator => Self::new(ErrorCode::Forbidden),
            AdminRefusal::UnknownConcert => Self::new(ErrorCode::NotFound),
            AdminRefusal::UnknownSection(section) => Self::new(ErrorCode::NotFound).saying(
                format!("이 공연에는 {section} 구역이나 해당 좌석이 없습니다."),
                format!("The concert has no section {section}, or no such seats in it."),
            ),
            AdminRefusal::UnknownSeats => Self::new(ErrorCode::NotFound)
                .saying("이 공연의 좌석이 아닌 것이 있습니다.", "Some of these seats are not of this concert."),
            AdminRefusal::SectionExists(section) => Self::new(ErrorCode::SectionExists).saying(
                format!("이미 있는 구역입니다: {section}"),
                format!("The concert has the section {section} already."),
            ),
            AdminRefusal::TooManySections => Self::invalid(
                format!("공연의 구역은 {MAX_SECTIONS}개까지입니다."),
                format!("A concert has at most {MAX_SECTIONS} sections."),
            ),
            AdminRefusal::EndsBeforeItOpens => {
                invalid("saleClosesAt은 saleOpensAt보다 뒤여야 합니다.", "saleClosesAt must be after saleOpensAt.")
            }
            AdminRefusal::Over => Self::new(ErrorCode::SalesClosed)
                .saying("이미 지난 공연입니다.", "The day of this concert is over; change its date first."),
            AdminRefusal::SeatsTaken(seats) => {
                let seats = seats.join(", ");
                Self::new(ErrorCode::SeatTaken).saying(
                    format!("이미 선택되었거나 판매된 좌석이 있습니다: {seats}"),
                    format!("Some of these seats are held or sold: {seats}"),
                )
            }
        }
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
        match refusal {
            RefundRefusal::Closed => Self::new(ErrorCode::RefundClosed),
            RefundRefusal::OverLimit => Self::new(ErrorCode::BalanceLimit),
            RefundRefusal::Unsettled => Self::new(ErrorCode::PaymentInProgress),
            RefundRefusal::CheckedIn => Self::new(ErrorCode::AlreadyCheckedIn).saying(
                "입장 처리된 티켓은 환불할 수 없습니다.",
                "Its ticket has been checked in: it can't be given back for its money any more.",
            ),
        }
    }
}

impl From<NoTicket> for Problem {
    fn from(refusal: NoTicket) -> Self {
        Self::new(match refusal {
            NoTicket::Unknown => ErrorCode::NotFound,
            NoTicket::NotPaid => ErrorCode::NotPaid,
            NoTicket::Expired => ErrorCode::ReservationExpired,
            NoTicket::Revoked => ErrorCode::TicketRevoked,
        })
    }
}

impl From<CheckInRefusal> for Problem {
    fn from(refusal: CheckInRefusal) -> Self {
        match refusal {
            CheckInRefusal::Unknown => Self::new(ErrorCode::TicketInvalid),
            CheckInRefusal::WrongConcert => Self::new(ErrorCode::WrongConcert),
            CheckInRefusal::Revoked => Self::new(ErrorCode::TicketRevoked),
            CheckInRefusal::AlreadyCheckedIn { at, by } => Self::new(ErrorCode::AlreadyCheckedIn)
                .saying(
                    format!("이미 입장 처리된 티켓입니다 ({}).", rfc3339(at)),
                    format!("This ticket has been checked in already, at {}.", rfc3339(at)),
                )
                .with("checkedInAt", rfc3339(at))
                .with("checkedInBy", by.to_string()),
            CheckInRefusal::UnknownUser => Self::new(ErrorCode::InvalidSession),
        }
    }
}

impl From<UndoRefusal> for Problem {
    fn from(refusal: UndoRefusal) -> Self {
        Self::new(match refusal {
            UndoRefusal::NeverCheckedIn => ErrorCode::NotFound,
            UndoRefusal::UnknownUser => ErrorCode::InvalidSession,
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

impl From<SealError> for Problem {
    fn from(error: SealError) -> Self {
        match error {
            SealError::NotConfigured => Self::new(ErrorCode::WebhooksNotConfigured),
            SealError::Fault(fault) => fault.into(),
        }
    }
}

impl From<TargetError> for Problem {
    fn from(error: TargetError) -> Self {
        match error {
            TargetError::Malformed => {
                invalid("url이 올바른 https 주소가 아닙니다.", "url is not a valid https address.")
            }
            TargetError::NotHttps => invalid("url은 https여야 합니다.", "url must be https."),
            TargetError::Private => invalid("url은 공개된 주소여야 합니다.", "url must lead to a public address."),
        }
    }
}

impl From<NewAccountError> for Problem {
    fn from(error: NewAccountError) -> Self {
        match error {
            NewAccountError::Hash(error) => error.into(),
            NewAccountError::SignUp(error) => error.into(),
        }
    }
}

impl From<RefreshError> for Problem {
    fn from(error: RefreshError) -> Self {
        match error {
            // Not told apart: whoever tries tokens learns nothing.
            RefreshError::NotValid | RefreshError::Reused(_) => {
                Self::new(ErrorCode::InvalidRefreshToken).because(error)
            }
            RefreshError::Fault(fault) => fault.into(),
        }
    }
}

/// What a password that opens nothing is answered, where `wrong` is what a wrong one is.
pub(super) fn refused(wrong: ErrorCode) -> impl Fn(CredentialError) -> Problem {
    move |error| match error {
        CredentialError::TooOften(too_often) => too_often.into(),
        CredentialError::Wrong => wrong.into(),
        CredentialError::Hash(error) => error.into(),
        CredentialError::Fault(fault) => fault.into(),
    }
}

/// 400 with what is wrong, in both languages.
pub(super) fn invalid(ko: &'static str, en: &'static str) -> Problem {
    Problem::new(ErrorCode::InvalidRequest).saying(ko, en)
}
