//! Payments that a provider settles: what comes next, from how far we are and what the provider says.
//!
//! The provider is another party, which answers late, twice, or not at all. So nothing here depends on an answer to a
//! particular call: every call tells how far the payment has come *there*, and that together with how far it has come
//! *here* decides the one next step. Whoever takes it, the request or the reconciler, takes the same.

use chrono::{DateTime, TimeDelta, Utc};
use common::ids::{ConcertId, PaymentId, ProviderPaymentId, ReservationId, UserId};
use common::money::Money;
use futures_util::future::BoxFuture;

use super::Fault;
use super::reservation::SeatLock;

/// How a payment is made through a provider, as clients and the database name it.
pub const METHOD: &str = "card";

/// How long a provider that once knew a payment may say that it knows of none before it is believed.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::seconds(60);

/// How far an attempt has come here. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentState {
    /// The provider is asked, and the hold is kept meanwhile.
    Created,
    /// The money is set aside and the seats are the user's; it is still to be taken.
    Authorised,
    /// The money is taken.
    Captured,
    /// Nothing was taken or set aside.
    Declined,
    /// Nothing is to be taken; what may have been set aside is still to be given free.
    VoidDue,
    /// That is done.
    Voided,
}

impl PaymentState {
    const ALL: [Self; 6] =
        [Self::Created, Self::Authorised, Self::Captured, Self::Declined, Self::VoidDue, Self::Voided];

    /// As in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Authorised => "authorised",
            Self::Captured => "captured",
            Self::Declined => "declined",
            Self::VoidDue => "void_due",
            Self::Voided => "voided",
        }
    }

    /// Reads what [`as_str`](Self::as_str) wrote.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// How far a payment has come at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProviderState {
    /// It knows of none.
    Unknown,
    /// It has not decided yet.
    Processing,
    /// The money is set aside.
    Authorised,
    /// It will not be.
    Declined,
    /// The money is taken.
    Captured,
    /// It could not be taken, and will not be.
    CaptureFailed,
    /// What was set aside is free again.
    Voided,
    /// All of what was taken was given back.
    Refunded,
}

impl ProviderState {
    /// As providers' messages name it; `None` for what we don't know.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "processing" => Self::Processing,
            "authorised" => Self::Authorised,
            "declined" => Self::Declined,
            "captured" => Self::Captured,
            "capture_failed" => Self::CaptureFailed,
            "voided" => Self::Voided,
            "refunded" => Self::Refunded,
            _ => return None,
        })
    }
}

/// What a provider says of a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// How far it has come.
    pub state: ProviderState,
    /// The provider's own name of it.
    pub reference: Option<String>,
}

/// What stands for a user's card, made by the provider for this one payment. It is passed on and never kept.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentToken(String);

impl PaymentToken {
    /// Reads one: 1–255 visible ASCII characters.
    pub fn parse(text: &str) -> Option<Self> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        ((1..=255).contains(&text.len()) && visible).then(|| Self(text.to_owned()))
    }

    /// For the provider alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PaymentToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PaymentToken(…)")
    }
}

/// Somebody who takes money. Every call may be repeated: a payment, and a refund, is known by the id that we give it.
///
/// A fault means that it is unknown whether the call had an effect.
pub trait PaymentProvider: std::fmt::Debug + Send + Sync {
    /// What it is called: a part of the path that its messages come to.
    fn name(&self) -> &str;
    /// Sets money aside.
    fn authorise<'a>(
        &'a self,
        id: ProviderPaymentId,
        amount: Money,
        token: &'a PaymentToken,
    ) -> BoxFuture<'a, Result<Told, Fault>>;
    /// How far a payment has come.
    fn find(&self, id: ProviderPaymentId) -> BoxFuture<'_, Result<Told, Fault>>;
    /// Takes what was set aside.
    fn capture(&self, id: ProviderPaymentId) -> BoxFuture<'_, Result<Told, Fault>>;
    /// Gives free what was set aside. Of a payment that it does not know it notes that it is not to be made: a call to
    /// authorise it that is still on its way comes too late.
    fn void(&self, id: ProviderPaymentId) -> BoxFuture<'_, Result<Told, Fault>>;
    /// Gives back a part of what was taken; `refund` names it.
    fn refund(&self, id: ProviderPaymentId, refund: PaymentId, amount: Money) -> BoxFuture<'_, Result<(), Fault>>;
}

