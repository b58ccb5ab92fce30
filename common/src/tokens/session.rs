//! The user session: who is signed in, shared by core-api (which makes it) and the gateway.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::hmac::HmacKeys;
use super::{KeyError, TokenError};
use crate::ids::UserId;

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Buys tickets.
    User,
    /// Lets people in at the door as well.
    Staff,
    /// Runs on-sales as well, and does all that staff does.
    Admin,
}

/// What a session token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Who is signed in.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// When they signed in.
    pub issued_at: DateTime<Utc>,
    /// When that ends.
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    iat: i64,
    exp: i64,
    role: Role,
}

/// The secrets of session tokens.
pub struct SessionKeys(HmacKeys);

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionKeys(…)")
    }
}

impl SessionKeys {
    /// From secrets of at least 32 characters: the first signs, all verify.
    pub fn new<S: AsRef<str>>(secrets: &[S]) -> Result<Self, KeyError> {
        HmacKeys::new(secrets).map(Self)
    }

    /// The token for a session; times are cut to whole seconds.
    pub fn sign(&self, session: &Session) -> String {
        self.0.sign(&Claims {
            sub: session.user,
            iat: session.issued_at.timestamp(),
            exp: session.expires_at.timestamp(),
            role: session.role,
        })
    }

    /// What a token says, if it is ours and has not ended at `now`.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Session, TokenError> {
        let claims: Claims = self.0.verify(token)?;
        if now.timestamp() >= claims.exp {
            return Err(TokenError::Expired);
        }
        let time = |seconds| DateTime::from_timestamp(seconds, 0).ok_or(TokenError::Invalid);
        Ok(Session { user: claims.sub, role: claims.role, issued_at: time(claims.iat)?, expires_at: time(claims.exp)? })
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::tokens::MAX_LEN;

    const OLD: &str = "an-old-secret-of-sufficient-length-1";
    const NEW: &str = "a-new-secret-of-sufficient-length-22";

    fn session() -> Session {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        Session { user: UserId::generate(), role: Role::Admin, issued_at: now, expires_at: now + TimeDelta::hours(1) }
    }

    #[test]
    fn a_session_reads_back_until_its_end() {
        let (keys, session) = (SessionKeys::new(&[OLD]).unwrap(), session());
        let token = keys.sign(&session);
        assert!(token.len() <= MAX_LEN, "{}", token.len());
        assert_eq!(keys.verify(&token, session.issued_at), Ok(session));
        assert_eq!(keys.verify(&token, session.expires_at), Err(TokenError::Expired));
    }

    #[test]
    fn forged_damaged_and_foreign_tokens_are_invalid() {
        let (keys, session) = (SessionKeys::new(&[OLD]).unwrap(), session());
        let token = keys.sign(&session);
        let parts: Vec<&str> = token.split('.').collect();
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
        let other = SessionKeys::new(&[NEW]).unwrap().sign(&session);
        for bad in ["", ".", "..", "a.b.c", &token[..token.len() - 2], &unsigned, &other, &"x".repeat(100_000)] {
            assert_eq!(keys.verify(bad, session.issued_at), Err(TokenError::Invalid), "{bad}");
        }
    }

    #[test]
    fn keys_rotate_without_ending_a_session() {
        let session = session();
        let before = SessionKeys::new(&[OLD]).unwrap().sign(&session);
        let rotated = SessionKeys::new(&[NEW, OLD]).unwrap();
        assert_eq!(rotated.verify(&before, session.issued_at), Ok(session));
        let after = rotated.sign(&session);
        assert!(SessionKeys::new(&[NEW]).unwrap().verify(&after, session.issued_at).is_ok());
        assert!(SessionKeys::new(&[NEW]).unwrap().verify(&before, session.issued_at).is_err());
    }

    #[test]
    fn unsafe_key_lists_are_refused() {
        assert_eq!(SessionKeys::new::<&str>(&[]).unwrap_err(), KeyError::Empty);
        assert_eq!(SessionKeys::new(&["short"]).unwrap_err(), KeyError::TooShort);
        assert_eq!(SessionKeys::new(&[OLD, OLD]).unwrap_err(), KeyError::Duplicate);
    }
}
