//! Sessions: refresh tokens, and what presenting one means.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use common::ids::{SessionId, UserId};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Fault;

/// How long the refresh token before the newest is answered the same again: an answer was lost, or two tabs asked at once.
const RETRY: TimeDelta = TimeDelta::seconds(30);
const ID_LEN: usize = 16;
const FAMILY_LEN: usize = 16;
const SECRET_LEN: usize = 32;
const LEN: usize = ID_LEN + FAMILY_LEN + SECRET_LEN;

/// A SHA-256.
pub type Hash = [u8; 32];

/// How long sessions and their tokens last.
#[derive(Debug, Clone, Copy)]
pub struct SessionRules {
    /// How long one token can be used.
    pub token_ttl: TimeDelta,
    /// How long a session can be refreshed.
    pub lifetime_seconds: u32,
    /// How many a user may have open.
    pub per_user: u32,
}

/// A refresh token: which session, a part that all tokens of the session have, and a secret that only this one has. Without
/// its session's common part a token is a forgery; with it and an old secret it was ours.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshToken {
    session: SessionId,
    bytes: [u8; LEN],
}

impl std::fmt::Debug for RefreshToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshToken(…)")
    }
}

impl RefreshToken {
    /// The first one of a session, by the operating system's randomness.
    pub fn first(session: SessionId) -> Self {
        let (family, secret): ([u8; FAMILY_LEN], [u8; SECRET_LEN]) = (rand::random(), rand::random());
        Self::of(session, &family, &secret)
    }

    /// The one with this secret in the same session.
    #[must_use]
    pub fn with_secret(&self, secret: &[u8; SECRET_LEN]) -> Self {
        Self::of(self.session, self.family(), secret)
    }

    fn of(session: SessionId, family: &[u8], secret: &[u8; SECRET_LEN]) -> Self {
        let mut bytes = [0; LEN];
        bytes[..ID_LEN].copy_from_slice(session.as_uuid().as_bytes());
        bytes[ID_LEN..ID_LEN + FAMILY_LEN].copy_from_slice(family);
        bytes[ID_LEN + FAMILY_LEN..].copy_from_slice(secret);
        Self { session, bytes }
    }

    /// Reads what [`to_text`](Self::to_text) wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; LEN];
        let read = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let id = uuid::Uuid::from_slice(&bytes[..ID_LEN]).ok()?;
        (read == LEN).then(|| Self { session: id.into(), bytes })
    }

    /// As clients hold it: 86 characters.
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes)
    }

    /// Of which session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// All of it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn family(&self) -> &[u8] {
        &self.bytes[ID_LEN..ID_LEN + FAMILY_LEN]
    }

    /// What is stored of it.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.bytes).into()
    }

    /// What is stored of the part that all tokens of the session have.
    pub fn family_hash(&self) -> Hash {
        Sha256::digest(self.family()).into()
    }
}

/// What is stored of a session.
#[derive(Debug, Clone)]
pub struct StoredSession {
    /// Whose it is.
    pub user: UserId,
    /// The hash of its tokens' common part.
    pub family: Hash,
    /// The hash of the token that may be used next.
    pub current: Hash,
    /// The hash of the one before.
    pub previous: Option<Hash>,
    /// When the newest was made.
    pub refreshed_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
    /// Whether it was ended before that.
    pub is_ended: bool,
}

/// What presenting a refresh token means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presented {
    /// The one that may be used next.
    Current,
    /// The one before, so soon that its answer may have been lost.
    Again,
    /// One that was used long ago: two have it, and one of them has stolen it.
    Reused,
    /// None of this session's.
    Forged,
    /// One of a session that is over.
    Over,
}

