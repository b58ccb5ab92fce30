//! The admission pass that a request presents.

use axum::extract::FromRequestParts;
use common::http::{SignedIn, queue_token};
use common::problem::{ErrorCode, Problem};
use common::tokens::{Pass, claims_to_be_a_ticket};
use http::request::Parts;

use crate::state::AppState;

/// The signed-in user and their valid pass. For which concert it is has still to be compared with the request, and
/// whether its lease is live is for Redis to say.
///
/// Refuses with 401 without a session or for a forged pass, 403 `not_admitted` for none, an expired one, somebody
/// else's, or a ticket, whose bearer still waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admitted {
    pub(super) pass: Pass,
}

impl FromRequestParts<AppState> for Admitted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let signed_in = SignedIn::from_request_parts(parts, state).await?;
        let token = queue_token(&parts.headers).ok_or(ErrorCode::NotAdmitted)?;
        if claims_to_be_a_ticket(&token) {
            return Err(ErrorCode::NotAdmitted.into());
        }
        let pass =
            state.passes.verify(&token).map_err(|error| Problem::new(ErrorCode::InvalidQueueToken).because(error))?;
        if pass.user != signed_in.user || pass.has_expired(state.clock.now()) {
            return Err(ErrorCode::NotAdmitted.into());
        }
        Ok(Self { pass })
    }
}