/// An attempt as it stands in the database.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Which one.
    pub id: ProviderPaymentId,
    /// Whose.
    pub user: UserId,
    /// What is to be paid in all.
    pub amount: Money,
    /// How far it has come.
    pub state: PaymentState,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when it has been in this state.
    pub state_since: DateTime<Utc>,
    /// Until when the hold waits for it.
    pub decide_until: DateTime<Utc>,
    /// The database's time at the reading.
    pub read_at: DateTime<Utc>,
}

/// The one thing to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is at its end.
    Done,
    /// Ask again later.
    Wait,
    /// The seats become the user's, if they still are to be had.
    Complete,
    /// Nothing was taken: the hold is as it was.
    Decline,
    /// Nothing is to be taken any more: the hold is as it was.
    GiveUp,
    /// Have the money taken.
    Capture,
    /// Note that it is.
    Settle,
    /// The money can't be had: the seats are taken back.
    Revoke,
    /// Have what was set aside given free.
    Void,
    /// Have what was taken given back: it never should have been.
    ReturnAll,
    /// Note that nothing is set aside any more.
    Close,
}

impl Attempt {
    /// What comes next, now that the provider has said how far it is. A call of which it has never heard within
    /// `unheard_for` is not going to reach it.
    pub fn next(&self, told: ProviderState, unheard_for: TimeDelta) -> Step {
        use ProviderState as P;
        let is_overdue = self.read_at >= self.decide_until;
        match (self.state, told) {
            (PaymentState::Captured | PaymentState::Declined | PaymentState::Voided, _) => Step::Done,

            (PaymentState::Created, P::Authorised | P::Captured) => Step::Complete,
            (PaymentState::Created, P::Declined | P::CaptureFailed | P::Voided | P::Refunded) => Step::Decline,
            (PaymentState::Created, P::Processing) if !is_overdue => Step::Wait,
            (PaymentState::Created, P::Unknown) if self.read_at - self.created_at < unheard_for => Step::Wait,
            (PaymentState::Created, P::Processing | P::Unknown) => Step::GiveUp,

            (PaymentState::Authorised, P::Authorised) => Step::Capture,
            (PaymentState::Authorised, P::Captured) => Step::Settle,
            (PaymentState::Authorised, P::Processing) => Step::Wait,
            (PaymentState::Authorised, P::Unknown) if self.read_at - self.state_since < FORGOTTEN_AFTER => Step::Wait,
            (PaymentState::Authorised, P::Unknown | P::Declined | P::CaptureFailed | P::Voided | P::Refunded) => {
                Step::Revoke
            }

            (PaymentState::VoidDue, P::Voided | P::Declined | P::Refunded) => Step::Close,
            (PaymentState::VoidDue, P::Captured) => Step::ReturnAll,
            (PaymentState::VoidDue, P::Unknown | P::Processing | P::Authorised | P::CaptureFailed) => Step::Void,
        }
    }
}

/// Whether a message that says `told` can be news to an attempt in this state. What is no news is only noted, whenever and
/// however often it comes.
pub fn is_news(state: PaymentState, told: ProviderState) -> bool {
    use ProviderState as P;
    match state {
        PaymentState::Captured | PaymentState::Declined | PaymentState::Voided => false,
        PaymentState::Created => told != P::Processing,
        PaymentState::Authorised => !matches!(told, P::Processing | P::Authorised),
        PaymentState::VoidDue => matches!(told, P::Voided | P::Declined | P::Captured | P::Refunded),
    }
}

/// One reservation's part of an attempt.
#[derive(Debug, Clone, Copy)]
pub struct AttemptPart {
    /// The payment.
    pub payment: PaymentId,
    /// What is paid for.
    pub reservation: ReservationId,
    /// How much of it.
    pub amount: Money,
}

