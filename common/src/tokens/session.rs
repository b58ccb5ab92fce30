//! The user session: who is signed in, shared by core-api (which makes it) and the gateway.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::de::IntoDeserializer as _;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};

use super::hmac::HmacKeys;
use super::{KeyError, TokenError};
use crate::ids::{SessionId, UserId};

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

/// There is no role of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such role")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    /// By the name that it has in tokens.
    fn from_str(name: &str) -> Result<Self, UnknownRole> {
        let name: StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
        Self::deserialize(name).map_err(|_| UnknownRole)
    }
}

/// What a session token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// Which one, so that it can be ended before its time; `None` in a token that somebody else made who has the secret.
    pub id: Option<SessionId>,
    /// Who is signed in.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// When the token was made.
    pub issued_at: DateTime<Utc>,
    /// When it ends.
    pub expires_at: DateTime<Utc>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    sub: UserId,
    iat: i64,
    exp: i64,
    role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
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
            sid: session.id.map(SessionId::compact),
        })
    }

    /// What may follow a refresh token: 32 bytes that only who has the secrets can foresee, one for each key, that of the
    /// key that signs first. The same token has the same followers, so whoever asks again is answered the same.
    pub fn followers(&self, refresh_token: &[u8]) -> Vec<[u8; 32]> {
        self.0.derive(b"onsale refresh token\0", refresh_token)
    }

    /// What a token says, if it is ours and has not expired at `now`. Whether its session has been ended is what
    /// [`Sessions`](super::Sessions) knows.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Session, TokenError> {
        let claims: Claims = self.0.verify(token)?;
        if now.timestamp() >= claims.exp {
            return Err(TokenError::Expired);
        }
        let time = |seconds| DateTime::from_timestamp(seconds, 0).ok_or(TokenError::Invalid);
        let id = claims.sid.as_deref().map(SessionId::from_compact).transpose().map_err(|_| TokenError::Invalid)?;
        Ok(Session {
            id,
            user: claims.sub,
            role: claims.role,
            issued_at: time(claims.iat)?,
            expires_at: time(claims.exp)?,
        })
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
        let (id, user) = (Some(SessionId::generate()), UserId::generate());
        Session { id, user, role: Role::Admin, issued_at: now, expires_at: now + TimeDelta::hours(1) }
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
    fn a_token_of_somebody_else_who_has_the_secret_names_no_session() {
        let keys = SessionKeys::new(&[OLD]).unwrap();
        let session = Session { id: None, ..session() };
        assert_eq!(keys.verify(&keys.sign(&session), session.issued_at), Ok(session));
        let time = session.issued_at.timestamp();
        let claims =
            Claims { sub: session.user, iat: time, exp: time + 9, role: Role::User, sid: Some("1".to_owned()) };
        assert_eq!(keys.verify(&keys.0.sign(&claims), session.issued_at), Err(TokenError::Invalid));
    }

    #[test]
    fn a_refresh_token_has_the_same_followers_while_its_key_is_known() {
        let followers = |secrets: &[&str], token| SessionKeys::new(secrets).unwrap().followers(token);
        let before = followers(&[OLD], b"token");
        assert_eq!(followers(&[NEW, OLD], b"token")[1..], before);
        assert_ne!(followers(&[NEW], b"token"), before);
        assert_ne!(followers(&[OLD], b"token2"), before);
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
    fn roles_are_called_as_in_tokens() {
        assert_eq!(("user".parse(), "admin".parse()), (Ok(Role::User), Ok(Role::Admin)));
        assert_eq!(["", "Admin", "root"].map(str::parse::<Role>), [Err(UnknownRole); 3]);
    }

    #[test]
    fn unsafe_key_lists_are_refused() {
        assert_eq!(SessionKeys::new::<&str>(&[]).unwrap_err(), KeyError::Empty);
        assert_eq!(SessionKeys::new(&["short"]).unwrap_err(), KeyError::TooShort);
        assert_eq!(SessionKeys::new(&[OLD, OLD]).unwrap_err(), KeyError::Duplicate);
    }
}
