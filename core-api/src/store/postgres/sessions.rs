//! Sessions. What opens one and what ends many take the account's credentials first, then its user, then its sessions.

use chrono::{DateTime, NaiveDateTime, Utc};
use common::ids::{SessionId, UserId};
use common::tokens::Role;
use sqlx::PgConnection;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use super::accounts::read_role;
use super::{Db, unreadable, utc, within};
use crate::domain::Fault;
use crate::domain::session::{
    EndedSession, Hash, OpenError, OpenSession, Presented, RefreshError, RefreshToken, SessionRules, StoredSession,
};

/// Which sessions of a user are to be ended.
#[derive(Debug, Clone, Copy)]
enum Which {
    /// This one.
    One(SessionId),
    /// All but this one.
    AllBut(Option<SessionId>),
}

impl Db {
    /// Opens a session for an account whose password was verified, the one of this generation; and ends the oldest where
    /// there are too many then.
    pub async fn open_session(
        &self,
        user: UserId,
        generation: i32,
        rules: SessionRules,
        tokens_until: DateTime<Utc>,
    ) -> Result<(OpenSession, Vec<EndedSession>), OpenError> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            // A change of the password, or of the role, waits for this one, and ends it; or this waits and sees it.
            sqlx::query_scalar!(
                "SELECT user_id FROM credentials WHERE user_id = $1 AND generation = $2 FOR UPDATE",
                user.as_uuid(),
                generation
            )
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(OpenError::PasswordChanged)?;
            let role = keep_role(&mut transaction, user).await?;
            let opened = insert(&mut transaction, (user, role), rules, tokens_until).await?;
            transaction.commit().await?;
            Ok(opened)
        })
        .await
    }

    /// Takes a refresh token and gives the next, the first of `followers`; where the same is asked again, the one of them
    /// that was given. Its role is the account's now.
    pub async fn refresh_session(
        &self,
        token: &RefreshToken,
        followers: &[RefreshToken],
        tokens_until: DateTime<Utc>,
    ) -> Result<OpenSession, RefreshError> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let stored = lock(&mut transaction, token.session()).await?.ok_or(RefreshError::NotValid)?;
            // Asked once the lock is held.
            let account =
                sqlx::query!("SELECT role, now_utc() AS \"now!\" FROM users WHERE id = $1", stored.user.as_uuid())
                    .fetch_one(&mut *transaction)
                    .await?;
            let next = match stored.judge(token, utc(account.now)) {
                Presented::Current => followers.first(),
                Presented::Again => followers.iter().find(|next| next.hash() == stored.current),
                Presented::Reused => {
                    let ended = end(&mut transaction, stored.user, Which::One(token.session()), "reuse").await?;
                    transaction.commit().await?;
                    return Err(ended.first().map_or(RefreshError::NotValid, |ended| RefreshError::Reused(*ended)));
                }
                Presented::Forged | Presented::Over => None,
            };
            let next = next.ok_or(RefreshError::NotValid)?;
            rotate(&mut transaction, next, tokens_until).await?;
            transaction.commit().await?;
            Ok(OpenSession {
                id: token.session(),
                user: stored.user,
                role: read_role(&account.role)?,
                refresh: next.clone(),
                expires_at: stored.expires_at,
            })
        })
        .await
    }

    /// Gives an account another password in place of the one of this generation, and ends its sessions. The one that
    /// asks goes on with new tokens, in its own session where it names an open one, else in a new one.
    pub async fn change_password(
        &self,
        user: UserId,
        (generation, hash): (i32, &str),
        asking: Option<SessionId>,
        rules: SessionRules,
        tokens_until: DateTime<Utc>,
    ) -> Result<(OpenSession, Vec<EndedSession>), OpenError> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            sqlx::query_scalar!(
                "UPDATE credentials SET password_hash = $3, generation = generation + 1
                 WHERE user_id = $1 AND generation = $2 RETURNING user_id",
                user.as_uuid(),
                generation,
                hash
            )
            .fetch_optional(&mut *transaction)
            .await?
            .ok_or(OpenError::PasswordChanged)?;
            let owner = (user, keep_role(&mut transaction, user).await?);
            let ended = end(&mut transaction, user, Which::AllBut(asking), "password").await?;
            let open = match renew(&mut transaction, owner, asking, tokens_until).await? {
                Some(open) => open,
                // All others have just been ended: there are not too many.
                None => insert(&mut transaction, owner, rules, tokens_until).await?.0,
            };
            transaction.commit().await?;
            Ok((open, ended))
        })
        .await
    }

    /// The session of a refresh token, whether or not it is over and the token the newest; `None` for a forgery.
    pub async fn session_of(&self, token: &RefreshToken) -> Result<Option<UserId>, Fault> {
        within(async {
            let found =
                sqlx::query!("SELECT user_id, family_hash FROM sessions WHERE id = $1", token.session().as_uuid())
                    .fetch_optional(&self.pool)
                    .await?;
            let is_ours = |stored: &[u8]| bool::from(stored.ct_eq(&token.family_hash()));
            Ok::<_, Fault>(found.filter(|row| is_ours(&row.family_hash)).map(|row| row.user_id.into()))
        })
        .await
    }

    /// Ends a user's session; `None` where they have no such one that is open.
    pub async fn end_session(&self, user: UserId, session: SessionId) -> Result<Option<EndedSession>, Fault> {
        within(async {
            let mut connection = self.pool.acquire().await?;
            Ok::<_, Fault>(end(&mut connection, user, Which::One(session), "logout").await?.into_iter().next())
        })
        .await
    }
}

