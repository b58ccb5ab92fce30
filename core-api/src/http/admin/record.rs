//! What administrators did.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use common::clock::serialize_rfc3339;
use common::http::{Administrator, CursorPage, CursorQuery, Query, RowCursor, one_more};
use common::ids::{ConcertId, UserId};
use common::problem::Problem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::errors::invalid;
use crate::state::AppState;
use crate::store::postgres::AdminChange;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditQuery {
    concert_id: Option<String>,
}

/// One change, in the shape of those of the queues.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeView {
    #[serde(skip)]
    id: i64,
    concert_id: ConcertId,
    #[serde(serialize_with = "serialize_rfc3339")]
    changed_at: DateTime<Utc>,
    changed_by: UserId,
    action: String,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
}

impl From<AdminChange> for ChangeView {
    fn from(change: AdminChange) -> Self {
        let AdminChange { id, concert, at, by, action, before, after } = change;
        Self { id, concert_id: concert, changed_at: at, changed_by: by, action, before, after }
    }
}

/// `GET /admin/audit`: who changed what of concerts and seats, the latest first.
pub(super) async fn list(
    State(state): State<AppState>,
    _: Administrator,
    Query(page): Query<CursorQuery>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<CursorPage<ChangeView>>, Problem> {
    let (limit, cursor) = page.read::<RowCursor>()?;
    let concert = query.concert_id.as_deref().map(str::parse).transpose();
    let concert: Option<ConcertId> =
        concert.map_err(|_| invalid("concertId는 UUID여야 합니다.", "concertId must be a UUID."))?;
    let changes = state.db.admin_changes(concert, cursor.map(RowCursor::get), one_more(limit)).await?;
    let changes = changes.into_iter().map(ChangeView::from).collect();
    Ok(Json(CursorPage::new(changes, limit, |change: &ChangeView| change.id.to_string())))
}
