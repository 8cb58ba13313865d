//! Why a request gets no vectors.

use std::{sync::Arc, time::Duration};

use mediamesh_inference::{EncodeError, spec::Tower};
use mediamesh_proto::{ErrorKind, ErrorReason};
use tonic::Status;

/// Why a request gets no vectors. Clones share their causes: one failure may answer many callers.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A request that breaks a rule.
    #[error(transparent)]
    Request(#[from] mediamesh_proto::Error),
    /// No such model.
    #[error("model `{model}` is not loaded")]
    ModelNotFound {
        /// What was asked for.
        model: String,
    },
    /// No model reads texts.
    #[error("no model that reads text is loaded; {hint}")]
    NoTextModel {
        /// How to get one.
        hint: String,
    },
    /// The model has no tower for this.
    #[error("model `{model}` reads no {input} input")]
    InputUnsupported {
        /// Its id.
        model: String,
        /// What it was given.
        input: Tower,
    },
    /// An image that cannot be used.
    #[error("{field}: {source}")]
    Image {
        /// Which image of the request.
        field: String,
        /// What is wrong with it.
        source: Arc<mediamesh_imaging::Error>,
    },
    /// The feature's provider is not configured.
    #[error("{feature} needs a vision provider and none is configured")]
    ProviderNotConfigured {
        /// The feature.
        feature: &'static str,
    },
    /// Too much work waits already.
    #[error("{waiting} inputs wait to be embedded; limit is {limit}")]
    QueueFull {
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// The caller's time is up.
    #[error("time ran out before the vectors were made")]
    DeadlineExceeded,
    /// The model failed.
    #[error("the model failed: {0}")]
    Encode(Arc<EncodeError>),
    /// The model answered something else than one vector per input.
    #[error("model `{model}` did not answer one vector of its dimensions per input")]
    Output {
        /// Its id.
        model: String,
    },
    /// Work was cut off by a panic or by shutdown.
    #[error("work was cut off")]
    CutOff,
}

impl From<EncodeError> for Error {
    fn from(error: EncodeError) -> Self {
        Self::Encode(Arc::new(error))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        use mediamesh_proto::Error as E;
        let message = error.to_string();
        match error {
            Error::Request(error) => error,
            Error::ModelNotFound { model } => {
                E::new(ErrorKind::NotFound, ErrorReason::ModelNotFound, message)
                    .meta("model", &model)
                    .resource("model", model)
            }
            Error::NoTextModel { hint } => {
                E::new(ErrorKind::NotFound, ErrorReason::ModelNotFound, message)
                    .meta("model", "")
                    .meta("hint", hint)
            }
            Error::InputUnsupported { model, input } => E::new(
                ErrorKind::FailedPrecondition,
                ErrorReason::ModelInputUnsupported,
                message,
            )
            .meta("model", model)
            .meta("input", input),
            Error::Image { field, source } => image(&field, &source, message),
            Error::ProviderNotConfigured { feature } => E::new(
                ErrorKind::FailedPrecondition,
                ErrorReason::ProviderNotConfigured,
                message,
            )
            .meta("feature", feature),
            Error::QueueFull { waiting, limit } => {
                E::new(ErrorKind::Overloaded, ErrorReason::LoadShed, message)
                    .meta("waiting", waiting)
                    .meta("limit", limit)
                    .retry_after(Duration::from_secs(1))
            }
            Error::DeadlineExceeded => E::new(
                ErrorKind::DeadlineExceeded,
                ErrorReason::DeadlineExceeded,
                message,
            ),
            Error::Encode(_) | Error::Output { .. } | Error::CutOff => {
                tracing::error!(error = &error as &dyn std::error::Error, "embedding failed");
                E::new(
                    ErrorKind::Internal,
                    ErrorReason::Internal,
                    "internal error in embedding",
                )
            }
        }
        .into()
    }
}

/// An image that cannot be used is the caller's to mend.
fn image(field: &str, error: &mediamesh_imaging::Error, message: String) -> mediamesh_proto::Error {
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
                "internal error in embedding",
            );
        }
    };
    let refused = mediamesh_proto::Error::new(ErrorKind::InvalidArgument, reason, message)
        .violation(field, error.to_string());
    let excess = error.excess().into_iter();
    excess.fold(refused, |refused, (name, number)| {
        refused.meta(name, number)
    })
}
