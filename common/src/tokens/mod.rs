//! The tokens: user session, queue ticket, admission pass; and the entry ticket, which is what is bought.
//!
//! | Token | Signed | Who can make it | Who can verify it |
//! |---|---|---|---|
//! | session | HS256 | core-api, gateway | core-api, gateway |
//! | ticket | HS256 | gateways | gateways |
//! | pass | `EdDSA` | gateways | anyone with the public keys |
//! | entry ticket | `EdDSA` | core-api | anyone with the public keys, which are others |
//!
//! Each of the first three is at most 255 characters ([`MAX_LEN`]), so that it fits a `VARCHAR(255)`; that is why ids stand in them in
//! compact form, claims have short names, and a key id has four characters. Keys rotate by key id: the first of a list
//! signs, all of it verifies.

mod ed25519;
mod ended;
mod entry_ticket;
mod hmac;
mod pass;
mod session;
mod settings;
mod ticket;

pub use ed25519::{Jwk, generate_pass_key, public_pass_key};
pub use ended::{EndedSessions, Sessions};
pub use entry_ticket::{EntryTicket, EntryTicketSigner};
pub use pass::{Pass, PassId, PassKeys, PassSigner};
pub use session::{Role, Session, SessionKeys, UnknownRole};
pub use settings::{SESSION_SECRET, read_keys};
pub use ticket::{Ticket, TicketKeys};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Header, Validation};
use sha2::{Digest, Sha256};

/// The most characters a token has.
pub const MAX_LEN: usize = 255;

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not ours, damaged, or signed with a key that is not known.
    #[error("the token is not one of ours")]
    Invalid,
    /// Ours, and past its end.
    #[error("the token has expired")]
    Expired,
    /// Ours, and of a session that was ended before the token's own time.
    #[error("the session has been ended")]
    Ended,
}

/// A list of keys that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There has to be at least one.
    #[error("names no key")]
    Empty,
    /// Too little to be safe.
    #[error("has a secret of fewer than 32 characters")]
    TooShort,
    /// Not 32 bytes in base64url.
    #[error("has a key that is not 32 bytes in base64url")]
    Malformed,
    /// Two keys with one id can't both be asked for.
    #[error("has the same key twice")]
    Duplicate,
}

/// A key's id: enough of a hash to tell a handful of keys apart, short enough for every token to fit.
fn key_id(material: &[u8]) -> String {
    let mut id = URL_SAFE_NO_PAD.encode(Sha256::digest(material));
    id.truncate(4);
    id
}

/// A header without `typ`: it says nothing that the place of the token does not, and costs 18 characters.
fn header(algorithm: Algorithm, key_id: &str) -> Header {
    Header { typ: None, kid: Some(key_id.to_owned()), ..Header::new(algorithm) }
}

/// Signature and algorithm only: times are checked against the injected clock by whoever reads the claims.
fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation
}

/// The algorithm that a token claims, to tell a ticket from a pass. Nothing is verified by it.
pub fn claims_to_be_a_pass(token: &str) -> bool {
    token.len() <= MAX_LEN && jsonwebtoken::decode_header(token).is_ok_and(|header| header.alg == Algorithm::EdDSA)
}

/// Whether a token is, by what it claims, a queue ticket: how one who can't verify tickets tells "not admitted yet" from
/// a forgery. Nothing is verified by it.
pub fn claims_to_be_a_ticket(token: &str) -> bool {
    token.len() <= MAX_LEN && jsonwebtoken::decode_header(token).is_ok_and(|header| header.alg == Algorithm::HS256)
}
