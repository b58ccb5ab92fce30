//! Paying through the provider.

use axum::response::Response;
use common::http::JsonBytes;
use common::ids::{ReservationId, UserId};
use common::problem::{ErrorCode, Problem};

use super::idempotency::Once;
use super::payments::{PaymentMethod, PaymentView, pay_from_balance, read};
use crate::domain::effect::{Answer, Claim};
use crate::domain::payment::Bill;
use crate::domain::provider_payment::PaymentToken;
use crate::service::{CardOrder, CardOutcome, Verdict};
use crate::state::AppState;

/// Asks the provider; 202 where it is not known in time what becomes of it.
pub(super) async fn pay(state: &AppState, user: UserId, once: Once, body: JsonBytes) -> Response {
    once.run_in_no_turn(state, user, body, move |state, claim, body| async move {
        match read(&body)? {
            (reservations, several, PaymentMethod::Card(token)) => {
                by_card(&state, user, (reservations, several), token, claim).await
            }
            (reservations, several, PaymentMethod::Balance) => {
                pay_from_balance(&state, user, reservations, several, claim).await
            }
        }
    })
    .await
}

async fn by_card(
    state: &AppState,
    user: UserId,
    (reservations, several): (Vec<ReservationId>, bool),
    token: PaymentToken,
    claim: Option<Claim>,
) -> Result<Answer, Problem> {
    let order = CardOrder { user, reservations: reservations.clone(), token, claim: claim.clone() };
    let (verdict, amount, parts) = match state.provider_payments.pay(order).await? {
        CardOutcome::Asked { verdict, amount, parts } => (verdict, amount, parts),
        CardOutcome::Free => return pay_from_balance(state, user, reservations, several, claim).await,
    };
    let balance = state.db.balance(user).await?.ok_or(ErrorCode::InvalidSession)?;
    let bill = Bill { total: amount, balance };
    let answer = match verdict {
        Verdict::Paid => Answer::ok(&PaymentView::new("success", bill, &parts, several)),
        Verdict::Pending => Answer::accepted(&PaymentView::new("pending", bill, &parts, several)),
        Verdict::Declined => return Err(ErrorCode::PaymentDeclined.into()),
        Verdict::TooLate => return Err(ErrorCode::ReservationExpired.into()),
    };
    // The attempt itself is found by the key: whoever dies before this is told the same by the next try.
    if let Some(claim) = claim
        && !state.db.keep_answer(&claim, &answer).await?
    {
        return Err(ErrorCode::IdempotencyInProgress.into());
    }
    Ok(answer)
}
