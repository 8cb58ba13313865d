//! What a store can answer instead of a result.

use std::{path::PathBuf, time::Duration};

use mediamesh_proto::{ErrorKind, ErrorReason};

/// Result of a store operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database file cannot be opened.
    #[error("cannot open database {path}")]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// What the driver says.
        #[source]
        source: diesel::ConnectionError,
    },
    /// The address of the database cannot be used.
    #[error("address of the database: {message}")]
    Url {
        /// What is wrong with it; not the address, which may hold a password.
        message: String,
    },
    /// The database cannot be reached, or went away.
    #[error("the database does not answer: {message}")]
    Unavailable {
        /// What the driver says.
        message: String,
    },
    /// The certificate of the database server is not one to trust.
    #[error(
        "the certificate of the database server is refused: {why}; database.tls_ca names whose are taken"
    )]
    Untrusted {
        /// What is wrong with it.
        why: String,
    },
    /// A statement took longer than its caller or the server allows.
    #[error("a database statement was cancelled: its time was up")]
    TimedOut,
    /// Another transaction held what this one needs for longer than it may wait; nothing was written.
    #[error("the database row or tenant is locked by another write that does not end")]
    Locked,
    /// A replica gave up a statement because the primary removed what it was reading.
    #[error("the replica gave up a statement: the primary removed what it was reading")]
    RecoveryConflict,
    /// A migration failed; those before it stand.
    #[error("cannot migrate the database: {message}")]
    Migrate {
        /// What the migration harness says.
        message: String,
    },
    /// No connection became free in time.
    #[error("no database connection became free within {waited_secs} s")]
    PoolExhausted {
        /// How long was waited.
        waited_secs: u64,
    },
    /// The database refused a statement.
    #[error("database statement failed")]
    Query(#[from] diesel::result::Error),
    /// The disk is full; nothing of the transaction was stored.
    #[error("database disk is full")]
    Full,
    /// The row changed since it was read.
    #[error("etag is stale: the item is at version {current}")]
    EtagMismatch {
        /// Version that is stored.
        current: i64,
    },
    /// A job's lease expired or was taken over.
    #[error("lease of job {job_id} is lost")]
    LeaseLost {
        /// The job.
        job_id: mediamesh_proto::JobId,
    },
    /// A stored value cannot be read.
    #[error("stored {what} is corrupt")]
    Corrupt {
        /// Which column.
        what: &'static str,
    },
    /// The database does not do what an operator asked of it.
    #[error("the database refuses: {why}")]
    Refused {
        /// What it says.
        why: String,
    },
    /// A query cannot be understood by the full text.
    #[error("full-text query has no words")]
    NoWords,
}

/// What PostgreSQL says when it goes away or is not there yet. Its codes do not come through diesel.
const GOING: [&str; 4] = [
    "terminating connection",
    "the database system is",
    "too many clients",
    "remaining connection slots",
];

/// When to try again to write what another has locked: one that was stopped is silent for seconds.
const AGAIN: Duration = Duration::from_secs(2);

impl Error {
    /// Sorts driver errors: a full disk, a server that went away, time that ran out are no bugs.
    pub(crate) fn from_diesel(error: diesel::result::Error) -> Self {
        use diesel::result::{DatabaseErrorKind, Error as Diesel};
        let (kind, info) = match &error {
            Diesel::DatabaseError(kind, info) => (kind, info),
            _ => return Self::of_transaction(error),
        };
        let says = |text: &str| info.message().contains(text);
        match kind {
            _ if says("canceling statement due to conflict with recovery") => {
                Self::RecoveryConflict
            }
            // read-only is what a primary becomes when another takes over
            DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::ReadOnlyTransaction => Self::Unavailable {
                message: info.message().to_owned(),
            },
            _ if says("database or disk is full") || says("No space left on device") => Self::Full,
            _ if GOING.iter().any(|text| says(text)) => Self::Unavailable {
                message: info.message().to_owned(),
            },
            // the server undid one of two that waited for each other
            _ if says("canceling statement due to lock timeout") || says("deadlock detected") => {
                Self::Locked
            }
            _ if says("canceling statement due to") => Self::TimedOut,
            _ => Self::Query(error),
        }
    }

