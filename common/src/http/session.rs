//! Who is signed in.

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;

use super::cookies::session_token;
use crate::clock::SharedClock;
use crate::ids::{SessionId, UserId};
use crate::problem::{ErrorCode, Problem};
use crate::tokens::{Role, Sessions};

/// The signed-in user of a request; refuses with 401 where there is none.
#[derive(Debug, Clone, Copy)]
pub struct SignedIn {
    /// Who it is.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// In which of their sessions, where the token tells.
    pub session: Option<SessionId>,
}

impl<S> FromRequestParts<S> for SignedIn
where
    Sessions: FromRef<S>,
    SharedClock: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let token = session_token(&parts.headers).ok_or(ErrorCode::Unauthenticated)?;
        let now = SharedClock::from_ref(state).now();
        let session = Sessions::from_ref(state)
            .verify(&token, now)
            .map_err(|error| Problem::new(ErrorCode::InvalidSession).because(error))?;
        Ok(Self { user: session.user, role: session.role, session: session.id })
    }
}

/// The signed-in administrator of a request; refuses with 401 where nobody is signed in, with 403 where it is no
/// administrator.
#[derive(Debug, Clone, Copy)]
pub struct Administrator {
    /// Who it is.
    pub user: UserId,
}

impl<S> FromRequestParts<S> for Administrator
where
    Sessions: FromRef<S>,
    SharedClock: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let user = one_of(&[Role::Admin], parts, state).await?;
        Ok(Self { user })
    }
}

/// The signed-in member of the staff of a request, which administrators are as well; refuses with 401 where nobody is
/// signed in, with 403 where it is anybody else.
#[derive(Debug, Clone, Copy)]
pub struct Staff {
    /// Who it is.
    pub user: UserId,
}

impl<S> FromRequestParts<S> for Staff
where
    Sessions: FromRef<S>,
    SharedClock: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let user = one_of(&[Role::Staff, Role::Admin], parts, state).await?;
        Ok(Self { user })
    }
}

/// The signed-in user of a request, if they have one of these roles.
async fn one_of<S>(roles: &[Role], parts: &mut Parts, state: &S) -> Result<UserId, Problem>
where
    Sessions: FromRef<S>,
    SharedClock: FromRef<S>,
    S: Send + Sync,
{
    let signed_in = SignedIn::from_request_parts(parts, state).await?;
    if roles.contains(&signed_in.role) { Ok(signed_in.user) } else { Err(ErrorCode::Forbidden.into()) }
}