/// Seats that changed hands, or came back.
#[derive(Debug, Clone)]
pub struct Handed {
    /// Whose they are, or were.
    pub user: UserId,
    /// Their locks.
    pub locks: Vec<SeatLock>,
}

/// Which concerts seats are of, each concert once.
pub fn concerts_of<'a>(locks: impl IntoIterator<Item = &'a SeatLock>) -> Vec<ConcertId> {
    let mut concerts: Vec<_> = locks.into_iter().map(|lock| lock.concert).collect();
    concerts.sort_unstable();
    concerts.dedup();
    concerts
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNHEARD: TimeDelta = TimeDelta::seconds(6);
    const STATES: [ProviderState; 8] = [
        ProviderState::Unknown,
        ProviderState::Processing,
        ProviderState::Authorised,
        ProviderState::Declined,
        ProviderState::Captured,
        ProviderState::CaptureFailed,
        ProviderState::Voided,
        ProviderState::Refunded,
    ];

    fn attempt(state: PaymentState, age_seconds: i64) -> Attempt {
        let start = DateTime::UNIX_EPOCH;
        Attempt {
            id: ProviderPaymentId::generate(),
            user: UserId::generate(),
            amount: Money::MAX,
            state,
            created_at: start,
            state_since: start,
            decide_until: start + TimeDelta::seconds(60),
            read_at: start + TimeDelta::seconds(age_seconds),
        }
    }

    fn next(state: PaymentState, told: ProviderState, age_seconds: i64) -> Step {
        attempt(state, age_seconds).next(told, UNHEARD)
    }

    #[test]
    fn an_undecided_attempt_is_given_up_only_once_nothing_can_come_of_it() {
        use PaymentState::Created;
        assert_eq!(next(Created, ProviderState::Unknown, 5), Step::Wait, "the call may still be on its way");
        assert_eq!(next(Created, ProviderState::Unknown, 6), Step::GiveUp);
        assert_eq!(next(Created, ProviderState::Processing, 59), Step::Wait);
        assert_eq!(next(Created, ProviderState::Processing, 60), Step::GiveUp);
        assert_eq!(next(Created, ProviderState::Authorised, 600), Step::Complete, "the hold decides, under its lock");
    }

    #[test]
    fn a_ticket_is_taken_back_only_when_its_money_can_not_be_had() {
        use PaymentState::Authorised;
        for told in STATES {
            let expected = match told {
                ProviderState::Authorised => Step::Capture,
                ProviderState::Captured => Step::Settle,
                ProviderState::Processing | ProviderState::Unknown => Step::Wait,
                _ => Step::Revoke,
            };
            assert_eq!(next(Authorised, told, 59), expected, "{told:?}");
        }
        assert_eq!(next(Authorised, ProviderState::Unknown, 60), Step::Revoke);
    }

    #[test]
    fn what_is_at_its_end_stays_there_whatever_is_told() {
        for state in [PaymentState::Captured, PaymentState::Declined, PaymentState::Voided] {
            for told in STATES {
                assert_eq!(next(state, told, 1_000), Step::Done);
                assert!(!is_news(state, told));
            }
        }
    }

    #[test]
    fn nothing_stays_set_aside_for_what_was_given_up() {
        for told in STATES {
            let step = next(PaymentState::VoidDue, told, 0);
            assert!(matches!(step, Step::Void | Step::ReturnAll | Step::Close), "{told:?}: {step:?}");
        }
        assert_eq!(next(PaymentState::VoidDue, ProviderState::Captured, 0), Step::ReturnAll);
    }

    #[test]
    fn states_read_as_they_are_written_and_tokens_are_not_shown() {
        for state in PaymentState::ALL {
            assert_eq!(PaymentState::parse(state.as_str()), Some(state));
        }
        let token = PaymentToken::parse("tok_secret").unwrap();
        assert_eq!(format!("{token:?}"), "PaymentToken(…)");
        for bad in ["", "a b", "키", &"t".repeat(256)] {
            assert_eq!(PaymentToken::parse(bad), None, "{bad}");
        }
    }
}
