//! Steering the rooms: for administrators only, and every change is kept with who made it, when, before and after.

mod actions;
mod live;
mod queues;
mod settings;
mod visitors;

use axum::routing::{delete, get, post, put};
use common::http::{Endpoint, endpoint};
use common::problem::{ErrorCode, Problem};
use http::Method;

use super::state::AppState;
use crate::store::record::{Record, RecordError};

/// What administrators can ask for.
pub(super) fn endpoints() -> Vec<Endpoint<AppState>> {
    vec![
        endpoint(Method::GET, "/admin/queues", get(queues::list)),
        endpoint(Method::GET, "/admin/queues/{concertId}", get(queues::one)),
        endpoint(Method::PUT, "/admin/queues/{concertId}", put(settings::change)),
        endpoint(Method::POST, "/admin/queues/{concertId}/pause", post(settings::pause)),
        endpoint(Method::POST, "/admin/queues/{concertId}/resume", post(settings::resume)),
        endpoint(Method::POST, "/admin/queues/{concertId}/close", post(settings::close)),
        endpoint(Method::POST, "/admin/queues/{concertId}/admit", post(actions::admit)),
        endpoint(Method::GET, "/admin/queues/{concertId}/live", get(live::live)),
        endpoint(Method::GET, "/admin/queues/{concertId}/changes", get(actions::changes)),
        endpoint(Method::GET, "/admin/queues/{concertId}/visitors", get(visitors::look_up_by_position)),
        endpoint(Method::GET, "/admin/queues/{concertId}/visitors/{userId}", get(visitors::look_up)),
        endpoint(Method::DELETE, "/admin/queues/{concertId}/visitors/{userId}", delete(visitors::remove)),
    ]
}

/// The record, without which nothing can be kept of a change.
fn record(state: &AppState) -> Result<&Record, Problem> {
    state.rooms.record().ok_or_else(|| ErrorCode::RecordNotConfigured.into())
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        let code = match error {
            RecordError::Away(_) => ErrorCode::ServiceUnavailable,
            RecordError::Refused(_) => ErrorCode::Internal,
        };
        Problem::new(code).because(error)
    }
}
