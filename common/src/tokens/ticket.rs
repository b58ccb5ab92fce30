//! The queue ticket: a place in one waiting room. It carries its own position, so that answering "how far am I?" needs
//! no look-up, and a room that has lost its memory can put its bearer back.

use serde::{Deserialize, Serialize};

use super::hmac::HmacKeys;
use super::{KeyError, TokenError};
use crate::ids::{ConcertId, UserId};

/// What a ticket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// Whose place it is.
    pub user: UserId,
    /// In which room.
    pub concert: ConcertId,
    /// The queue position given at joining; never changes.
    pub position: u32,
    /// Which life of the room gave it: a room that lost its memory begins a new epoch.
    pub epoch: u32,
    /// When it was issued, in seconds of Unix time.
    pub issued_at: u32,
    /// The smallest number of people in front that its bearer has been told: what they are told never rises. `None`
    /// where `position` is only an entry for the draw that will deal the positions.
    pub ahead: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: String,
    con: String,
    pos: u32,
    ep: u32,
    iat: u32,
    /// Missing in an entry for a draw, of which nobody can tell how many are in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ah: Option<u32>,
}

/// The secrets of queue tickets, known to gateways only.
pub struct TicketKeys(HmacKeys);

impl std::fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TicketKeys(…)")
    }
}

impl TicketKeys {
    /// From secrets of at least 32 characters: the first signs, all verify.
    pub fn new<S: AsRef<str>>(secrets: &[S]) -> Result<Self, KeyError> {
        HmacKeys::new(secrets).map(Self)
    }

    /// The token for a ticket.
    pub fn sign(&self, ticket: &Ticket) -> String {
        self.0.sign(&Claims {
            sub: ticket.user.compact(),
            con: ticket.concert.compact(),
            pos: ticket.position,
            ep: ticket.epoch,
            iat: ticket.issued_at,
            ah: ticket.ahead,
        })
    }

    /// Whether a ticket, verified before, was signed by the key that signs now. One of an older key is worth replacing:
    /// that key will be dropped, and a ticket has no end of its own to wait for.
    pub fn is_current(&self, token: &str) -> bool {
        self.0.is_current(token)
    }

    /// What a token says, if it is ours. A ticket has no end of its own: a place is kept as long as its room is.
    pub fn verify(&self, token: &str) -> Result<Ticket, TokenError> {
        let claims: Claims = self.0.verify(token)?;
        Ok(Ticket {
            user: UserId::from_compact(&claims.sub).map_err(|_| TokenError::Invalid)?,
            concert: ConcertId::from_compact(&claims.con).map_err(|_| TokenError::Invalid)?,
            position: claims.pos,
            epoch: claims.ep,
            issued_at: claims.iat,
            ahead: claims.ah,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::{MAX_LEN, SessionKeys};

    #[test]
    fn the_longest_ticket_fits_and_reads_back() {
        let keys = TicketKeys::new(&["a-ticket-secret-of-sufficient-length"]).unwrap();
        let ticket = Ticket {
            user: UserId::generate(),
            concert: ConcertId::generate(),
            position: u32::MAX,
            epoch: u32::MAX,
            issued_at: u32::MAX,
            ahead: Some(u32::MAX),
        };
        let token = keys.sign(&ticket);
        assert!(token.len() <= MAX_LEN, "{}", token.len());
        assert_eq!(keys.verify(&token), Ok(ticket));
    }

    #[test]
    fn a_ticket_of_an_older_key_is_good_and_not_current() {
        let (old, new) = ("an-old-secret-of-sufficient-length-1", "a-new-secret-of-sufficient-length-22");
        let (user, concert) = (UserId::generate(), ConcertId::generate());
        let ticket = Ticket { user, concert, position: 7, epoch: 1, issued_at: 1, ahead: Some(3) };
        let before = TicketKeys::new(&[old]).unwrap();
        let token = before.sign(&ticket);
        assert!(before.is_current(&token));
        // A newer key that does not sign yet changes nothing.
        assert!(TicketKeys::new(&[old, new]).unwrap().is_current(&token));
        let rotated = TicketKeys::new(&[new, old]).unwrap();
        assert_eq!(rotated.verify(&token), Ok(ticket));
        assert!(!rotated.is_current(&token));
        assert!(rotated.is_current(&rotated.sign(&ticket)));
    }

    #[test]
    fn a_ticket_is_no_session_even_under_one_secret() {
        let secret = ["one-secret-used-twice-against-advice"];
        let ticket = Ticket {
            user: UserId::generate(),
            concert: ConcertId::generate(),
            position: 1,
            epoch: 1,
            issued_at: 1,
            ahead: Some(0),
        };
        let token = TicketKeys::new(&secret).unwrap().sign(&ticket);
        assert!(SessionKeys::new(&secret).unwrap().verify(&token, chrono::DateTime::UNIX_EPOCH).is_err());
    }
}
