//! What a user has paid for.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use common::clock::{serialize_rfc3339, serialize_rfc3339_opt};
use common::http::{CursorPage, CursorQuery, PathId, Query, SignedIn, one_more};
use common::ids::{PaymentId, ReservationId};
use common::money::Money;
use common::problem::{ErrorCode, Problem};
use serde::Serialize;

use crate::domain::payment::PaymentRecord;
use crate::state::AppState;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentRecordView {
    payment_id: PaymentId,
    reservation_id: ReservationId,
    status: String,
    amount: Money,
    payment_method: String,
    #[serde(serialize_with = "serialize_rfc3339")]
    created_at: DateTime<Utc>,
    #[serde(serialize_with = "serialize_rfc3339_opt", skip_serializing_if = "Option::is_none")]
    refunded_at: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refund_status: Option<&'static str>,
}

/// How far a refund through a provider has come.
pub(super) fn refund_status(is_settled: bool) -> &'static str {
    if is_settled { "settled" } else { "pending" }
}

impl From<PaymentRecord> for PaymentRecordView {
    fn from(payment: PaymentRecord) -> Self {
        Self {
            payment_id: payment.id,
            reservation_id: payment.reservation,
            status: if payment.refunded_at.is_some() { "refunded".to_owned() } else { payment.status },
            amount: payment.amount,
            payment_method: payment.method,
            created_at: payment.created_at,
            refunded_at: payment.refunded_at,
            refund_status: payment.refund_settled.map(refund_status),
        }
    }
}

/// `GET /payment`: the user's own, the newest first.
pub(super) async fn list(
    State(state): State<AppState>,
    signed_in: SignedIn,
    Query(query): Query<CursorQuery>,
) -> Result<Response, Problem> {
    let (limit, before) = query.read::<PaymentId>()?;
    let payments = state.db.payments(signed_in.user, before, one_more(limit)).await?;
    let views: Vec<PaymentRecordView> = payments.into_iter().map(Into::into).collect();
    Ok(Json(CursorPage::new(views, limit, |view| view.payment_id.to_string())).into_response())
}

/// `GET /payment/{paymentId}`: one of the user's own.
pub(super) async fn one(
    State(state): State<AppState>,
    signed_in: SignedIn,
    PathId(id): PathId<PaymentId>,
) -> Result<Response, Problem> {
    let payment = state.db.payment(signed_in.user, id).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(PaymentRecordView::from(payment)).into_response())
}
