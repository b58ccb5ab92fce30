//! Sessions that were ended before their tokens' time: a token says by itself that it is valid, so who verifies one has to
//! know the few that are not any more.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, Utc};

use super::{Session, SessionKeys, TokenError};
use crate::ids::SessionId;

/// Ended sessions that one process remembers at most: some 60 MB. Passwords are hashed too slowly for people to end more
/// within a token's life; beyond it those are let go whose tokens expire first.
const MAX_ENDED: usize = 1_000_000;
/// How much longer than its last token an ended session is remembered: clocks of two machines differ.
const SKEW_SECONDS: i64 = 60;
/// How often those are forgotten whose tokens have all expired.
const FORGET_EVERY_SECONDS: i64 = 60;

/// Sessions as one process knows them: the keys of their tokens, and which have been ended. Cloning it shares that.
#[derive(Debug, Clone)]
pub struct Sessions {
    keys: Arc<SessionKeys>,
    ended: EndedSessions,
}

impl Sessions {
    /// None has been ended, as far as is known yet.
    pub fn new(keys: Arc<SessionKeys>) -> Self {
        Self { keys, ended: EndedSessions::default() }
    }

    /// What a token says, if it is ours, has not expired at `now`, and its session has not been ended. A token that names
    /// no session is valid until it expires.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Session, TokenError> {
        let session = self.keys.verify(token, now)?;
        match session.id {
            Some(id) if self.ended.contains(id) => Err(TokenError::Ended),
            _ => Ok(session),
        }
    }

    /// The keys.
    pub fn keys(&self) -> &SessionKeys {
        &self.keys
    }

    /// Which have been ended.
    pub fn ended(&self) -> &EndedSessions {
        &self.ended
    }
}

/// The ended sessions that a process knows of. Cloning it shares them.
#[derive(Debug, Clone, Default)]
pub struct EndedSessions(Arc<RwLock<Ended>>);

#[derive(Debug, Default)]
struct Ended {
    /// When the last token of each expires, in seconds of Unix time.
    until: HashMap<SessionId, i64>,
    forget_at: i64,
}

impl EndedSessions {
    /// Whether a session was ended.
    pub fn contains(&self, session: SessionId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).until.contains_key(&session)
    }

    /// Notes sessions that were ended, each with the time at which the last of its tokens expires, in seconds of Unix time.
    /// To note one again changes nothing.
    pub fn note(&self, ended: impl IntoIterator<Item = (SessionId, i64)>, now: DateTime<Utc>) {
        let now = now.timestamp();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.until.extend(ended.into_iter().filter(|(_, until)| until + SKEW_SECONDS > now));
        if now >= all.forget_at || all.until.len() > MAX_ENDED {
            all.forget(now, MAX_ENDED);
        }
    }

    /// How many are remembered.
    pub fn count(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).until.len()
    }
}

impl Ended {
    /// Forgets those whose tokens have expired, and of more than `most` an eighth, so that it does not happen all the time.
    fn forget(&mut self, now: i64, most: usize) {
        self.forget_at = now + FORGET_EVERY_SECONDS;
        self.until.retain(|_, until| *until + SKEW_SECONDS > now);
        if self.until.len() > most {
            tracing::warn!(ended = self.until.len(), "too many ended sessions, the oldest are forgotten");
            let mut all: Vec<(i64, SessionId)> = self.until.iter().map(|(id, until)| (*until, *id)).collect();
            let excess = (all.len() - most + most / 8).min(all.len() - 1);
            let first_kept = *all.select_nth_unstable(excess).1;
            self.until.retain(|id, until| (*until, *id) >= first_kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::ids::UserId;
    use crate::tokens::Role;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    #[test]
    fn an_ended_session_s_token_is_refused_and_no_other() {
        let keys = Arc::new(SessionKeys::new(&["a-secret-of-sufficient-length-1234"]).unwrap());
        let sessions = Sessions::new(Arc::clone(&keys));
        let token = |id| {
            let expires_at = now() + TimeDelta::hours(1);
            keys.sign(&Session { id, user: UserId::generate(), role: Role::User, issued_at: now(), expires_at })
        };
        let (one, other) = (SessionId::generate(), SessionId::generate());
        sessions.ended().note([(one, now().timestamp() + 3_600)], now());
        assert_eq!(sessions.verify(&token(Some(one)), now()), Err(TokenError::Ended));
        assert!(sessions.verify(&token(Some(other)), now()).is_ok());
        assert!(sessions.verify(&token(None), now()).is_ok());
    }

    #[test]
    fn it_is_remembered_as_long_as_its_tokens_could_be_used() {
        let (ended, one) = (EndedSessions::default(), SessionId::generate());
        ended.note([(one, now().timestamp() + 3_600), (SessionId::generate(), 0)], now());
        assert_eq!(ended.count(), 1, "what has expired long ago is nothing to remember");
        ended.note([], now() + TimeDelta::seconds(3_600));
        assert!(ended.contains(one), "a clock that is a little behind still takes its token");
        ended.note([], now() + TimeDelta::seconds(3_600 + 2 * SKEW_SECONDS));
        assert_eq!(ended.count(), 0);
    }

    #[test]
    fn of_too_many_those_are_let_go_that_expire_first() {
        let ids: Vec<SessionId> = (0..100).map(|_| SessionId::generate()).collect();
        let until = ids.iter().copied().zip(1_000..).collect();
        let mut ended = Ended { until, forget_at: 0 };
        ended.forget(0, 80);
        assert_eq!(ended.until.len(), 70);
        assert!(ids[30..].iter().all(|id| ended.until.contains_key(id)));
        ended.until = ids.iter().map(|id| (*id, 1_000)).collect();
        ended.forget(0, 80);
        assert_eq!(ended.until.len(), 70, "as bounded where all expire at once");
    }
}
