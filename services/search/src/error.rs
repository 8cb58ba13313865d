//! Why a search fails.

use mediamesh_proto::{ErrorKind, ErrorReason, MediaItemId};
use tonic::Status;

/// Why a search fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] mediamesh_store::Error),
    /// A vector index.
    #[error("vector index failed")]
    Index(#[from] mediamesh_vectors::Error),
    /// The query image.
    #[error("query image: {0}")]
    Image(#[from] mediamesh_imaging::Error),
    /// A request that breaks a rule, or another error ready for the caller.
    #[error(transparent)]
    Request(#[from] mediamesh_proto::Error),
    /// An example item is unknown.
    #[error("media item {0} does not exist")]
    NoSuchItem(MediaItemId),
    /// An example item has no vector yet.
    #[error("media item {0} has no embedding yet")]
    NotReady(MediaItemId),
    /// Another service failed in a way that search cannot go on without.
    #[error("{dependency} answered: {}", status.message())]
    Dependency {
        /// Which service.
        dependency: &'static str,
        /// Its status.
        status: Box<Status>,
    },
    /// Work was cut off by a panic.
    #[error("a background task failed")]
    Task(#[from] tokio::task::JoinError),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use mediamesh_proto::Error as E;
        let message = error.to_string();
        match error {
            Error::Store(error) => E::from(error).into(),
            Error::Request(error) => error.into(),
            Error::Image(error) => image(&error, message).into(),
            Error::NoSuchItem(id) => {
                E::new(ErrorKind::NotFound, ErrorReason::MediaItemNotFound, message)
                    .meta("mediaItemId", id)
                    .resource("media_item", id)
                    .into()
            }
            Error::NotReady(id) => E::new(
                ErrorKind::FailedPrecondition,
                ErrorReason::MediaItemNotReady,
                message,
            )
            .meta("mediaItemId", id)
            .into(),
            Error::Dependency { dependency, .. } => {
                tracing::warn!(dependency, message, "dependency failed");
                E::new(
                    ErrorKind::DependencyDown,
                    ErrorReason::DependencyDown,
                    format!("the {dependency} service does not answer"),
                )
                .meta("dependency", dependency)
                .retry_after(std::time::Duration::from_secs(1))
                .into()
            }
            Error::Index(_) | Error::Task(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "search failed");
                E::new(
                    ErrorKind::Internal,
                    ErrorReason::Internal,
                    "internal error in search",
                )
                .into()
            }
        }
    }
}

/// A query image that cannot be used is the caller's to mend.
fn image(error: &mediamesh_imaging::Error, message: String) -> mediamesh_proto::Error {
    use mediamesh_imaging::Fault;
    let reason = match error.fault() {
        Fault::Empty => ErrorReason::EmptyFile,
        Fault::Unsupported => ErrorReason::UnsupportedMediaType,
        Fault::TooCostly => ErrorReason::TooManyPixels,
        Fault::Corrupt => ErrorReason::CorruptImage,
        Fault::Ours => {
            tracing::error!(error = error as &dyn std::error::Error, "decoding failed");
            return mediamesh_proto::Error::new(
                ErrorKind::Internal,
                ErrorReason::Internal,
                "internal error in search",
            );
        }
    };
    let refused = mediamesh_proto::Error::new(ErrorKind::InvalidArgument, reason, message);
    let excess = error.excess().into_iter();
    excess.fold(refused, |refused, (name, number)| {
        refused.meta(name, number)
    })
}
