//! Telling others what happens: for administrators.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use chrono::{DateTime, Utc};
use common::changes::Change;
use common::clock::{serialize_rfc3339, serialize_rfc3339_opt};
use common::http::{
    Administrator, CursorPage, CursorQuery, Endpoint, JsonBytes, PathId, Query, RowCursor, endpoint, given, one_more,
};
use common::ids::{EventId, UserId, WebhookId};
use common::problem::{ErrorCode, Problem};
use http::header::{CACHE_CONTROL, HeaderValue};
use http::{Method, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::errors::invalid;
use crate::domain::webhook::{EVENT_TYPES, Webhook, WebhookSecret};
use crate::domain::webhook_delivery::DeadLetter;
use crate::service::new_secret;
use crate::state::AppState;

/// What administrators can ask for.
pub(super) fn endpoints() -> Vec<Endpoint<AppState>> {
    vec![
        endpoint(Method::GET, "/admin/webhooks", get(list)),
        endpoint(Method::POST, "/admin/webhooks", post(create)),
        endpoint(Method::DELETE, "/admin/webhooks/{webhookId}", delete(remove)),
        endpoint(Method::POST, "/admin/webhooks/{webhookId}/rotate-secret", post(rotate)),
        endpoint(Method::POST, "/admin/webhooks/{webhookId}/resume", post(resume)),
        endpoint(Method::GET, "/admin/webhooks/{webhookId}/changes", get(changes)),
        endpoint(Method::GET, "/admin/webhooks/{webhookId}/dead-letters", get(dead_letters)),
        endpoint(Method::POST, "/admin/webhooks/{webhookId}/dead-letters/{eventId}/retry", post(retry)),
    ]
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookRequest {
    url: String,
    #[serde(default, deserialize_with = "given")]
    events: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    secret: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretRequest {
    #[serde(default, deserialize_with = "given")]
    secret: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WebhookView {
    webhook_id: WebhookId,
    url: String,
    events: Vec<String>,
    status: &'static str,
    #[serde(serialize_with = "serialize_rfc3339")]
    created_at: DateTime<Utc>,
    created_by: UserId,
    #[serde(serialize_with = "serialize_rfc3339_opt", skip_serializing_if = "Option::is_none")]
    paused_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "serialize_rfc3339_opt", skip_serializing_if = "Option::is_none")]
    previous_secret_until: Option<DateTime<Utc>>,
}

impl From<Webhook> for WebhookView {
    fn from(webhook: Webhook) -> Self {
        Self {
            webhook_id: webhook.id,
            url: webhook.url,
            events: webhook.events.unwrap_or_else(|| EVENT_TYPES.iter().map(|&kind| kind.to_owned()).collect()),
            status: if webhook.paused_at.is_some() { "paused" } else { "active" },
            created_at: webhook.created_at,
            created_by: webhook.created_by,
            paused_at: webhook.paused_at,
            previous_secret_until: webhook.previous_until,
        }
    }
}

#[derive(Debug, Serialize)]
struct WithSecret {
    #[serde(flatten)]
    webhook: WebhookView,
    secret: String,
}

/// A webhook with its secret, which is told this once and must not stay in anybody's cache.
fn with_secret(webhook: Webhook, secret: &WebhookSecret) -> Response {
    let no_store = AppendHeaders([(CACHE_CONTROL, HeaderValue::from_static("no-store"))]);
    (no_store, Json(WithSecret { webhook: webhook.into(), secret: secret.reveal() })).into_response()
}

/// The secret that is asked for, or a new one.
fn secret_of(asked: Option<&str>) -> Result<WebhookSecret, Problem> {
    match asked {
        None => Ok(new_secret()?),
        Some(text) => WebhookSecret::parse(text).ok_or_else(|| {
            invalid(
                "secret은 whsec_ 뒤에 24~64바이트를 base64로 적어야 합니다.",
                "secret is whsec_ and 24 to 64 bytes in base64.",
            )
        }),
    }
}

/// The types that are asked for, each once; `None` is all.
fn events_of(asked: Option<Vec<String>>) -> Result<Option<Vec<String>>, Problem> {
    let Some(mut events) = asked else { return Ok(None) };
    events.sort_unstable();
    let known = events.iter().all(|kind| EVENT_TYPES.contains(&kind.as_str()));
    if events.is_empty() || !known || events.windows(2).any(|two| two[0] == two[1]) {
        return Err(invalid(
            "events에는 서로 다른 이벤트 종류가 하나 이상 있어야 합니다.",
            "events holds one or more different types of events.",
        ));
    }
    Ok(Some(events))
}

/// `POST /admin/webhooks`: tells an URL what happens from now on.
pub(super) async fn create(
    State(state): State<AppState>,
    admin: Administrator,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let request: WebhookRequest = body.read()?;
    let _: Uri = state.webhooks.rules().read(&request.url)?;
    let (events, secret) = (events_of(request.events)?, secret_of(request.secret.as_deref())?);
    let webhook = state.webhooks.create(admin.user, request.url, events, &secret).await?;
    Ok(with_secret(webhook.ok_or(ErrorCode::WebhookLimit)?, &secret))
}

/// `GET /admin/webhooks`: all of them, the newest first; no secrets.
pub(super) async fn list(
    State(state): State<AppState>,
    _: Administrator,
    Query(query): Query<CursorQuery>,
) -> Result<Json<CursorPage<WebhookView>>, Problem> {
    let (limit, before) = query.read::<WebhookId>()?;
    let webhooks = state.db.webhooks(before, one_more(limit)).await?;
    let views = webhooks.into_iter().map(WebhookView::from).collect();
    Ok(Json(CursorPage::new(views, limit, |view: &WebhookView| view.webhook_id.to_string())))
}

/// `DELETE /admin/webhooks/{webhookId}`: tells it nothing more, not even what has happened already.
pub(super) async fn remove(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(id): PathId<WebhookId>,
) -> Result<Response, Problem> {
    if state.db.delete_webhook(id, admin.user).await? {
        Ok(Json(json!({ "webhookId": id, "status": "removed" })).into_response())
    } else {
        Err(ErrorCode::NotFound.into())
    }
}

/// `POST /admin/webhooks/{webhookId}/rotate-secret`: a new secret; the one before signs beside it for a day.
pub(super) async fn rotate(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(id): PathId<WebhookId>,
    body: JsonBytes,
) -> Result<Response, Problem> {
    let request: SecretRequest = body.read()?;
    let secret = secret_of(request.secret.as_deref())?;
    let webhook = state.webhooks.rotate(admin.user, id, &secret).await?;
    Ok(with_secret(webhook.ok_or(ErrorCode::NotFound)?, &secret))
}

/// `POST /admin/webhooks/{webhookId}/resume`: delivers again, after a 410. Doing it again changes nothing.
pub(super) async fn resume(
    State(state): State<AppState>,
    admin: Administrator,
    PathId(id): PathId<WebhookId>,
) -> Result<Json<WebhookView>, Problem> {
    let webhook = state.db.resume_webhook(id, admin.user).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(webhook.into()))
}

/// `GET /admin/webhooks/{webhookId}/changes`: who did what to it, the latest first; of one that is removed too.
pub(super) async fn changes(
    State(state): State<AppState>,
    _: Administrator,
    PathId(id): PathId<WebhookId>,
    Query(query): Query<CursorQuery>,
) -> Result<Json<CursorPage<Change>>, Problem> {
    let (limit, before) = query.read::<RowCursor>()?;
    let changes = state.db.webhook_changes(id, before.map(RowCursor::get), one_more(limit)).await?;
    // Making it was the first change.
    if changes.is_empty() && before.is_none() {
        return Err(ErrorCode::NotFound.into());
    }
    Ok(Json(CursorPage::new(changes, limit, |change: &Change| change.id.to_string())))
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeadLetterView {
    event_id: EventId,
    #[serde(rename = "type")]
    kind: String,
    sequence: i64,
    #[serde(serialize_with = "serialize_rfc3339")]
    created_at: DateTime<Utc>,
    attempts: i32,
    last_outcome: String,
    last_status: Option<i32>,
    #[serde(serialize_with = "serialize_rfc3339")]
    died_at: DateTime<Utc>,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            event_id: letter.event,
            kind: letter.kind,
            sequence: letter.sequence,
            created_at: letter.created_at,
            attempts: letter.attempts,
            last_outcome: letter.outcome,
            last_status: letter.status,
            died_at: letter.died_at,
        }
    }
}