    /// Sorts what a transaction says that lost its connection: the connection is what failed.
    fn of_transaction(error: diesel::result::Error) -> Self {
        use diesel::result::Error as Diesel;
        match error {
            Diesel::RollbackErrorOnCommit { commit_error, .. } => Self::from_diesel(*commit_error),
            Diesel::BrokenTransactionManager => Self::Unavailable {
                message: "the connection was lost amid a transaction".to_owned(),
            },
            _ => Self::Query(error),
        }
    }

    /// Kind and reason for the one mapping to status.
    #[must_use]
    pub fn kind(&self) -> (ErrorKind, ErrorReason) {
        match self {
            Self::PoolExhausted { .. }
            | Self::Unavailable { .. }
            | Self::Untrusted { .. }
            | Self::RecoveryConflict => (ErrorKind::DependencyDown, ErrorReason::DependencyDown),
            // undone, so as good as not begun
            Self::Locked => (ErrorKind::Overloaded, ErrorReason::LoadShed),
            Self::TimedOut => (ErrorKind::DeadlineExceeded, ErrorReason::DeadlineExceeded),
            Self::Full => (ErrorKind::ResourceExhausted, ErrorReason::StorageFull),
            Self::EtagMismatch { .. } => (ErrorKind::Conflict, ErrorReason::EtagMismatch),
            Self::LeaseLost { .. } => (ErrorKind::Conflict, ErrorReason::LeaseLost),
            Self::NoWords | Self::Refused { .. } => {
                (ErrorKind::InvalidArgument, ErrorReason::InvalidField)
            }
            Self::Open { .. }
            | Self::Url { .. }
            | Self::Migrate { .. }
            | Self::Query(_)
            | Self::Corrupt { .. } => (ErrorKind::Internal, ErrorReason::Internal),
        }
    }
}

impl From<Error> for mediamesh_proto::Error {
    fn from(error: Error) -> Self {
        let (kind, reason) = error.kind();
        let out = match &error {
            // what the driver says is for the log
            Error::Unavailable { message } => {
                tracing::warn!(message, "the database does not answer");
                Self::new(kind, reason, "the database does not answer")
            }
            Error::Untrusted { why } => {
                tracing::error!(why, "the certificate of the database server is refused");
                Self::new(kind, reason, "the database does not answer")
            }
            _ if kind == ErrorKind::Internal => {
                Self::new(kind, reason, "internal error in the database")
            }
            _ => Self::new(kind, reason, error.to_string()),
        };
        match error {
            Error::PoolExhausted { .. }
            | Error::Unavailable { .. }
            | Error::Untrusted { .. }
            | Error::RecoveryConflict => out.meta("dependency", "database"),
            Error::Locked => out.meta("dependency", "database").retry_after(AGAIN),
            Error::LeaseLost { job_id } => out.resource("job", job_id),
            Error::EtagMismatch { current } => out.meta("currentEtag", current),
            _ => {
                if kind == ErrorKind::Internal {
                    tracing::error!(error = &error as &dyn std::error::Error, "database failed");
                }
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};

    use super::*;

    fn said(kind: Kind, message: &str) -> Diesel {
        Diesel::DatabaseError(kind, Box::new(message.to_owned()))
    }

    #[test]
    fn a_connection_lost_amid_a_transaction_is_no_bug() {
        let lost = || said(Kind::UnableToSendCommand, "connection closed");
        let both = Diesel::RollbackErrorOnCommit {
            rollback_error: Box::new(lost()),
            commit_error: Box::new(lost()),
        };
        for error in [lost(), both, Diesel::BrokenTransactionManager] {
            let error = Error::from_diesel(error);
            assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
        }
    }

    #[test]
    fn what_the_server_undid_may_be_tried_again() {
        for message in [
            "deadlock detected",
            "canceling statement due to lock timeout",
        ] {
            let error = Error::from_diesel(said(Kind::Unknown, message));
            assert!(matches!(error, Error::Locked), "{error:?}");
        }
    }

    #[test]
    fn a_refused_statement_is_a_bug() {
        for error in [
            said(Kind::UniqueViolation, "duplicate key"),
            Diesel::NotInTransaction,
        ] {
            let error = Error::from_diesel(error);
            assert!(matches!(error, Error::Query(_)), "{error:?}");
        }
    }
}
