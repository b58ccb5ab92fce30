//! Users and their credentials.

use common::ids::UserId;
use common::tokens::Role;

use super::errors::violated;
use super::{Db, unreadable, within};
use crate::domain::Fault;
use crate::domain::account::{Account, Email, Login, SignUpError, Username};

struct AccountRow {
    user_id: uuid::Uuid,
    role: String,
    password_hash: String,
}

impl TryFrom<AccountRow> for Account {
    type Error = Fault;

    fn try_from(row: AccountRow) -> Result<Self, Fault> {
        let role = match row.role.as_str() {
            "user" => Role::User,
            "staff" => Role::Staff,
            "admin" => Role::Admin,
            other => return Err(unreadable("role", &other)),
        };
        Ok(Self { user: row.user_id.into(), role, password_hash: row.password_hash })
    }
}

impl Db {
    /// Makes an account with an empty balance.
    pub async fn create_account(&self, username: &Username, email: &Email, hash: &str) -> Result<UserId, SignUpError> {
        let user = UserId::generate();
        let created = within(async {
            sqlx::query!(
                "WITH created AS (INSERT INTO users (id, username, email) VALUES ($1, $2, $3) RETURNING id)
                 INSERT INTO credentials (user_id, password_hash) SELECT id, $4 FROM created",
                user.as_uuid(),
                username.as_str(),
                email.as_str(),
                hash
            )
            .execute(&self.pool)
            .await
            .map_err(|error| match violated(&error) {
                Some("users_email_key") => SignUpError::EmailTaken,
                _ => error.into(),
            })
        });
        created.await.map(|_| user)
    }

    /// Says what an account may do, from the next time that its owner signs in; `false` where there is no such account.
    pub async fn set_role(&self, email: &Email, role: Role) -> Result<bool, Fault> {
        let role = match role {
            Role::User => "user",
            Role::Staff => "staff",
            Role::Admin => "admin",
        };
        within(async {
            Ok::<_, Fault>(
                sqlx::query_scalar!(
                    r#"WITH changed AS (UPDATE users SET role = $2 WHERE email = $1 AND role <> $2)
                       SELECT EXISTS (SELECT FROM users WHERE email = $1) AS "exists!""#,
                    email.as_str(),
                    role
                )
                .fetch_one(&self.pool)
                .await?,
            )
        })
        .await
    }

    /// The account that a login names, if there is one that has a password.
    pub async fn account(&self, login: &Login) -> Result<Option<Account>, Fault> {
        let (id, email) = match login {
            Login::Id(id) => (Some(id.as_uuid()), None),
            Login::Email(email) => (None, Some(email.as_str())),
            Login::Nobody(_) => return Ok(None),
        };
        within(async {
            sqlx::query_as!(
                AccountRow,
                "SELECT c.user_id, u.role, c.password_hash
                 FROM users u JOIN credentials c ON c.user_id = u.id
                 WHERE u.id = $1 OR u.email = $2",
                id,
                email
            )
            .fetch_optional(&self.pool)
            .await?
            .map(Account::try_from)
            .transpose()
        })
        .await
    }
}
