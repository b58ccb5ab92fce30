//! Users and their credentials.

use chrono::{DateTime, Utc};
use common::ids::UserId;
use common::tokens::Role;
use sqlx::PgConnection;

use super::errors::violated;
use super::sessions::{insert, keep_role};
use super::{Db, unreadable, within};
use crate::domain::Fault;
use crate::domain::account::{Account, Email, Login, SignUpError, Username};
use crate::domain::session::{OpenSession, SessionRules};

struct AccountRow {
    user_id: uuid::Uuid,
    password_hash: String,
    generation: i32,
}

impl From<AccountRow> for Account {
    fn from(row: AccountRow) -> Self {
        Self { user: row.user_id.into(), password_hash: row.password_hash, generation: row.generation }
    }
}

/// What a role is called in tokens it is called in the database.
pub(super) fn read_role(name: &str) -> Result<Role, Fault> {
    name.parse().map_err(|_| unreadable("role", &name))
}

impl Db {
    /// Makes an account with an empty balance.
    pub async fn create_account(&self, username: &Username, email: &Email, hash: &str) -> Result<UserId, SignUpError> {
        within(async { create(&mut *self.pool.acquire().await?, username, email, hash).await }).await
    }

    /// The same, and opens its first session.
    pub async fn sign_up(
        &self,
        (username, email, hash): (&Username, &Email, &str),
        rules: SessionRules,
        tokens_until: DateTime<Utc>,
    ) -> Result<OpenSession, SignUpError> {
        within(async {
            let mut transaction = self.pool.begin().await?;
            let user = create(&mut transaction, username, email, hash).await?;
            let role = keep_role(&mut transaction, user).await?;
            let (open, _) = insert(&mut transaction, (user, role), rules, tokens_until).await?;
            transaction.commit().await?;
            Ok(open)
        })
        .await
    }

    /// Puts another hash of the same password in the place of `old`, unless somebody was faster.
    pub async fn rehash(&self, user: UserId, old: &str, new: &str) -> Result<(), Fault> {
        within(async {
            sqlx::query!(
                "UPDATE credentials SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2",
                user.as_uuid(),
                old,
                new
            )
            .execute(&self.pool)
            .await?;
            Ok(())
        })
        .await
    }

    /// Gives the user that a login names another role, which ends their sessions; who that is, `None` where it is nobody.
    pub async fn set_role(&self, login: &Login, role: Role) -> Result<Option<UserId>, Fault> {
        let (id, email) = names(login);
        let role = serde_json::to_value(role).map_err(|error| Fault::Internal(error.to_string()))?;
        within(async {
            let user = sqlx::query_scalar!(
                "WITH changed AS (UPDATE users SET role = $3 WHERE (id = $1 OR email = $2) AND role <> $3)
                 SELECT id FROM users WHERE id = $1 OR email = $2",
                id,
                email,
                role.as_str()
            )
            .fetch_optional(&self.pool)
            .await?;
            Ok::<_, Fault>(user.map(Into::into))
        })
        .await
    }

    /// The user who has this email.
    pub async fn user_of(&self, email: &Email) -> Result<Option<UserId>, Fault> {
        within(async {
            let user = sqlx::query_scalar!("SELECT id FROM users WHERE email = $1", email.as_str());
            Ok::<_, Fault>(user.fetch_optional(&self.pool).await?.map(Into::into))
        })
        .await
    }

    /// The account that a login names, if there is one that has a password.
    pub async fn account(&self, login: &Login) -> Result<Option<Account>, Fault> {
        let (id, email) = names(login);
        within(async {
            sqlx::query_as!(
                AccountRow,
                "SELECT c.user_id, c.password_hash, c.generation
                 FROM users u JOIN credentials c ON c.user_id = u.id
                 WHERE u.id = $1 OR u.email = $2",
                id,
                email
            )
            .fetch_optional(&self.pool)
            .await
            .map(|row| row.map(Account::from))
            .map_err(Fault::from)
        })
        .await
    }
}

/// An id or an email; of nobody, neither.
fn names(login: &Login) -> (Option<uuid::Uuid>, Option<&str>) {
    match login {
        Login::Id(id) => (Some(id.as_uuid()), None),
        Login::Email(email) => (None, Some(email.as_str())),
        Login::Nobody(_) => (None, None),
    }
}

async fn create(
    connection: &mut PgConnection,
    username: &Username,
    email: &Email,
    hash: &str,
) -> Result<UserId, SignUpError> {
    let user = UserId::generate();
    sqlx::query!(
        "WITH created AS (INSERT INTO users (id, username, email) VALUES ($1, $2, $3) RETURNING id)
         INSERT INTO credentials (user_id, password_hash) SELECT id, $4 FROM created",
        user.as_uuid(),
        username.as_str(),
        email.as_str(),
        hash
    )
    .execute(connection)
    .await
    .map_err(|error| match violated(&error) {
        Some("users_email_key") => SignUpError::EmailTaken,
        _ => error.into(),
    })?;
    Ok(user)
}
