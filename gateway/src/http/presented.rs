//! The queue token that a request presents.

use axum::extract::FromRequestParts;
use common::http::queue_token;
use common::ids::{ConcertId, UserId};
use common::problem::{ErrorCode, Problem};
use common::tokens::{Pass, Ticket, claims_to_be_a_pass};
use http::request::Parts;

use super::state::AppState;

/// What a verified queue token turned out to be.
#[derive(Debug, Clone, Copy)]
pub(super) enum QueueToken {
    /// A place in line.
    Ticket(Ticket),
    /// An admission, perhaps expired.
    Pass(Pass),
}

/// A queue token as it came, and what it says; refuses with 401 where there is none or it is not ours.
#[derive(Debug, Clone)]
pub(super) struct Presented {
    pub(super) text: String,
    pub(super) token: QueueToken,
}

impl Presented {
    pub(super) fn concert(&self) -> ConcertId {
        match self.token {
            QueueToken::Ticket(ticket) => ticket.concert,
            QueueToken::Pass(pass) => pass.concert,
        }
    }

    pub(super) fn user(&self) -> UserId {
        match self.token {
            QueueToken::Ticket(ticket) => ticket.user,
            QueueToken::Pass(pass) => pass.user,
        }
    }

    pub(super) fn position(&self) -> u32 {
        match self.token {
            QueueToken::Ticket(ticket) => ticket.position,
            QueueToken::Pass(pass) => pass.id.position,
        }
    }
}

impl FromRequestParts<AppState> for Presented {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let text = queue_token(&parts.headers).ok_or(ErrorCode::MissingQueueToken)?;
        Self::from_text(text, state)
    }
}

impl Presented {
    /// Verifies a token; refuses with 401 what is not ours.
    pub(super) fn from_text(text: String, state: &AppState) -> Result<Self, Problem> {
        // Nearly all are tickets of the key that signs now, which is told without looking inside.
        let token = if !state.config.tickets.is_current(&text) && claims_to_be_a_pass(&text) {
            state.config.passes.public_keys().verify(&text).map(QueueToken::Pass)
        } else {
            state.config.tickets.verify(&text).map(QueueToken::Ticket)
        };
        let token = token.map_err(|error| Problem::new(ErrorCode::InvalidQueueToken).because(error))?;
        Ok(Self { text, token })
    }
}
