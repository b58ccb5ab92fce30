//! The sandbox's API.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json as Answer, Router};
use common::http::{InFlight, Json, PathId, finish, limit_in_flight};
use common::ids::{PaymentId, ProviderPaymentId};
use common::money::Money;
use common::problem::{ErrorCode, Problem};
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::behaviour::Behaviour;
use crate::ledger::{Ledger, Payment, Refusal};
use crate::webhooks::Webhooks;

const MAX_BODY_BYTES: usize = 16 * 1024;
const MAX_IN_FLIGHT: usize = 4_096;
/// An answer that never comes: nobody waits so long, and no connection is held for ever.
const NEVER: Duration = Duration::from_secs(30);

/// What every handler can reach.
#[derive(Debug, Clone)]
pub(crate) struct AppState {
    key: Arc<str>,
    ledger: Arc<Ledger>,
    webhooks: Webhooks,
    in_flight: InFlight,
}

impl AppState {
    pub(crate) fn new(key: &str, ledger: Arc<Ledger>, webhooks: Webhooks) -> Self {
        Self { key: key.into(), ledger, webhooks, in_flight: InFlight::at_most(MAX_IN_FLIGHT) }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

pub(crate) fn router(state: AppState) -> Router {
    let payments = Router::new()
        .route("/v1/payments", post(authorise))
        .route("/v1/payments/{id}", get(find))
        .route("/v1/payments/{id}/capture", post(capture))
        .route("/v1/payments/{id}/void", post(void))
        .route("/v1/payments/{id}/refunds", post(refund))
        .layer(from_fn_with_state(state.clone(), known_only));
    let health = || async { Answer(serde_json::json!({ "status": "OK" })) };
    Router::new()
        .merge(payments)
        .route("/health/live", get(health))
        .route("/health/ready", get(health))
        .fallback(|| async { Problem::new(ErrorCode::NotFound) })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn_with_state(state.in_flight.clone(), limit_in_flight))
        .layer(from_fn(finish))
        .with_state(state)
}

/// Who has the key.
async fn known_only(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).map(http::HeaderValue::as_bytes).unwrap_or_default();
    let key = shown.strip_prefix(b"Bearer ").unwrap_or_default();
    if bool::from(key.ct_eq(state.key.as_bytes())) {
        next.run(request).await
    } else {
        Problem::new(ErrorCode::Unauthenticated).into_response()
    }
}

#[derive(Deserialize)]
struct AuthoriseRequest {
    id: ProviderPaymentId,
    amount: Money,
    token: String,
}

#[derive(Deserialize)]
struct RefundRequest {
    id: PaymentId,
    amount: Money,
}

#[derive(Serialize)]
struct PaymentView {
    id: ProviderPaymentId,
    state: &'static str,
    amount: Money,
    refunded: Option<Money>,
    reference: String,
}

fn view(payment: &Payment) -> Response {
    Answer(PaymentView {
        id: payment.id.into(),
        state: payment.state.as_str(),
        amount: payment.amount,
        refunded: payment.refunded(),
        reference: format!("sbx_{}", payment.id.simple()),
    })
    .into_response()
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => Self::new(ErrorCode::NotFound),
            Refusal::OtherAmount => Self::new(ErrorCode::IdempotencyKeyReused),
            Refusal::NotNow => Self::new(ErrorCode::PaymentInProgress),
            Refusal::TooMuch => {
                Self::invalid("결제한 금액보다 많이 환불할 수 없습니다.", "That is more than was taken.")
            }
        }
    }
}

async fn authorise(State(state): State<AppState>, body: Json<AuthoriseRequest>) -> Result<Response, Problem> {
    let AuthoriseRequest { id, amount, token } = body.value;
    let (behaviour, id) = (Behaviour::of(&token), id.as_uuid());
    if behaviour == Behaviour::DropRequest {
        return Err(never().await);
    }
    let (payment, is_new) = state.ledger.open(id, amount, behaviour)?;
    if !is_new {
        return Ok(view(&payment));
    }
    // Decided even if whoever asked has hung up.
    let decided = {
        let state = state.clone();
        tokio::spawn(async move {
            if let Behaviour::Delay(delay) = behaviour {
                tokio::time::sleep(delay).await;
            }
            if let Some(decided) = state.ledger.decide(id) {
                state.webhooks.tell(&decided);
            }
        })
    };
    // A decision does not panic.
    let _ = decided.await;
    if behaviour == Behaviour::DropResponse {
        return Err(never().await);
    }
    state.ledger.find(id).map(|payment| view(&payment)).ok_or_else(|| ErrorCode::NotFound.into())
}

async fn find(State(state): State<AppState>, PathId(id): PathId<ProviderPaymentId>) -> Result<Response, Problem> {
    let payment = state.ledger.find(id.as_uuid()).ok_or(ErrorCode::NotFound)?;
    Ok(view(&payment))
}

async fn capture(State(state): State<AppState>, PathId(id): PathId<ProviderPaymentId>) -> Result<Response, Problem> {
    let (payment, changed) = state.ledger.capture(id.as_uuid())?;
    if changed {
        state.webhooks.tell(&payment);
        if payment.behaviour == Behaviour::DropCaptureResponse {
            return Err(never().await);
        }
    }
    Ok(view(&payment))
}

async fn void(State(state): State<AppState>, PathId(id): PathId<ProviderPaymentId>) -> Response {
    let (payment, changed) = state.ledger.void(id.as_uuid());
    if changed {
        state.webhooks.tell(&payment);
    }
    view(&payment)
}

async fn refund(
    State(state): State<AppState>,
    PathId(id): PathId<ProviderPaymentId>,
    body: Json<RefundRequest>,
) -> Result<Response, Problem> {
    let (id, RefundRequest { id: refund, amount }) = (id.as_uuid(), body.value);
    let fails_once = state.ledger.find(id).is_some_and(|known| known.behaviour == Behaviour::RefundFailsOnce);
    if fails_once && state.ledger.fails_now(id) {
        return Err(ErrorCode::ServiceUnavailable.into());
    }
    let (payment, changed) = state.ledger.refund(id, refund.as_uuid(), amount)?;
    if changed {
        state.webhooks.tell(&payment);
    }
    Ok(view(&payment))
}

async fn never() -> Problem {
    tokio::time::sleep(NEVER).await;
    ErrorCode::ServiceUnavailable.into()
}
