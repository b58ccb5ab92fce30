//! What payment providers tell us by themselves. Nobody is signed in: the message's signature is its credentials.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use common::http::JsonBytes;
use common::ids::ProviderPaymentId;
use common::problem::{ErrorCode, Problem};
use http::HeaderMap;
use serde::{Deserialize, Serialize};

use super::errors::invalid;
use crate::state::AppState;

/// The longest state that is noted.
const MAX_STATE_CHARS: usize = 50;

/// A message. What else stands in it is the provider's business.
#[derive(Debug, Deserialize)]
struct Message {
    data: Payment,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    payment_id: ProviderPaymentId,
    state: String,
}

#[derive(Debug, Serialize)]
struct Received {
    received: bool,
}

/// `POST /webhooks/payments/{provider}`: notes what the provider says, once, and has it looked into where it is news.
/// Answered alike whether it is known, new or of nothing that we know, so that no message is sent for ever.
pub(super) async fn payments(
    State(state): State<AppState>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let provider = state.provider.as_ref().filter(|provider| provider.name == name).ok_or(ErrorCode::NotFound)?;
    let event = provider
        .webhooks
        .verify(&headers, state.clock.now(), &body.0)
        .map_err(|error| Problem::new(ErrorCode::InvalidSignature).because(error))?;
    let Payment { payment_id, state: told } = body.read::<Message>()?.data;
    if told.is_empty() || told.chars().count() > MAX_STATE_CHARS || told.chars().any(char::is_control) {
        return Err(invalid("state는 1~50자여야 합니다.", "state has 1 to 50 characters."));
    }
    state.provider_payments.noted(&event, payment_id, &told).await?;
    Ok(Json(Received { received: true }).into_response())
}
