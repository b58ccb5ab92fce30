//! Joining, polling, leaving.

use axum::extract::State;
use axum::response::Response;
use common::http::{Json, SignedIn};
use common::ids::ConcertId;
use common::language::Language;
use common::problem::Problem;
use serde::Deserialize;

use super::answer::{POLL_AFTER_END_MS, QueueAnswer, QueueInfo};
use super::presented::{Presented, QueueToken};
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
    signed_in: SignedIn,
    presented: Result<Presented, Problem>,
    language: Language,
    Json { value: JoinRequest { concert_id }, .. }: Json<JoinRequest>,
) -> Result<Response, Problem> {
    let room = state.rooms.room(concert_id).await?;
    let ticket = presented.ok().and_then(|presented| match presented.token {
        QueueToken::Ticket(ticket) if ticket.user == signed_in.user && ticket.concert == concert_id => Some(ticket),
        QueueToken::Ticket(_) | QueueToken::Pass(_) => None,
    });
    let standing = room.join(signed_in.user, ticket.as_ref()).await?;
    let person = Person {
        user: signed_in.user,
        concert: concert_id,
        position: ticket.map_or(0, |ticket| ticket.position),
        epoch: 0,
        ahead_told: ticket.and_then(|ticket| ticket.ahead),
        token: None,
    };
    let answer = tell(&state, &room, &person, standing, language).await?;
    Ok(answer.with_cookie(&state))
}

/// `GET /queue/status`: where the bearer of a queue token stands now.
pub(super) async fn status(
    State(state): State<AppState>,
    presented: Presented,
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
    presented: Presented,
    language: Language,
) -> Result<Response, Problem> {
    let room = state.rooms.room(presented.concert()).await?;
    room.leave(presented.user(), false).await?;
    let queue_info = QueueInfo::not_waiting(presented.concert(), presented.position(), POLL_AFTER_END_MS, language);
    let answer = QueueAnswer {
        token: presented.text,
        status: Standing::Left.name(),
        queue_info,
        admission: None,
    };
    let cookie = state.config.cookies.queue_token(&answer.token);
    Ok(answer.with_cookie(cookie))
}

/// A place in line.
#[derive(Clone, Copy)]
struct Place {
    position: u32,
    epoch: u32,
    /// How many are before it, never more than was told before.
    ahead: u32,
}

fn waiting(
    state: &AppState,
    room: &Room,
    view: &RoomView,
    person: &Person,
    Place { position, epoch, ahead }: Place,
    language: Language,
) -> QueueAnswer {
    let pace = Pace::of(view);
    let (wait, poll_after) = (pace.wait(ahead), pace.poll_after(ahead, rand::random()));
    if ahead < reach(view.counts.admit_per_second) {
        let present_for = poll_after + PRESENCE_GRACE;
        room.note_present(person.user, u32::try_from(present_for.as_millis()).unwrap_or(u32::MAX));
    }
    // The ticket they showed still says all there is to say, unless they have come closer, the room began anew, or the
    // key that signed it is on its way out.
    let unchanged = person
        .token
        .as_ref()
        .filter(|_| position == person.position && ahead == person.ahead_told)
        .filter(|token| state.config.tickets.is_current(token));
    let token = unchanged.cloned().unwrap_or_else(|| {
        let issued_at = u32::try_from(state.clock.now().timestamp()).unwrap_or(u32::MAX);
        let (user, concert) = (person.user, person.concert);
        state.config.tickets.sign(&Ticket { user, concert, position, epoch, issued_at, ahead })
    });
    let poll_after_ms = u64::try_from(poll_after.as_millis()).unwrap_or(u64::MAX);
    let queue_info = QueueInfo::waiting(person.concert, position, ahead, wait, poll_after_ms, language);
    QueueAnswer { token, status: "waiting", queue_info, admission: None }
}

fn admitted(state: &AppState, person: &Person, lease: Lease, language: Language) -> QueueAnswer {
    let pass = Pass { user: person.user, concert: person.concert, id: lease.pass, expires_at: lease.ends_at };
    QueueAnswer {
        token: state.config.passes.sign(&pass),
        status: "admitted",
        queue_info: QueueInfo::not_waiting(person.concert, lease.pass.position, POLL_AFTER_INSIDE_MS, language),
        admission: Some(lease.into()),
    }
}
