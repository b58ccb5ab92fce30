//! Whose account it is that somebody writes about.

use axum::Json;
use axum::extract::State;
use common::http::{Administrator, JsonBytes};
use common::ids::UserId;
use common::problem::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};

use crate::domain::account::Email;
use crate::state::AppState;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FindRequest {
    email: Email,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundUser {
    user_id: UserId,
}

/// `POST /admin/users/find`: the account that has exactly this email. A post, since addresses of requests are logged on
/// their way here, and an email is nobody else's business.
pub(super) async fn find(
    State(state): State<AppState>,
    _: Administrator,
    body: JsonBytes,
) -> Result<Json<FoundUser>, Problem> {
    let FindRequest { email } = body.read()?;
    let user_id = state.db.user_of(&email).await?.ok_or(ErrorCode::NotFound)?;
    Ok(Json(FoundUser { user_id }))
}
