//! Joining, polling, leaving.

use axum::extract::State;
use axum::response::Response;
use common::http::{Json, SignedIn};
use common::ids::{ConcertId, UserId};
use common::language::Language;
use common::problem::Problem;
use common::tokens::{Pass, Ticket};
use serde::Deserialize;

use super::answer::{POLL_AFTER_END_MS, POLL_AFTER_INSIDE_MS, QueueAnswer, QueueInfo};
use super::presented::{Presented, QueueToken};
use super::state::AppState;
use crate::domain::{Lease, PRESENCE_GRACE, Pace, RoomView, Standing, reach};
use crate::worker::Room;

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
    let same_place =
        |ticket: &Ticket| matches!(standing, Standing::Waiting { position, .. } if position == ticket.position);
    let ahead_told = ticket.filter(same_place).map_or(u32::MAX, |ticket| ticket.ahead);
    let person = Person { user: signed_in.user, concert: concert_id, position: 0, ahead_told, token: None };
    answer(&state, &room, &person, standing, language).await
}

/// `GET /queue/status`: where the bearer of a queue token stands now.
pub(super) async fn status(
    State(state): State<AppState>,
    presented: Presented,
    language: Language,
) -> Result<Response, Problem> {
    let room = state.rooms.room(presented.concert()).await?;
    let (standing, ahead_told) = match presented.token {
        QueueToken::Ticket(ticket) => (room.stand(&ticket).await?, ticket.ahead),
        QueueToken::Pass(pass) => (standing_of_pass(&state, &room, &pass).await?, u32::MAX),
    };
    let person = Person {
        user: presented.user(),
        concert: presented.concert(),
        position: presented.position(),
        ahead_told,
        token: Some(presented.text),
    };
    answer(&state, &room, &person, standing, language).await
}

/// `DELETE /queue/token`: leaves the line or ends the admission; the slot is free at once.
pub(super) async fn leave(
    State(state): State<AppState>,
    presented: Presented,
    language: Language,
) -> Result<Response, Problem> {
    let room = state.rooms.room(presented.concert()).await?;
    room.leave(presented.user()).await?;
    let queue_info = QueueInfo::not_waiting(presented.concert(), presented.position(), POLL_AFTER_END_MS, language);
    let answer = QueueAnswer { token: presented.text, status: Standing::Left.name(), queue_info, admission: None };
    Ok(answer.with_cookie(state.config.cookies.clear_queue_token()))
}

/// A pass that has run out was an admission once, whatever the room still knows of it.
async fn standing_of_pass(state: &AppState, room: &Room, pass: &Pass) -> Result<Standing, Problem> {
    Ok(match room.stand_admitted(pass.user, pass.id).await? {
        Standing::Left if pass.has_expired(state.clock.now()) => Standing::Expired,
        standing => standing,
    })
}

/// Who is told, and what they were told before.
struct Person {
    user: UserId,
    concert: ConcertId,
    /// From the token they showed; 0 where they showed none.
    position: u32,
    /// The smallest number of people in front that they have been told.
    ahead_told: u32,
    /// The token they showed.
    token: Option<String>,
}

async fn answer(
    state: &AppState,
    room: &Room,
    person: &Person,
    standing: Standing,
    language: Language,
) -> Result<Response, Problem> {
    let answer = match standing {
        Standing::Waiting { position, epoch, ahead } => {
            let view = room.view().await?;
            let ahead = ahead.unwrap_or_else(|| view.ahead(position)).min(person.ahead_told);
            waiting(state, room, &view, person, Place { position, epoch, ahead }, language)
        }
        Standing::Admitted(lease) => admitted(state, person, lease, language),
        Standing::Left | Standing::Expired | Standing::SoldOut | Standing::Closed => QueueAnswer {
            token: person.token.clone().unwrap_or_default(),
            status: standing.name(),
            queue_info: QueueInfo::not_waiting(person.concert, person.position, POLL_AFTER_END_MS, language),
            admission: None,
        },
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
    // The ticket they showed still says all there is to say, unless they have come closer or the room began anew.
    let unchanged = person.token.as_ref().filter(|_| position == person.position && ahead == person.ahead_told);
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
