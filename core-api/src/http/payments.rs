//! Paying for reservations.

use axum::extract::State;
use axum::response::Response;
use common::http::{JsonBytes, SignedIn, given};
use common::ids::{PaymentId, ReservationId};
use common::money::Money;
use common::problem::Problem;
use serde::{Deserialize, Serialize};

use super::errors::invalid;
use super::idempotency::Once;
use crate::domain::effect::{Answer, Record};
use crate::domain::payment::Paid;
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
    #[serde(default, rename = "paymentMethod")]
    _payment_method: PaymentMethod,
}

/// How it is paid.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PaymentMethod {
    /// From the user's balance.
    #[default]
    Balance,
}

impl PaymentRequest {
    /// Which reservations, and whether they were named as a list.
    fn reservations(self) -> Result<(Vec<ReservationId>, bool), Problem> {
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

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentView {
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

fn answer(paid: &Paid, several: bool) -> Answer {
    let of_one = paid.payments.iter().map(|payment| PaymentOfOne {
        payment_id: payment.payment,
        reservation_id: payment.reservation,
        amount: payment.amount,
    });
    let first = paid.payments.first();
    Answer::ok(&PaymentView {
        payment_id: first.map(|payment| payment.payment),
        reservation_id: first.map(|payment| payment.reservation),
        status: "success",
        amount: paid.bill.total,
        balance: paid.bill.balance,
        payments: several.then(|| of_one.collect()),
    })
}

/// `POST /payment`: pays from the balance, all or none.
pub(super) async fn pay(State(state): State<AppState>, signed_in: SignedIn, once: Once, body: JsonBytes) -> Response {
    let user = signed_in.user;
    once.run(&state, user, body, move |state, claim, body| async move {
        let (reservations, several) = body.read::<PaymentRequest>()?.reservations()?;
        let record = Record::new(claim, move |paid: &Paid| answer(paid, several));
        let done = state.payments.pay(user, reservations, record).await?;
        // Sold seats need no lock: what is sold reads so in the database.
        let locks: Vec<_> = done.outcome.payments.iter().map(|payment| payment.lock).collect();
        for lock in &locks {
            state.catalogue.seats_changed(lock.concert).await;
        }
        state.reserving.release(&locks).await;
        let mut concerts: Vec<_> = locks.iter().map(|lock| lock.concert).collect();
        concerts.dedup();
        for concert in concerts {
            state.reserving.leave_after_payment(concert, user).await;
        }
        Ok(done.answer)
    })
    .await
}
