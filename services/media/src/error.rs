//! What can go wrong in the media service.

use mediamesh_proto::{ApiKeyId, ErrorKind, ErrorReason, JobId, MediaItemId};

/// Result of an operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks a rule; it says which.
    #[error(transparent)]
    Request(Box<mediamesh_proto::Error>),
    /// No such item for this tenant.
    #[error("no media item {id}")]
    ItemNotFound {
        /// What was asked for.
        id: MediaItemId,
    },
    /// The item has no such rendition, or not yet.
    #[error("media item {id} has no rendition `{rendition}`")]
    RenditionNotFound {
        /// The item.
        id: MediaItemId,
        /// What was asked for.
        rendition: String,
    },
    /// No such job for this tenant.
    #[error("no job {id}")]
    JobNotFound {
        /// What was asked for.
        id: JobId,
    },
    /// The job is in a state in which this cannot be done.
    #[error("job {id} is {state}, and this cannot be done")]
    JobStateUnfit {
        /// The job.
        id: JobId,
        /// Its state.
        state: &'static str,
    },
    /// No such API key for this tenant.
    #[error("no API key {id}")]
    KeyNotFound {
        /// What was asked for.
        id: ApiKeyId,
    },
    /// No such user in this tenant.
    #[error("no user {user}")]
    UserNotFound {
        /// What was asked for.
        user: String,
    },
    /// A signed address or token does not hold.
    #[error("signature is not valid{}", if *.expired { ": its time is over" } else { "" })]
    SignatureInvalid {
        /// It was good once.
        expired: bool,
    },
    /// Nothing was put to an address.
    #[error("nothing was uploaded there")]
    UploadNotFound,
    /// Something was put to an address before.
    #[error("something was uploaded there before")]
    UploadExists,
    /// Nobody holds this key: no such id, or another secret.
    #[error("API key is not known")]
    KeyUnknown,
    /// The key was good and its time is over.
    #[error("API key expired {ago_secs} s ago")]
    KeyExpired {
        /// Since when.
        ago_secs: i64,
    },
    /// The key was revoked.
    #[error("API key was revoked")]
    KeyRevoked,
    /// No bytes came.
    #[error("file has no bytes")]
    EmptyFile,
    /// The bytes are no image or video.
    #[error("content is neither an image nor a video")]
    UnsupportedMediaType,
    /// More bytes than allowed, announced or real.
    #[error("file is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
        /// What was announced, if anything.
        size_bytes: Option<u64>,
    },
    /// The declared hash is not that of the bytes.
    #[error("sha-256 of the bytes is {actual}, not {expected}")]
    ChecksumMismatch {
        /// Declared, hex.
        expected: String,
        /// Of the bytes, hex.
        actual: String,
    },
    /// A range starts past the end.
    #[error("range starts at byte {start}; object has {size_bytes} bytes")]
    RangePastEnd {
        /// First byte asked for.
        start: i64,
        /// Size of the object.
        size_bytes: i64,
    },
    /// Needs a provider that is not configured.
    #[error("image generation needs a provider, and none is configured")]
    ProviderNotConfigured,
    /// A task of ours ended without a result.
    #[error("a task of the media service was aborted")]
    Aborted(#[from] tokio::task::JoinError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] mediamesh_store::Error),
    /// The object storage failed.
    #[error(transparent)]
    Blob(#[from] mediamesh_blob::Error),
}

impl From<mediamesh_proto::Error> for Error {
    fn from(error: mediamesh_proto::Error) -> Self {
        Self::Request(Box::new(error))
    }
}

impl From<Error> for mediamesh_proto::Error {
    fn from(error: Error) -> Self {
        use ErrorKind as K;
        use ErrorReason as R;
        let text = error.to_string();
        match error {
            Error::Request(error) => *error,
            Error::Store(error) => error.into(),
            Error::Blob(error) => error.into(),
            Error::ItemNotFound { id } => Self::new(K::NotFound, R::MediaItemNotFound, text)
                .meta("mediaItemId", id)
                .resource("media item", id),
            Error::RenditionNotFound { id, rendition } => {
                Self::new(K::NotFound, R::RenditionNotFound, text)
                    .meta("mediaItemId", id)
                    .meta("rendition", &rendition)
                    .resource("rendition", rendition)
            }
            Error::JobNotFound { id } => Self::new(K::NotFound, R::JobNotFound, text)
                .meta("jobId", id)
                .resource("job", id),
            Error::JobStateUnfit { id, state } => {
                Self::new(K::FailedPrecondition, R::JobStateUnfit, text)
                    .meta("jobId", id)
                    .meta("state", state)
            }
            Error::KeyNotFound { id } => Self::new(K::NotFound, R::ApiKeyNotFound, text)
                .meta("apiKeyId", id)
                .resource("API key", id),
            Error::UserNotFound { user } => Self::new(K::NotFound, R::UserNotFound, text)
                .meta("userId", &user)
                .resource("user", &user),
            Error::SignatureInvalid { .. } => {
                Self::new(K::PermissionDenied, R::SignatureInvalid, text)
            }
            Error::UploadNotFound => Self::new(K::NotFound, R::UploadNotFound, text),
            Error::UploadExists => Self::new(K::AlreadyExists, R::UploadExists, text),
            Error::KeyUnknown => Self::new(K::Unauthenticated, R::Unauthenticated, text),
            Error::KeyExpired { ago_secs } => {
                Self::new(K::Unauthenticated, R::CredentialsExpired, text)
                    .meta("expiredSecondsAgo", ago_secs)
            }
            Error::KeyRevoked => Self::new(K::Unauthenticated, R::CredentialsRevoked, text),
            Error::EmptyFile => Self::new(K::InvalidArgument, R::EmptyFile, text),
            Error::UnsupportedMediaType => {
                Self::new(K::InvalidArgument, R::UnsupportedMediaType, text)
                    .meta("contentType", "application/octet-stream")
            }
            Error::TooLarge {
                limit_bytes,
                size_bytes,
            } => {
                let out = Self::new(K::InvalidArgument, R::TooLarge, text)
                    .meta("maxSizeBytes", limit_bytes);
                match size_bytes {
                    Some(size) => out.meta("sizeBytes", size),
                    None => out,
                }
            }
            Error::ChecksumMismatch { expected, actual } => {
                Self::new(K::InvalidArgument, R::ChecksumMismatch, text)
                    .meta("expectedSha256", expected)
                    .meta("actualSha256", actual)
            }
            Error::RangePastEnd { start, size_bytes } => {
                Self::new(K::OutOfRange, R::RangeNotSatisfiable, text)
                    .meta("sizeBytes", size_bytes)
                    .meta("startBytes", start)
            }
            Error::ProviderNotConfigured => {
                Self::new(K::FailedPrecondition, R::ProviderNotConfigured, text)
                    .meta("feature", "image generation")
            }
            Error::Aborted(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "task aborted");
                Self::new(
                    K::Internal,
                    R::Internal,
                    "internal error in the media service",
                )
            }
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        mediamesh_proto::Error::from(error).into()
    }
}