impl StoredSession {
    /// What it means that `token` is presented at `now`.
    pub fn judge(&self, token: &RefreshToken, now: DateTime<Utc>) -> Presented {
        let is = |stored: &Hash, presented: Hash| bool::from(stored.ct_eq(&presented));
        if !is(&self.family, token.family_hash()) {
            return Presented::Forged;
        }
        if self.is_ended || now >= self.expires_at {
            return Presented::Over;
        }
        if is(&self.current, token.hash()) {
            return Presented::Current;
        }
        let is_previous = self.previous.is_some_and(|previous| is(&previous, token.hash()));
        if is_previous && now < self.refreshed_at + RETRY { Presented::Again } else { Presented::Reused }
    }
}

/// A session that was opened, or goes on.
#[derive(Debug, Clone)]
pub struct OpenSession {
    /// Which one.
    pub id: SessionId,
    /// Whose.
    pub user: UserId,
    /// What they may do, as of now.
    pub role: common::tokens::Role,
    /// The refresh token that may be used next.
    pub refresh: RefreshToken,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// A session that was ended, and when the last of its tokens expires: until then its end has to be known everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedSession {
    /// Which one.
    pub id: SessionId,
    /// Its last token's end.
    pub tokens_until: DateTime<Utc>,
    /// When it was ended, by the database's clock.
    pub ended_at: DateTime<Utc>,
}

/// One of a user's own open sessions, as they see it.
#[derive(Debug, Clone)]
pub struct SessionRecord {
    /// Which one.
    pub id: SessionId,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it was refreshed last.
    pub refreshed_at: DateTime<Utc>,
    /// When it ends at the latest.
    pub expires_at: DateTime<Utc>,
}

/// Why no session was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The password that was verified is not the account's any more.
    #[error("the password was changed meanwhile")]
    PasswordChanged,
    /// A dependency failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// Why a refresh token gives no new one.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// It is none of ours, or its session is over.
    #[error("no refresh token of an open session")]
    NotValid,
    /// It had been used long before; its session has been ended.
    #[error("a refresh token was used again, its session has been ended")]
    Reused(EndedSession),
    /// A dependency failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn stored(current: &RefreshToken, previous: Option<&RefreshToken>) -> StoredSession {
        StoredSession {
            user: UserId::generate(),
            family: current.family_hash(),
            current: current.hash(),
            previous: previous.map(RefreshToken::hash),
            refreshed_at: now(),
            expires_at: now() + TimeDelta::days(1),
            is_ended: false,
        }
    }

    #[test]
    fn a_token_reads_back_and_nothing_else_is_one() {
        let token = RefreshToken::first(SessionId::generate());
        let text = token.to_text();
        assert_eq!((text.len(), RefreshToken::parse(&text)), (86, Some(token.clone())));
        for bad in ["", "a", &text[1..], &format!("{text}A"), &"A".repeat(10_000), &text.replacen(&text[..1], "!", 1)] {
            assert_eq!(RefreshToken::parse(bad), None, "{bad}");
        }
        assert_eq!(format!("{token:?}"), "RefreshToken(…)");
        assert_ne!(RefreshToken::first(token.session()), token);
    }

    #[test]
    fn what_presenting_a_token_means() {
        let first = RefreshToken::first(SessionId::generate());
        let (second, third) = (first.with_secret(&[2; 32]), first.with_secret(&[3; 32]));
        let session = stored(&third, Some(&second));
        assert_eq!(session.judge(&third, now()), Presented::Current);
        assert_eq!(session.judge(&second, now() + TimeDelta::seconds(29)), Presented::Again);
        assert_eq!(session.judge(&second, now() + RETRY), Presented::Reused);
        assert_eq!(session.judge(&first, now()), Presented::Reused);
        let forged = RefreshToken::first(first.session());
        assert_eq!(session.judge(&forged, now()), Presented::Forged, "who knows a session's id can't end it");
        assert_eq!(session.judge(&third, now() + TimeDelta::days(1)), Presented::Over);
        let ended = StoredSession { is_ended: true, ..session };
        assert_eq!((ended.judge(&third, now()), ended.judge(&forged, now())), (Presented::Over, Presented::Forged));
    }
}
