//! `Idempotency-Key`: the same key and the same request give the same answer, byte for byte, and one effect.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use common::http::{JsonBytes, RequestId, Slot};
use common::ids::UserId;
use common::language::Language;
use common::problem::{ErrorCode, Problem};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

use super::errors::invalid;
use crate::domain::effect::{Answer, Begin, Claim, Fingerprint, IdempotencyKey};
use crate::service::Turn;
use crate::state::AppState;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// A request whose effect happens once. 400 for a key that is none.
#[derive(Debug)]
pub(super) struct Once {
    key: Option<IdempotencyKey>,
    method: String,
    path: String,
    /// The language that sentences are to be in.
    pub(super) language: Language,
    request_id: RequestId,
    slot: Option<Slot>,
}

impl FromRequestParts<AppState> for Once {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        Ok(Self {
            key: key(&parts.headers)?,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            language: Language::from_headers(&parts.headers),
            request_id: RequestId::from_headers(&parts.headers),
            slot: parts.extensions.get().cloned(),
        })
    }
}

fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().and_then(IdempotencyKey::parse).filter(|_| values.next().is_none());
    key.map(Some).ok_or_else(|| {
        invalid(
            "Idempotency-Key는 공백 없는 ASCII 문자 1~255자여야 합니다.",
            "An Idempotency-Key is 1 to 255 visible ASCII characters.",
        )
    })
}

impl Once {
    /// Runs `effect`, to its end even if the client hangs up, unless its answer is known already. The effect gets the
    /// claim under which it has to keep its answer, and the body.
    pub(super) async fn run<F, R>(self, state: &AppState, user: UserId, body: JsonBytes, effect: F) -> Response
    where
        F: FnOnce(AppState, Option<Claim>, JsonBytes) -> R + Send + 'static,
        R: Future<Output = Result<Answer, Problem>> + Send + 'static,
    {
        match state.turns.take(user).await {
            Ok(turn) => self.run_holding(state, Some(turn), user, body, effect).await,
            Err(problem) => problem.into_response(),
        }
    }

    /// The same without a turn: for an effect that waits for somebody else, and takes turns by itself for what it does
    /// here.
    pub(super) async fn run_in_no_turn<F, R>(
        self,
        state: &AppState,
        user: UserId,
        body: JsonBytes,
        effect: F,
    ) -> Response
    where
        F: FnOnce(AppState, Option<Claim>, JsonBytes) -> R + Send + 'static,
        R: Future<Output = Result<Answer, Problem>> + Send + 'static,
    {
        self.run_holding(state, None, user, body, effect).await
    }

    async fn run_holding<F, R>(
        self,
        state: &AppState,
        turn: Option<Turn>,
        user: UserId,
        body: JsonBytes,
        effect: F,
    ) -> Response
    where
        F: FnOnce(AppState, Option<Claim>, JsonBytes) -> R + Send + 'static,
        R: Future<Output = Result<Answer, Problem>> + Send + 'static,
    {
        let owned = state.clone();
        // The place among the requests under way goes along, and the turn: they end with the work, not with the client.
        let held = (self.slot.clone(), turn);
        let work = async move {
            let _held = held;
            match self.key.clone() {
                None => effect(owned, None, body).await.map_or_else(Problem::into_response, respond),
                Some(key) => {
                    self.run_keyed(owned, user, &key, body, effect).await.unwrap_or_else(Problem::into_response)
                }
            }
        };
        let done = state.lifecycle.to_the_end(work).await;
        done.unwrap_or_else(|| Problem::new(ErrorCode::Internal).because("the work panicked").into_response())
    }

    async fn run_keyed<F, R>(
        &self,
        state: AppState,
        user: UserId,
        key: &IdempotencyKey,
        body: JsonBytes,
        effect: F,
    ) -> Result<Response, Problem>
    where
        F: FnOnce(AppState, Option<Claim>, JsonBytes) -> R + Send,
        R: Future<Output = Result<Answer, Problem>> + Send,
    {
        let fingerprint = Fingerprint::of(&self.method, &self.path, &body.0);
        let claim = match state.db.begin(user, key, fingerprint).await? {
            Begin::Mine(claim) => claim,
            Begin::Done(answer) => return Ok(replay(answer)),
            Begin::InProgress => return Err(ErrorCode::IdempotencyInProgress.into()),
            Begin::Reused => return Err(ErrorCode::IdempotencyKeyReused.into()),
            Begin::UnknownUser => return Err(ErrorCode::InvalidSession.into()),
        };
        match effect(state.clone(), Some(claim.clone()), body).await {
            Ok(answer) => Ok(respond(answer)),
            Err(problem) => self.refused(&state, &claim, problem).await,
        }
    }

    /// Nothing was done. What will be so again is kept; what may be different the next time is not.
    async fn refused(&self, state: &AppState, claim: &Claim, problem: Problem) -> Result<Response, Problem> {
        let status = problem.code().status();
        if !is_kept(status) {
            // Where that fails the key frees itself after a while.
            if let Err(fault) = state.db.forget(claim).await {
                tracing::warn!(%fault, "an idempotency key could not be given back");
            }
            return Err(problem);
        }
        let body = problem.body(self.language, self.request_id.as_str());
        let answer = Answer { status: status.as_u16(), body: serde_json::to_vec(&body).unwrap_or_default() };
        if state.db.keep_answer(claim, &answer).await? {
            Ok(respond(answer))
        } else {
            Err(ErrorCode::IdempotencyInProgress.into())
        }
    }
}

/// 401 and 403 tell of credentials, 409, 429 and 5xx of a moment: none of them is an answer to the request as such.
fn is_kept(status: StatusCode) -> bool {
    let passing = [
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::CONFLICT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !passing.contains(&status)
}

fn respond(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let kind = if status.is_success() { "application/json" } else { "application/problem+json" };
    (status, [(CONTENT_TYPE, HeaderValue::from_static(kind))], answer.body).into_response()
}

fn replay(answer: Answer) -> Response {
    let mut response = respond(answer);
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
