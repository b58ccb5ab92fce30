//! The user's money.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339;
use common::http::{CursorPage, CursorQuery, JsonBytes, Query, RowCursor, SignedIn, one_more};
use common::ids::ReservationId;
use common::money::Money;
use common::problem::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::errors::invalid;
use super::idempotency::Once;
use crate::domain::effect::{Answer, Record};
use crate::domain::ledger::Entry;
use crate::state::AppState;

#[derive(Debug, Serialize)]
struct Balance {
    balance: Money,
}

#[derive(Debug, Deserialize)]
struct Charge {
    amount: Money,
}

/// One entry of the ledger as its owner sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EntryView {
    entry_id: String,
    kind: String,
    amount: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<ReservationId>,
    #[serde(serialize_with = "serialize_rfc3339")]
    created_at: DateTime<Utc>,
}

impl TryFrom<Entry> for EntryView {
    type Error = Problem;

    fn try_from(entry: Entry) -> Result<Self, Problem> {
        // Written digit by digit: money never passes through a float.
        let amount = RawValue::from_string(format!("{:.2}", entry.amount))
            .map_err(|error| Problem::new(ErrorCode::Internal).because(error))?;
        Ok(Self {
            entry_id: entry.id.to_string(),
            kind: entry.kind,
            amount,
            reservation_id: entry.reservation,
            created_at: entry.created_at,
        })
    }
}

/// `GET /balance`.
pub(super) async fn balance(State(state): State<AppState>, signed_in: SignedIn) -> Result<Response, Problem> {
    let balance = state.db.balance(signed_in.user).await?.ok_or(ErrorCode::InvalidSession)?;
    Ok(Json(Balance { balance }).into_response())
}

/// `POST /balance`: adds money.
pub(super) async fn charge(
    State(state): State<AppState>,
    signed_in: SignedIn,
    once: Once,
    body: JsonBytes,
) -> Response {
    let user = signed_in.user;
    once.run(&state, user, body, move |state, claim, body| async move {
        let Charge { amount } = body.read()?;
        if amount.is_zero() {
            return Err(invalid("충전 금액은 0보다 커야 합니다.", "The amount must be more than zero."));
        }
        let record = Record::new(claim, |balance: &Money| Answer::ok(&Balance { balance: *balance }));
        Ok(state.db.charge(user, amount, &record).await?.answer)
    })
    .await
}

/// `GET /balance/entries`: what changed the balance, the newest first.
pub(super) async fn entries(
    State(state): State<AppState>,
    signed_in: SignedIn,
    Query(query): Query<CursorQuery>,
) -> Result<Response, Problem> {
    let (limit, before) = query.read::<RowCursor>()?;
    let entries = state.db.entries(signed_in.user, before.map(RowCursor::get), one_more(limit)).await?;
    let views = entries.into_iter().map(EntryView::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(Json(CursorPage::new(views, limit, |entry| entry.entry_id.clone())).into_response())
}
