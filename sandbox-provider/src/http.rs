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

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use common::clock::SystemClock;
    use common::config::Reader;
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use tower::ServiceExt as _;

    use super::*;
    use crate::Config;

    const KEY: &str = "a-key-of-at-least-thirty-two-characters";

    fn app() -> Router {
        let settings = [("PAYMENT_PROVIDER_KEY", KEY), ("PAYMENT_WEBHOOK_SECRETS", KEY)];
        let reader = Reader::new(settings.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let config = Config::read(reader).unwrap();
        let (webhooks, _) = Webhooks::new(&config, Arc::new(SystemClock));
        router(AppState::new(KEY, Arc::default(), webhooks))
    }

    async fn ask(app: &Router, key: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("/v1/payments{path}"))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    #[tokio::test]
    async fn only_who_has_the_key_is_served() {
        let app = app();
        for wrong in ["", "a-key-of-at-least-thirty-two-character", "another-key-of-thirty-two-characters!!!"] {
            let (status, body) = ask(&app, wrong, "GET", "/0190d8a4-5a3e-7c3f-9d1e-2b6f8a7c1d20", json!({})).await;
            assert_eq!((status, &body["error"]), (401, &json!("unauthenticated")), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_payment_goes_its_way_and_every_call_may_be_repeated() {
        let (app, id) = (app(), ProviderPaymentId::generate());
        let of = |path: &str| format!("/{id}{path}");
        let order = json!({ "id": id, "amount": 10, "token": "tok_ok" });
        assert_eq!(ask(&app, KEY, "GET", &of(""), json!({})).await.0, 404);
        assert_eq!(ask(&app, KEY, "POST", &of("/capture"), json!({})).await.0, 404);
        for _ in 0..2 {
            let (status, body) = ask(&app, KEY, "POST", "", order.clone()).await;
            assert_eq!((status, &body["state"]), (200, &json!("authorised")));
        }
        for _ in 0..2 {
            assert_eq!(ask(&app, KEY, "POST", &of("/capture"), json!({})).await.1["state"], "captured");
        }
        let refund = json!({ "id": PaymentId::generate(), "amount": 10 });
        for _ in 0..2 {
            assert_eq!(ask(&app, KEY, "POST", &of("/refunds"), refund.clone()).await.1["state"], "refunded");
        }
        let more = json!({ "id": PaymentId::generate(), "amount": 1 });
        assert_eq!(ask(&app, KEY, "POST", &of("/refunds"), more).await.0, 409);
        assert_eq!(ask(&app, KEY, "POST", "", json!({ "id": id, "amount": 11, "token": "tok_ok" })).await.0, 422);
        for bad in [json!({}), json!({ "id": id, "amount": -1, "token": "t" }), json!([])] {
            assert_eq!(ask(&app, KEY, "POST", "", bad).await.0, 400);
        }
    }
}
