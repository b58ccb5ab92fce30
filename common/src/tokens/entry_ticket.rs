//! The entry ticket: proof, verifiable offline with the public keys, that its bearer's seat is paid for.
//!
//! Claims: `jti` the reservation and `aud` the concert (both compact ids: the audience of a ticket is one concert's
//! doors), `seat` the seat as a door reads it, `A-12`. It has no end: it is worth what its reservation is worth, which
//! only core-api knows; and nothing in it says whose it is, since it is shown to strangers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ed25519::{Jwk, PublicKeys, SigningKeys};
use super::{KeyError, TokenError};
use crate::ids::{ConcertId, ReservationId};

/// The most characters of a code: a section of 20 characters, however they are written, fits.
const MAX_CODE_LEN: usize = 400;

/// What an entry ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryTicket {
    /// Which reservation it is the ticket of. A seat that is sold again has another, and so another ticket.
    pub reservation: ReservationId,
    /// To which concert.
    pub concert: ConcertId,
    /// The seat, section and number: `A-12`.
    pub seat: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    jti: String,
    aud: String,
    seat: String,
}

/// The private keys of entry tickets: the first signs, all verify and are published.
pub struct EntryTicketSigner {
    keys: SigningKeys,
    public: PublicKeys,
}

impl fmt::Debug for EntryTicketSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EntryTicketSigner").field(&self.public).finish()
    }
}

impl EntryTicketSigner {
    /// From Ed25519 private keys: their 32-byte seeds in base64url.
    pub fn new<S: AsRef<str>>(seeds: &[S]) -> Result<Self, KeyError> {
        let (keys, public) = SigningKeys::new(seeds)?;
        Ok(Self { keys, public })
    }

    /// The code of a ticket: the same each time, as long as the same key signs.
    pub fn sign(&self, ticket: &EntryTicket) -> String {
        self.keys.sign(&Claims {
            jti: ticket.reservation.compact(),
            aud: ticket.concert.compact(),
            seat: ticket.seat.clone(),
        })
    }

    /// What a code says, if it is ours. Whether it still lets anybody in is its reservation's to tell.
    pub fn verify(&self, code: &str) -> Result<EntryTicket, TokenError> {
        let claims: Claims = self.public.verify(code, MAX_CODE_LEN)?;
        Ok(EntryTicket {
            reservation: ReservationId::from_compact(&claims.jti).map_err(|_| TokenError::Invalid)?,
            concert: ConcertId::from_compact(&claims.aud).map_err(|_| TokenError::Invalid)?,
            seat: claims.seat,
        })
    }

    /// The public halves as JWKs.
    pub fn jwks(&self) -> Vec<Jwk> {
        self.public.jwks()
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};

    use super::*;
    use crate::ids::UserId;
    use crate::tokens::{Pass, PassId, PassSigner, generate_pass_key};

    fn ticket(seat: &str) -> EntryTicket {
        EntryTicket { reservation: ReservationId::generate(), concert: ConcertId::generate(), seat: seat.to_owned() }
    }

    fn signer() -> EntryTicketSigner {
        EntryTicketSigner::new(&[generate_pass_key().unwrap().0]).unwrap()
    }

    #[test]
    fn every_ticket_reads_back_and_usual_ones_are_short() {
        let signer = signer();
        for (section, longest) in [("A", 230), ("ABCDEFGHIJKLMNOPQRST", 255), (&"\u{1}".repeat(20), MAX_CODE_LEN)] {
            let ticket = ticket(&format!("{section}-50"));
            let code = signer.sign(&ticket);
            assert!(code.len() <= longest, "{section}: {}", code.len());
            assert_eq!(signer.verify(&code), Ok(ticket.clone()));
            assert_eq!(signer.sign(&ticket), code, "the same each time");
        }
    }

    #[test]
    fn what_is_forged_damaged_or_no_ticket_is_invalid() {
        let (seed, _) = generate_pass_key().unwrap();
        let signer = EntryTicketSigner::new(&[&seed]).unwrap();
        let code = signer.sign(&ticket("A-1"));
        // Even under the very same key a pass is no ticket, and a ticket no pass.
        let passes = PassSigner::new(&[&seed]).unwrap();
        let pass = Pass {
            user: UserId::generate(),
            concert: ConcertId::generate(),
            id: PassId { position: 1, nonce: 1 },
            expires_at: Utc::now() + TimeDelta::hours(1),
        };
        assert_eq!(passes.public_keys().verify(&code), Err(TokenError::Invalid));
        let other = self::signer().sign(&ticket("A-1"));
        for bad in ["", "..", &code[..code.len() - 2], &other, &passes.sign(&pass), &"x".repeat(100_000)] {
            assert_eq!(signer.verify(bad), Err(TokenError::Invalid), "{bad}");
        }
        for part in 0..3 {
            let start: usize = code.split('.').take(part).map(|part| part.len() + 1).sum();
            let mut bytes = code.clone().into_bytes();
            bytes[start + 10] = if bytes[start + 10] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(signer.verify(&changed), Err(TokenError::Invalid), "part {part}");
        }
    }

    #[test]
    fn keys_rotate_and_are_published() {
        let (old, new) = (generate_pass_key().unwrap(), generate_pass_key().unwrap());
        let code = EntryTicketSigner::new(&[&old.0]).unwrap().sign(&ticket("B-7"));
        let rotated = EntryTicketSigner::new(&[&new.0, &old.0]).unwrap();
        assert!(rotated.verify(&code).is_ok());
        assert!(EntryTicketSigner::new(&[&new.0]).unwrap().verify(&code).is_err());
        let published: Vec<String> = rotated.jwks().into_iter().map(|jwk| jwk.x).collect();
        assert_eq!(published, [new.1, old.1]);
    }
}
