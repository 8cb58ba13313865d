//! What can go wrong with stored bytes.

use std::{error::Error as StdError, io};

use mediamesh_proto::{ErrorKind, ErrorReason};

/// Result of a blob operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a blob operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing lies under the key.
    #[error("no object under key `{key}`")]
    NotFound {
        /// The key.
        key: String,
    },
    /// A range starts past the end of its object.
    #[error("range starts at byte {start}; object has {size_bytes} bytes")]
    RangePastEnd {
        /// First byte asked for.
        start: u64,
        /// Size of the object.
        size_bytes: u64,
    },
    /// More bytes came than are allowed; nothing was kept.
    #[error("object is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The disk or bucket is full, or a quota is used up; nothing was kept.
    #[error("storage is full")]
    Full(#[source] BoxError),
    /// The key has empty, `.` or `..` parts.
    #[error("`{key}` is not a key")]
    InvalidKey {
        /// The key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: object_store::path::Error,
    },
    /// The stream that brings the bytes ended with an error; nothing was kept.
    #[error("source of the bytes failed")]
    Source(#[source] BoxError),
    /// The backend does not know us, or does not let us do it.
    #[error("object storage refuses the credentials, or what they are used for")]
    Denied(#[source] BoxError),
    /// The bucket is not there.
    #[error("bucket of the object storage does not exist")]
    NoBucket(#[source] BoxError),
    /// The backend cannot do this.
    #[error("{backend} cannot sign addresses")]
    CannotSign {
        /// Which backend.
        backend: &'static str,
    },
    /// An address cannot be valid that long.
    #[error("signed address is asked for {secs} seconds; 1 to {limit_secs} are possible")]
    InvalidExpiry {
        /// What was asked for.
        secs: u64,
        /// The most.
        limit_secs: u64,
    },
    /// The backend failed otherwise.
    #[error("object storage failed")]
    Backend(#[source] BoxError),
}

/// Any error.
pub type BoxError = Box<dyn StdError + Send + Sync>;

impl Error {
    /// Sorts a backend's error; `key` is what the operation was about.
    pub(crate) fn from_backend(key: &str, error: object_store::Error) -> Self {
        match error {
            error if says(&error, &["NoSuchBucket"]) => Self::NoBucket(Box::new(error)),
            object_store::Error::NotFound { .. } => Self::NotFound {
                key: key.to_owned(),
            },
            error @ (object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }) => Self::Denied(Box::new(error)),
            // of a listing the status is lost on the way
            error if says(&error, &DENIALS) => Self::Denied(Box::new(error)),
            other => Self::from_source(Box::new(other)),
        }
    }

    /// Sorts any cause by the I/O error at its root.
    pub(crate) fn from_source(error: BoxError) -> Self {
        if is_full(error.as_ref()) {
            Self::Full(error)
        } else {
            Self::Backend(error)
        }
    }

    /// Kind and reason for the one mapping to status.
    #[must_use]
    pub fn kind(&self) -> (ErrorKind, ErrorReason) {
        match self {
            Self::RangePastEnd { .. } => (ErrorKind::OutOfRange, ErrorReason::RangeNotSatisfiable),
            Self::TooLarge { .. } => (ErrorKind::InvalidArgument, ErrorReason::TooLarge),
            Self::Full(_) => (ErrorKind::ResourceExhausted, ErrorReason::StorageFull),
            Self::Source(_) => (ErrorKind::Cancelled, ErrorReason::Cancelled),
            // An operator has to act; until then it is as good as down.
            Self::Backend(_) | Self::Denied(_) | Self::NoBucket(_) => {
                (ErrorKind::DependencyDown, ErrorReason::DependencyDown)
            }
            Self::CannotSign { .. } => (ErrorKind::Unimplemented, ErrorReason::Unimplemented),
            Self::InvalidExpiry { .. } => (ErrorKind::InvalidArgument, ErrorReason::InvalidField),
            // A key comes from a row: both mean that rows and bytes disagree.
            Self::NotFound { .. } | Self::InvalidKey { .. } => {
                (ErrorKind::DataLoss, ErrorReason::DataCorrupt)
            }
        }
    }
}

/// Codes of S3 that are about who we are and what we may.
const DENIALS: [&str; 5] = [
    "AccessDenied",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
];

/// Tells whether a server's answer somewhere in the chain holds one of `codes`.
fn says(error: &(dyn StdError + 'static), codes: &[&str]) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if codes.iter().any(|code| text.contains(code)) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Tells whether the root of the chain is `ENOSPC` or `EDQUOT`.
fn is_full(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return matches!(
                io.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            );
        }
        next = error.source();
    }
    false
}

impl From<Error> for mediamesh_proto::Error {
    fn from(error: Error) -> Self {
        let (kind, reason) = error.kind();
        let message = match kind {
            ErrorKind::DataLoss => "stored bytes are missing".to_owned(),
            ErrorKind::ResourceExhausted => "storage is full; nothing was stored".to_owned(),
            _ => error.to_string(),
        };
        let out = Self::new(kind, reason, message);
        match &error {
            Error::RangePastEnd { start, size_bytes } => {
                out.meta("startBytes", start).meta("sizeBytes", size_bytes)
            }
            Error::TooLarge { limit_bytes } => out.meta("maxSizeBytes", limit_bytes),
            Error::InvalidExpiry { secs, limit_secs } => {
                out.meta("seconds", secs).meta("maxSeconds", limit_secs)
            }
            Error::Source(_) | Error::CannotSign { .. } => out,
            _ => {
                tracing::error!(error = &error as &dyn StdError, "object storage failed");
                if kind == ErrorKind::DependencyDown {
                    out.meta("dependency", "object storage")
                } else {
                    out
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_found_however_deep_it_lies() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let deep = object_store::Error::Generic {
                store: "test",
                source: Box::new(io::Error::from(kind)),
            };
            assert!(matches!(Error::from_backend("k", deep), Error::Full(_)));
        }
        let other = io::Error::from(io::ErrorKind::PermissionDenied);
        let other = object_store::Error::Generic {
            store: "test",
            source: Box::new(other),
        };
        assert!(matches!(Error::from_backend("k", other), Error::Backend(_)));
    }
}
