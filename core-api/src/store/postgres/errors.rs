//! What database errors mean.

use crate::domain::Fault;
use crate::domain::account::SignUpError;
use crate::domain::effect::EffectError;
use crate::domain::reservation::CancelError;
use crate::domain::session::{OpenError, RefreshError};

/// The name of the constraint that a statement violated, if that is what is wrong with it.
pub(super) fn violated(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::constraint)
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        if passes(&error) { Self::Unavailable(error.to_string()) } else { Self::Internal(error.to_string()) }
    }
}

impl<R> From<sqlx::Error> for EffectError<R> {
    fn from(error: sqlx::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<sqlx::Error> for CancelError {
    fn from(error: sqlx::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<sqlx::Error> for SignUpError {
    fn from(error: sqlx::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<sqlx::Error> for RefreshError {
    fn from(error: sqlx::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// Whether the same statement may succeed later: the connection, the server's state or a lock was at fault, not the
/// statement.
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| code_passes(&code)),
        _ => false,
    }
}

/// The same by SQLSTATE (`PostgreSQL`, Appendix A).
fn code_passes(code: &str) -> bool {
    // Connection exceptions, insufficient resources, operator intervention (shutdown, crash, cancelled statement).
    ["08", "53", "57"].iter().any(|class| code.starts_with(class))
        // Serialization failure, deadlock, lock timeout, idle transaction ended, read-only (a failover is under way).
        || matches!(code, "40001" | "40P01" | "55P03" | "25P03" | "25006")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_is_our_fault() {
        for passes in ["08006", "53300", "57P01", "57014", "40P01", "55P03", "25006"] {
            assert!(code_passes(passes), "{passes}");
        }
        for ours in ["23505", "22003", "42P01", "25P02"] {
            assert!(!code_passes(ours), "{ours}");
        }
        assert!(matches!(Fault::from(sqlx::Error::PoolTimedOut), Fault::Unavailable(_)));
        assert!(matches!(Fault::from(sqlx::Error::RowNotFound), Fault::Internal(_)));
    }
}
