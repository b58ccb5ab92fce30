//! Paying for reservations.

use axum::extract::State;
use axum::response::Response;
use common::http::{JsonBytes, SignedIn, given};
use common::ids::{PaymentId, ReservationId, UserId};
use common::money::Money;
use common::problem::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};

use super::card_payments;
use super::errors::invalid;
use super::idempotency::Once;
use crate::domain::effect::{Answer, Claim, Record};
use crate::domain::payment::{Bill, Paid, PaidReservation};
use crate::domain::provider_payment::{AttemptPart, METHOD, PaymentToken};
use crate::state::AppState;

/// The most reservations of one payment.
const MAX_RESERVATIONS: usize = 20;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PaymentRequest {
    #[serde(default, deserialize_with = "given")]
    reservation_id: Option<ReservationId>,
    #[serde(default, deserialize_with = "given")]
    reservation_ids: Option<Vec<ReservationId>>,
    payment_method: Option<String>,
    payment_token: Option<String>,
}

/// How it is paid.
pub(super) enum PaymentMethod {
    /// From the user's balance.
    Balance,
    /// Through the provider.
    Card(PaymentToken),
}

impl PaymentRequest {
    /// How it is to be paid. What is not settled here needs what stands for a card.
    fn method(&self) -> Result<PaymentMethod, Problem> {
        match self.payment_method.as_deref() {
            None | Some("balance") => Ok(PaymentMethod::Balance),
            Some(METHOD) => {
                let token = self.payment_token.as_deref().and_then(PaymentToken::parse);
                token.map(PaymentMethod::Card).ok_or_else(|| {
                    invalid(
                        "card 결제에는 paymentToken(공백 없는 ASCII 문자 1~255자)이 필요합니다.",
                        "Paying by card needs a paymentToken of 1 to 255 visible ASCII characters.",
                    )
                })
            }
            Some(_) => Err(ErrorCode::PaymentMethodUnavailable.into()),
        }
    }

    /// Which reservations, and whether they were named as a list.
    pub(super) fn reservations(self) -> Result<(Vec<ReservationId>, bool), Problem> {
        match (self.reservation_id, self.reservation_ids) {
            (Some(id), None) => Ok((vec![id], false)),
            (None, Some(ids)) if all_distinct(&ids) && (1..=MAX_RESERVATIONS).contains(&ids.len()) => Ok((ids, true)),
            (None, Some(_)) => Err(invalid(
                "reservationIds에는 서로 다른 예약 1~20개가 있어야 합니다.",
                "reservationIds holds 1 to 20 different reservations.",
            )),
            _ => Err(invalid(
                "reservationId와 reservationIds 중 하나만 보내 주세요.",
                "Send either reservationId or reservationIds.",
            )),
        }
    }
}

/// Whether none is there twice.
pub(super) fn all_distinct<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().all(|(index, item)| !items.iter().take(index).any(|earlier| earlier == item))
}

/// The answer to a payment; `payments` only where a list was asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PaymentView {
    payment_id: Option<PaymentId>,
    reservation_id: Option<ReservationId>,
    status: &'static str,
    amount: Money,
    balance: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    payments: Option<Vec<PaymentOfOne>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentOfOne {
    payment_id: PaymentId,
    reservation_id: ReservationId,
    amount: Money,
}

impl PaymentView {
    pub(super) fn new(status: &'static str, bill: Bill, parts: &[AttemptPart], several: bool) -> Self {
        let of_one = parts.iter().map(|part| PaymentOfOne {
            payment_id: part.payment,
            reservation_id: part.reservation,
            amount: part.amount,
        });
        let first = parts.first();
        Self {
            payment_id: first.map(|part| part.payment),
            reservation_id: first.map(|part| part.reservation),
            status,
            amount: bill.total,
            balance: bill.balance,
            payments: several.then(|| of_one.collect()),
        }
    }
}

fn answer(paid: &Paid, several: bool) -> Answer {
    let part =
        |one: &PaidReservation| AttemptPart { payment: one.payment, reservation: one.reservation, amount: one.amount };
    let parts: Vec<_> = paid.payments.iter().map(part).collect();
    Answer::ok(&PaymentView::new("success", paid.bill, &parts, several))
}

/// Whether a request is for the provider, as far as that can be told before its body is judged.
fn is_for_provider(body: &JsonBytes) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Method {
        payment_method: Option<String>,
    }
    serde_json::from_slice::<Method>(&body.0).is_ok_and(|body| body.payment_method.as_deref() == Some(METHOD))
}

/// `POST /payment`: pays from the balance or through the provider, all or none.
pub(super) async fn pay(State(state): State<AppState>, signed_in: SignedIn, once: Once, body: JsonBytes) -> Response {
    if is_for_provider(&body) {
        return card_payments::pay(&state, signed_in.user, once, body).await;
    }
    from_balance(&state, signed_in.user, once, body).await
}

/// What is asked for, read: which reservations, whether they were named as a list, and how they are paid.
pub(super) fn read(body: &JsonBytes) -> Result<(Vec<ReservationId>, bool, PaymentMethod), Problem> {
    let request = body.read::<PaymentRequest>()?;
    let method = request.method()?;
    let (reservations, several) = request.reservations()?;
    Ok((reservations, several, method))
}

async fn from_balance(state: &AppState, user: UserId, once: Once, body: JsonBytes) -> Response {
    once.run(state, user, body, move |state, claim, body| async move {
        let (reservations, several, _) = read(&body)?;
        pay_from_balance(&state, user, reservations, several, claim).await
    })
    .await
}

/// Pays at once.
pub(super) async fn pay_from_balance(
    state: &AppState,
    user: UserId,
    reservations: Vec<ReservationId>,
    several: bool,
    claim: Option<Claim>,
) -> Result<Answer, Problem> {
    let record = Record::new(claim, move |paid: &Paid| answer(paid, several));
    let done = state.payments.pay(user, reservations, record).await?;
    let locks: Vec<_> = done.outcome.payments.iter().map(|payment| payment.lock).collect();
    state.reserving.handed_over(&state.catalogue, user, &locks).await;
    Ok(done.answer)
}
