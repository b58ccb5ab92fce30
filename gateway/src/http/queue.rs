//! Joining, polling, leaving.

use axum::extract::State;
use axum::response::Response;
use common::http::Json;
use common::ids::{ConcertId, UserId};
use common::language::Language;
use common::problem::Problem;
use serde::Deserialize;

use super::answer::{POLL_AFTER_END_MS, QueueAnswer, QueueInfo};
use super::presented::{Presented, QueueToken};
use super::rate_limit::{Joining, Leaving, Polling};
use super::state::AppState;
use super::telling::{Person, standing_of, tell};
use crate::domain::Standing;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JoinRequest {
    concert_id: ConcertId,
}

/// `POST /queue/token`: a place in line, or the one they have; in an idle room, admission at once. A ticket that comes
/// with it is proof of a place; one that is not theirs or not ours is as good as none.
pub(super) async fn join(
    State(state): State<AppState>,
    Joining(user): Joining,
    presented: Result<Presented, Problem>,
    language: Language,
    Json { value: JoinRequest { concert_id }, .. }: Json<JoinRequest>,
) -> Result<Response, Problem> {
    Ok(joined(&state, user, presented.ok(), concert_id, language).await?.with_cookie(&state))
}

/// Joins, whichever way that was asked for.
pub(super) async fn joined(
    state: &AppState,
    user: UserId,
    presented: Option<Presented>,
    concert: ConcertId,
    language: Language,
) -> Result<QueueAnswer, Problem> {
    let room = state.rooms.room(concert).await?;
    let ticket = presented.and_then(|presented| match presented.token {
        QueueToken::Ticket(ticket) if ticket.user == user && ticket.concert == concert => Some(ticket),
        QueueToken::Ticket(_) | QueueToken::Pass(_) => None,
    });
    let standing = room.join(user, ticket.as_ref()).await?;
    let person = Person {
        user,
        concert,
        position: ticket.map_or(0, |ticket| ticket.position),
        epoch: 0,
        ahead_told: ticket.and_then(|ticket| ticket.ahead),
        token: None,
    };
    tell(state, &room, &person, standing, language).await
}

/// `GET /queue/status`: where the bearer of a queue token stands now.
pub(super) async fn status(
    State(state): State<AppState>,
    Polling(presented): Polling,
    language: Language,
) -> Result<Response, Problem> {
    let room = state.rooms.room(presented.concert()).await?;
    let standing = standing_of(&state, &room, presented.token).await?;
    let answer = tell(&state, &room, &Person::bearing(presented), standing, language).await?;
    Ok(answer.with_cookie(&state))
}

/// `DELETE /queue/token`: leaves the line or ends the admission; the slot is free at once.
pub(super) async fn leave(
    State(state): State<AppState>,
    Leaving(presented): Leaving,
    language: Language,
) -> Result<Response, Problem> {
    Ok(left(&state, presented, language).await?.clearing_cookie(&state))
}

/// Leaves, whichever way that was asked for.
pub(super) async fn left(state: &AppState, presented: Presented, language: Language) -> Result<QueueAnswer, Problem> {
    let room = state.rooms.room(presented.concert()).await?;
    room.leave(presented.user(), false).await?;
    let queue_info = QueueInfo::not_waiting(presented.concert(), presented.position(), POLL_AFTER_END_MS, language);
    Ok(QueueAnswer { token: presented.text, status: Standing::Left.name(), queue_info, admission: None })
}
