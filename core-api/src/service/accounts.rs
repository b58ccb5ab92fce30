//! Accounts and their sessions: signing up, in and out, going on, changing a password.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use common::clock::SharedClock;
use common::http::SignedIn;
use common::ids::{SessionId, UserId};
use common::rate_limit::TooOften;
use common::tokens::{Session, Sessions};

use super::{HashError, Logins, Passwords};
use crate::domain::Fault;
use crate::domain::account::{Account, Email, Login, NewPassword, SignUpError, TriedPassword, Username};
use crate::domain::session::{
    EndedSession, OpenError, OpenSession, RefreshError, RefreshToken, SessionRecord, SessionRules,
};
use crate::store::postgres::Db;

/// Signs people up, in and out. Cloning it shares it.
#[derive(Clone)]
pub struct Accounts(Arc<Parts>);

struct Parts {
    db: Db,
    passwords: Passwords,
    logins: Logins,
    sessions: Sessions,
    clock: SharedClock,
    rules: SessionRules,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("rules", &self.0.rules).finish_non_exhaustive()
    }
}

/// A session's tokens, to be handed over.
#[derive(Debug)]
pub struct Tokens {
    /// Whose.
    pub user: UserId,
    /// What every request shows.
    pub token: String,
    /// When that was made.
    pub issued_at: DateTime<Utc>,
    /// When it expires.
    pub expires_at: DateTime<Utc>,
    /// What gives the next one.
    pub refresh: RefreshToken,
    /// Until when, at the longest.
    pub refresh_until: DateTime<Utc>,
}

/// Why a password opens nothing.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The account was tried too often.
    #[error(transparent)]
    TooOften(#[from] TooOften),
    /// There is no such account, or it has another password.
    #[error("wrong credentials")]
    Wrong,
    /// It was not found out.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// A dependency failed.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<OpenError> for CredentialError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::PasswordChanged => Self::Wrong,
            OpenError::Fault(fault) => Self::Fault(fault),
        }
    }
}

/// Why there is no new account.
#[derive(Debug, thiserror::Error)]
pub enum NewAccountError {
    /// Its password was not hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// It was not made.
    #[error(transparent)]
    SignUp(#[from] SignUpError),
}

impl Accounts {
    /// Over these.
    pub fn new(
        db: Db,
        passwords: Passwords,
        logins: Logins,
        sessions: Sessions,
        clock: SharedClock,
        rules: SessionRules,
    ) -> Self {
        Self(Arc::new(Parts { db, passwords, logins, sessions, clock, rules }))
    }

    /// The count of tried logins.
    pub fn logins(&self) -> &Logins {
        &self.0.logins
    }

    /// The pool that hashes passwords.
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// Makes an account and opens its first session.
    pub async fn sign_up(
        &self,
        username: &Username,
        email: &Email,
        password: &NewPassword,
    ) -> Result<Tokens, NewAccountError> {
        let hash = self.0.passwords.hash(password.as_str()).await?;
        let now = self.0.clock.now();
        let open = self.0.db.sign_up((username, email, &hash), self.0.rules, now + self.0.rules.token_ttl).await?;
        Ok(self.tokens(open, now))
    }

    /// Opens a session. An account that does not exist costs the same work as a wrong password.
    pub async fn log_in(&self, login: &Login, password: &TriedPassword) -> Result<Tokens, CredentialError> {
        let account = self.verified(login, password).await?;
        let now = self.0.clock.now();
        let until = now + self.0.rules.token_ttl;
        let (open, oldest) = self.0.db.open_session(account.user, account.generation, self.0.rules, until).await?;
        self.note(&oldest);
        self.rehash(&account, password).await;
        Ok(self.tokens(open, now))
    }

