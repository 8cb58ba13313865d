//! What a store can answer instead of a result.

use std::path::PathBuf;

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
    /// A query cannot be understood by the full text.
    #[error("full-text query has no words")]
    NoWords,
}

impl Error {
    /// Sorts driver errors: a full disk is no bug.
    pub(crate) fn from_diesel(error: diesel::result::Error) -> Self {
        if let diesel::result::Error::DatabaseError(_, info) = &error
            && info.message().contains("database or disk is full")
        {
            return Self::Full;
        }
        Self::Query(error)
    }

    /// Kind and reason for the one mapping to status.
    #[must_use]
    pub fn kind(&self) -> (ErrorKind, ErrorReason) {
        match self {
            Self::PoolExhausted { .. } => (ErrorKind::DependencyDown, ErrorReason::DependencyDown),
            Self::Full => (ErrorKind::ResourceExhausted, ErrorReason::StorageFull),
            Self::EtagMismatch { .. } => (ErrorKind::Conflict, ErrorReason::EtagMismatch),
            Self::LeaseLost { .. } => (ErrorKind::Conflict, ErrorReason::LeaseLost),
            Self::NoWords => (ErrorKind::InvalidArgument, ErrorReason::InvalidField),
            Self::Open { .. } | Self::Migrate { .. } | Self::Query(_) | Self::Corrupt { .. } => {
                (ErrorKind::Internal, ErrorReason::Internal)
            }
        }
    }
}

impl From<Error> for mediamesh_proto::Error {
    fn from(error: Error) -> Self {
        let (kind, reason) = error.kind();
        let out = match kind {
            ErrorKind::Internal => Self::new(kind, reason, "internal error in the database"),
            _ => Self::new(kind, reason, error.to_string()),
        };
        match error {
            Error::PoolExhausted { .. } => out.meta("dependency", "database"),
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