/// A user's role, which can't change before this transaction ends: a token says it.
pub(super) async fn keep_role(connection: &mut PgConnection, user: UserId) -> Result<Role, Fault> {
    let role = sqlx::query_scalar!("SELECT role FROM users WHERE id = $1 FOR SHARE", user.as_uuid())
        .fetch_one(connection)
        .await?;
    read_role(&role)
}

/// Opens a session of a user in their role, and ends the oldest of too many.
pub(super) async fn insert(
    connection: &mut PgConnection,
    (user, role): (UserId, Role),
    rules: SessionRules,
    tokens_until: DateTime<Utc>,
) -> Result<(OpenSession, Vec<EndedSession>), Fault> {
    let id = SessionId::generate();
    let refresh = RefreshToken::first(id);
    let expires_at = sqlx::query_scalar!(
        "INSERT INTO sessions (id, user_id, family_hash, refresh_hash, tokens_until, expires_at)
         VALUES ($1, $2, $3, $4, $5, now_utc() + make_interval(secs => $6)) RETURNING expires_at",
        id.as_uuid(),
        user.as_uuid(),
        &refresh.family_hash()[..],
        &refresh.hash()[..],
        tokens_until.naive_utc(),
        f64::from(rules.lifetime_seconds)
    )
    .fetch_one(&mut *connection)
    .await?;
    let oldest = sqlx::query!(
        "UPDATE sessions SET ended_at = now_utc(), end_reason = 'limit'
         WHERE id IN (SELECT id FROM sessions WHERE user_id = $1 AND ended_at IS NULL
                      ORDER BY created_at DESC, id DESC OFFSET $2)
         RETURNING id, tokens_until, ended_at AS \"ended_at!\"",
        user.as_uuid(),
        i64::from(rules.per_user)
    )
    .fetch_all(&mut *connection)
    .await?;
    let oldest = oldest.into_iter().map(|row| ended(row.id, row.tokens_until, row.ended_at)).collect();
    Ok((OpenSession { id, user, role, refresh, expires_at: utc(expires_at) }, oldest))
}

