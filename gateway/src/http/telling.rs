//! What a person is told of where they stand, whichever way they asked.

use std::time::Duration;

use common::ids::{ConcertId, UserId};
use common::language::Language;
use common::problem::Problem;
use common::tokens::{Pass, Ticket};

use super::answer::{POLL_AFTER_END_MS, POLL_AFTER_INSIDE_MS, QueueAnswer, QueueInfo};
use super::presented::{Presented, QueueToken};
use super::state::AppState;
use crate::domain::{Lease, Outlook, PRESENCE_GRACE, Pace, RoomView, Standing, reach};
use crate::worker::Room;

/// Who is told, and what they were told before.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) user: UserId,
    pub(super) concert: ConcertId,
    /// From the token they showed; 0 where they showed none.
    pub(super) position: u32,
    /// Which life of the room that token is from; 0 where they showed none, or a pass.
    pub(super) epoch: u32,
    /// The smallest number of people in front that they have been told; `None` where they have not been told any.
    pub(super) ahead_told: Option<u32>,
    /// The token they showed.
    pub(super) token: Option<String>,
}

impl Person {
    /// Whoever shows this token.
    pub(super) fn bearing(presented: Presented) -> Self {
        let (epoch, ahead_told) = match presented.token {
            QueueToken::Ticket(ticket) => (ticket.epoch, ticket.ahead),
            QueueToken::Pass(_) => (0, None),
        };
        Self {
            user: presented.user(),
            concert: presented.concert(),
            position: presented.position(),
            epoch,
            ahead_told,
            token: Some(presented.text),
        }
    }
}

/// Where the bearer of a token stands now. A pass that has run out was an admission once, whatever the room still knows
/// of it.
pub(super) async fn standing_of(state: &AppState, room: &Room, token: QueueToken) -> Result<Standing, Problem> {
    match token {
        QueueToken::Ticket(ticket) => Ok(room.stand(&ticket).await?),
        QueueToken::Pass(pass) => Ok(match room.stand_admitted(pass.user, pass.id).await? {
            Standing::Left if pass.has_expired(state.clock.now()) => Standing::Expired,
            standing => standing,
        }),
    }
}

/// The answer to a person who stands there; of someone near the front it is noted that they are there.
pub(super) async fn tell(
    state: &AppState,
    room: &Room,
    person: &Person,
    standing: Standing,
    language: Language,
) -> Result<QueueAnswer, Problem> {
    Ok(match standing {
        Standing::Waiting { position, epoch, ahead, at_seconds } => {
            let view = room.view().await?;
            // While a room is being put together again, fewer are in line than wait: what was told before holds.
            let seen = ahead.unwrap_or_else(|| view.ahead(position));
            let same_place = person.position == position;
            let ahead = match person.ahead_told.filter(|_| same_place) {
                Some(told) if view.counts.rebuilding => told,
                Some(told) => told.min(seen),
                None => seen,
            };
            let ticket = Ticket {
                user: person.user,
                concert: person.concert,
                position,
                epoch,
                issued_at: at_seconds,
                ahead: Some(ahead),
            };
            waiting(state, room, &view, person, ticket, language)
        }
        Standing::Gathering { entry, epoch, at_seconds } => {
            let view = room.view().await?;
            let (user, concert, position) = (person.user, person.concert, entry);
            let ticket = Ticket { user, concert, position, epoch, issued_at: at_seconds, ahead: None };
            waiting(state, room, &view, person, ticket, language)
        }
        Standing::Admitted(lease) => admitted(state, person, lease, language),
        Standing::Left | Standing::Expired | Standing::SoldOut | Standing::Closed => QueueAnswer {
            token: person.token.clone().unwrap_or_default(),
            status: standing.name(),
            queue_info: QueueInfo::not_waiting(person.concert, person.position, POLL_AFTER_END_MS, language),
            admission: None,
        },
    })
}

fn waiting(
    state: &AppState,
    room: &Room,
    view: &RoomView,
    person: &Person,
    ticket: Ticket,
    language: Language,
) -> QueueAnswer {
    let pace = Pace::of(view);
    // Until the draw, everybody else may turn out to be in front.
    let ahead = ticket.ahead.unwrap_or_else(|| view.in_line().saturating_sub(1));
    let wait = if ticket.ahead.is_some() { pace.wait(ahead) } else { pace.wait_for_draw(ahead) };
    // A draw comes to all at once, so nobody is far from it.
    let poll_after = pace.poll_after(if ticket.ahead.is_some() { ahead } else { 0 }, rand::random());
    note_present(room, view, person.user, ahead, poll_after);
    // The ticket they showed still says all there is to say, unless they have come closer, the room began anew, or the
    // key that signed it is on its way out.
    let unchanged = person.token.as_ref().filter(|_| {
        ticket.position == person.position && ticket.ahead == person.ahead_told && ticket.epoch == person.epoch
    });
    let unchanged = unchanged.filter(|token| state.config.tickets.is_current(token));
    let token = unchanged.cloned().unwrap_or_else(|| state.config.tickets.sign(&ticket));
    let poll_after_ms = u64::try_from(poll_after.as_millis()).unwrap_or(u64::MAX);
    let outlook = Outlook::of(view, room.facts().stock, ahead);
    let queue_info = QueueInfo::waiting(person.concert, (ticket.position, ahead), wait, poll_after_ms, language)
        .with_outlook(outlook)
        .with_pause(view.settings.paused);
    let queue_info = if ticket.ahead.is_some() { queue_info } else { queue_info.undrawn() };
    QueueAnswer { token, status: "waiting", queue_info, admission: None }
}

/// Notes that somebody is there whose poll was refused for `wait`: who asks too often is slowed down, and keeps their
/// place. What this process does not have at hand is not looked up: a refusal must cost less than an answer.
pub(super) fn note_refused(state: &AppState, presented: &Presented, wait: Duration) {
    let QueueToken::Ticket(ticket) = &presented.token else { return };
    let Some(room) = state.rooms.opened(ticket.concert) else { return };
    let Some(view) = room.latest_view() else { return };
    let ahead = view.ahead(ticket.position).min(ticket.ahead.unwrap_or(0));
    note_present(&room, &view, ticket.user, ahead, Pace::of(&view).poll_after(ahead, 1.0).max(wait));
}

/// Notes someone near the front as there, until well after they are expected back.
fn note_present(room: &Room, view: &RoomView, user: UserId, ahead: u32, back_in: Duration) {
    if ahead < reach(view.settings.admit_per_second) {
        let present_for = back_in + PRESENCE_GRACE;
        room.note_present(user, u32::try_from(present_for.as_millis()).unwrap_or(u32::MAX));
    }
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