    /// Gives new tokens for a refresh token, which is used up.
    pub async fn refresh(&self, token: &RefreshToken) -> Result<Tokens, RefreshError> {
        let followers: Vec<RefreshToken> =
            self.0.sessions.keys().followers(token.as_bytes()).iter().map(|secret| token.with_secret(secret)).collect();
        let now = self.0.clock.now();
        match self.0.db.refresh_session(token, &followers, now + self.0.rules.token_ttl).await {
            Ok(open) => Ok(self.tokens(open, now)),
            Err(error) => {
                if let RefreshError::Reused(ended) = &error {
                    tracing::warn!(session = %ended.id, "a refresh token was used twice, its session is ended");
                    self.note(&[*ended]);
                }
                Err(error)
            }
        }
    }

    /// Changes a password, and ends all sessions but the one that asks, which goes on with new tokens.
    pub async fn change_password(
        &self,
        asking: SignedIn,
        current: &TriedPassword,
        new: &NewPassword,
    ) -> Result<Tokens, CredentialError> {
        let account = self.verified(&Login::Id(asking.user), current).await?;
        let hash = self.0.passwords.hash(new.as_str()).await?;
        let now = self.0.clock.now();
        let (rules, until) = (self.0.rules, now + self.0.rules.token_ttl);
        let change = (account.generation, hash.as_str());
        let (open, ended) = self.0.db.change_password(asking.user, change, asking.session, rules, until).await?;
        self.note(&ended);
        Ok(self.tokens(open, now))
    }

    /// Ends a user's session; whether it was open.
    pub async fn end(&self, user: UserId, session: SessionId) -> Result<bool, Fault> {
        let ended = self.0.db.end_session(user, session).await?;
        self.note(ended.as_slice());
        Ok(ended.is_some())
    }

    /// Ends the session of a refresh token; whether it was one of ours, of a session that is over perhaps.
    pub async fn end_by_refresh_token(&self, token: &RefreshToken) -> Result<bool, Fault> {
        let Some(user) = self.0.db.session_of(token).await? else { return Ok(false) };
        self.end(user, token.session()).await.map(|_| true)
    }

    /// A user's open sessions, the newest first.
    pub async fn sessions(&self, user: UserId) -> Result<Vec<SessionRecord>, Fault> {
        self.0.db.sessions(user, self.0.rules.per_user).await
    }

    /// The account that a login names, if the password is its own and it was not tried too often.
    async fn verified(&self, login: &Login, password: &TriedPassword) -> Result<Account, CredentialError> {
        self.0.logins.check(login)?;
        let account = self.0.db.account(login).await?;
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let right = self.0.passwords.verify(password.as_str(), hash).await?;
        account.filter(|_| right).ok_or(CredentialError::Wrong)
    }

    /// Hashes a password anew where that costs something else by now. Another time will do where it does not go well.
    async fn rehash(&self, account: &Account, password: &TriedPassword) {
        if !self.0.passwords.is_outdated(&account.password_hash) {
            return;
        }
        let Ok(hash) = self.0.passwords.hash_at_leisure(password.as_str()).await else { return };
        if let Err(fault) = self.0.db.rehash(account.user, &account.password_hash, &hash).await {
            tracing::warn!(%fault, "a password's new hash was not kept");
        }
    }

    /// In this process at once; the others hear of it by the database.
    fn note(&self, ended: &[EndedSession]) {
        let ended = ended.iter().map(|session| (session.id, session.tokens_until.timestamp()));
        self.0.sessions.ended().note(ended, self.0.clock.now());
    }

    fn tokens(&self, open: OpenSession, issued_at: DateTime<Utc>) -> Tokens {
        let expires_at = (issued_at + self.0.rules.token_ttl).min(open.expires_at);
        let session = Session { id: Some(open.id), user: open.user, role: open.role, issued_at, expires_at };
        Tokens {
            user: open.user,
            token: self.0.sessions.keys().sign(&session),
            issued_at,
            expires_at,
            refresh: open.refresh,
            refresh_until: open.expires_at,
        }
    }
}