/// `GET /admin/webhooks/{webhookId}/dead-letters`: what could not be delivered, the latest event first.
pub(super) async fn dead_letters(
    State(state): State<AppState>,
    _: Administrator,
    PathId(id): PathId<WebhookId>,
    Query(query): Query<CursorQuery>,
) -> Result<Json<CursorPage<DeadLetterView>>, Problem> {
    let (limit, before) = query.read::<RowCursor>()?;
    if !state.db.has_webhook(id).await? {
        return Err(ErrorCode::NotFound.into());
    }
    let letters = state.db.dead_letters(id, before.map(RowCursor::get), one_more(limit)).await?;
    let views = letters.into_iter().map(DeadLetterView::from).collect();
    Ok(Json(CursorPage::new(views, limit, |view: &DeadLetterView| view.sequence.to_string())))
}

/// `POST /admin/webhooks/{webhookId}/dead-letters/{eventId}/retry`: tries to deliver it again, for as long as a new event.
pub(super) async fn retry(
    State(state): State<AppState>,
    admin: Administrator,
    Path((webhook, event)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let no_id = |_| Problem::invalid("올바른 UUID가 아닙니다.", "That is not a UUID.");
    let webhook: WebhookId = webhook.parse().map_err(no_id)?;
    let event: EventId = event.parse().map_err(no_id)?;
    if state.db.retry_dead_letter(webhook, event, admin.user).await? {
        Ok(Json(json!({ "webhookId": webhook, "eventId": event, "status": "pending" })).into_response())
    } else {
        Err(ErrorCode::NotFound.into())
    }
}