/// A session under its row's lock.
async fn lock(connection: &mut PgConnection, session: SessionId) -> Result<Option<StoredSession>, Fault> {
    let row = sqlx::query!(
        "SELECT user_id, family_hash, refresh_hash, previous_hash, refreshed_at, expires_at, ended_at
         FROM sessions WHERE id = $1 FOR UPDATE",
        session.as_uuid()
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(StoredSession {
            user: row.user_id.into(),
            family: hash(&row.family_hash)?,
            current: hash(&row.refresh_hash)?,
            previous: row.previous_hash.as_deref().map(hash).transpose()?,
            refreshed_at: utc(row.refreshed_at),
            expires_at: utc(row.expires_at),
            is_ended: row.ended_at.is_some(),
        })
    })
    .transpose()
}

/// Makes `next` the token that may be used next; where it is already, only its session's tokens last longer.
async fn rotate(connection: &mut PgConnection, next: &RefreshToken, tokens_until: DateTime<Utc>) -> Result<(), Fault> {
    sqlx::query!(
        "UPDATE sessions
         SET previous_hash = CASE WHEN refresh_hash = $2 THEN previous_hash ELSE refresh_hash END,
             refreshed_at = CASE WHEN refresh_hash = $2 THEN refreshed_at ELSE now_utc() END,
             refresh_hash = $2, tokens_until = greatest(tokens_until, $3)
         WHERE id = $1",
        next.session().as_uuid(),
        &next.hash()[..],
        tokens_until.naive_utc()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives an open session refresh tokens of another family, so that all from before are worth nothing.
async fn renew(
    connection: &mut PgConnection,
    (user, role): (UserId, Role),
    session: Option<SessionId>,
    tokens_until: DateTime<Utc>,
) -> Result<Option<OpenSession>, Fault> {
    let Some(id) = session else { return Ok(None) };
    let refresh = RefreshToken::first(id);
    let expires_at = sqlx::query_scalar!(
        "UPDATE sessions
         SET family_hash = $3, refresh_hash = $4, previous_hash = NULL, refreshed_at = now_utc(),
             tokens_until = greatest(tokens_until, $5)
         WHERE id = $1 AND user_id = $2 AND ended_at IS NULL AND expires_at > now_utc()
         RETURNING expires_at",
        id.as_uuid(),
        user.as_uuid(),
        &refresh.family_hash()[..],
        &refresh.hash()[..],
        tokens_until.naive_utc()
    )
    .fetch_optional(connection)
    .await?;
    Ok(expires_at.map(|expires_at| OpenSession { id, user, role, refresh, expires_at: utc(expires_at) }))
}

/// Ends a user's open sessions.
async fn end(
    connection: &mut PgConnection,
    user: UserId,
    which: Which,
    reason: &str,
) -> Result<Vec<EndedSession>, Fault> {
    let (one, but): (Option<Uuid>, Option<Uuid>) = match which {
        Which::One(session) => (Some(session.into()), None),
        Which::AllBut(session) => (None, session.map(Into::into)),
    };
    let rows = sqlx::query!(
        "UPDATE sessions SET ended_at = now_utc(), end_reason = $4
         WHERE user_id = $1 AND ended_at IS NULL AND ($2::uuid IS NULL OR id = $2) AND id IS DISTINCT FROM $3::uuid
         RETURNING id, tokens_until, ended_at AS \"ended_at!\"",
        user.as_uuid(),
        one,
        but,
        reason
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| ended(row.id, row.tokens_until, row.ended_at)).collect())
}

pub(super) fn ended(id: Uuid, tokens_until: NaiveDateTime, ended_at: NaiveDateTime) -> EndedSession {
    EndedSession { id: id.into(), tokens_until: utc(tokens_until), ended_at: utc(ended_at) }
}

/// A SHA-256 whose length a CHECK guards.
fn hash(bytes: &[u8]) -> Result<Hash, Fault> {
    bytes.try_into().map_err(|_| unreadable("hash of a token", &bytes.len()))
}
