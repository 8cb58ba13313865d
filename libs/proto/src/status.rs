//! The one mapping from errors to gRPC status.
//!
//! Each crate has one error enum that knows its [`ErrorKind`]; every `Status` leaves through
//! [`Error`], carries one `google.rpc.ErrorInfo` with a reason of the contract, and holds every
//! dynamic value of its message in the metadata too. None is longer than [`bounded`] makes it.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use crate::ErrorReason;

mod bounds;

pub use bounds::{MAX_TRAILER_BYTES, MAX_VIOLATIONS, bounded};

/// `domain` of every `ErrorInfo`.
pub const ERROR_DOMAIN: &str = "mediamesh";

/// What went wrong, as far as a caller must know to act. Decides code, HTTP status and retries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request breaks a rule.
    InvalidArgument,
    /// No valid credentials.
    Unauthenticated,
    /// Credentials do not allow it.
    PermissionDenied,
    /// The thing does not exist for this caller.
    NotFound,
    /// The thing exists already.
    AlreadyExists,
    /// It changed meanwhile: stale etag or lost lease.
    Conflict,
    /// The system is not in the state that this needs.
    FailedPrecondition,
    /// A range or seek past the end.
    OutOfRange,
    /// A quota, rate limit or full disk.
    ResourceExhausted,
    /// Refused before it started; any method may be retried.
    Overloaded,
    /// Something this call needs does not answer.
    DependencyDown,
    /// Time ran out.
    DeadlineExceeded,
    /// The caller went away.
    Cancelled,
    /// The backend cannot.
    Unimplemented,
    /// Stored bytes no longer match their hash.
    DataLoss,
    /// A bug or broken invariant.
    Internal,
}

impl ErrorKind {
    /// The gRPC code of the kind.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::InvalidArgument => Code::InvalidArgument,
            Self::Unauthenticated => Code::Unauthenticated,
            Self::PermissionDenied => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::Conflict => Code::Aborted,
            Self::FailedPrecondition => Code::FailedPrecondition,
            Self::OutOfRange => Code::OutOfRange,
            Self::ResourceExhausted => Code::ResourceExhausted,
            Self::Overloaded | Self::DependencyDown => Code::Unavailable,
            Self::DeadlineExceeded => Code::DeadlineExceeded,
            Self::Cancelled => Code::Cancelled,
            Self::Unimplemented => Code::Unimplemented,
            Self::DataLoss => Code::DataLoss,
            Self::Internal => Code::Internal,
        }
    }
}

/// An error on its way to a caller.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    reason: ErrorReason,
    message: String,
    metadata: HashMap<String, String>,
    violations: Vec<FieldViolation>,
    resource: Option<(&'static str, String)>,
    retry_after: Option<Duration>,
}

impl Error {
    /// Starts an error. `message` is lower case, without final period, and names thing and limit.
    #[must_use]
    pub fn new(kind: ErrorKind, reason: ErrorReason, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason,
            message: message.into(),
            metadata: HashMap::new(),
            violations: Vec::new(),
            resource: None,
            retry_after: None,
        }
    }

    /// Adds one value of the message to the metadata; `key` is lowerCamel with its unit.
    #[must_use]
    pub fn meta(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Adds a field violation; `field` is the path as in the request.
    #[must_use]
    pub fn violation(mut self, field: impl Into<String>, description: impl Into<String>) -> Self {
        self.violations
            .push(FieldViolation::new(field, description));
        self
    }

    /// Names the resource that the error is about.
    #[must_use]
    pub fn resource(mut self, resource_type: &'static str, name: impl ToString) -> Self {
        self.resource = Some((resource_type, name.to_string()));
        self
    }

    /// Says when a retry makes sense.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The reason of the error.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details =
            ErrorDetails::with_error_info(reason_name(error.reason), ERROR_DOMAIN, error.metadata);
        if !error.violations.is_empty() {
            details.set_bad_request(error.violations);
        }
        if let Some((resource_type, name)) = error.resource {
            details.set_resource_info(resource_type, name, "", error.message.clone());
        }
        if let Some(delay) = error.retry_after {
            details.set_retry_info(Some(delay));
        }
        bounded(error.kind.code(), &error.message, details)
    }
}

/// The name of a reason as it stands in `ErrorInfo.reason`: the whole enum value's name.
#[must_use]
pub fn reason_name(reason: ErrorReason) -> &'static str {
    reason.as_str_name()
}

/// The reason that a status carries, if it is one of ours.
#[must_use]
pub fn reason_of(status: &Status) -> Option<ErrorReason> {
    let details = status.get_error_details();
    let info = details.error_info()?;
    (info.domain == ERROR_DOMAIN)
        .then(|| ErrorReason::from_str_name(&info.reason))
        .flatten()
}

/// Collects every field violation of a request, so that a caller can mend all at once.
#[derive(Debug, Default)]
pub struct Violations {
    /// As many as a status carries; a request may break rules without end.
    first: Vec<FieldViolation>,
    count: usize,
}

impl Violations {
    /// Starts with none.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn add(&mut self, field: impl Into<String>, description: impl Into<String>) {
        self.count += 1;
        if self.first.len() < MAX_VIOLATIONS {
            self.first.push(FieldViolation::new(field, description));
        }
    }

    /// Adds one if `broken`.
    pub fn check(&mut self, broken: bool, field: &str, description: impl FnOnce() -> String) {
        if broken {
            self.add(field, description());
        }
    }

    /// Keeps the value, or adds a violation and answers `None`.
    pub fn take<T, E: ToString>(&mut self, field: &str, value: Result<T, E>) -> Option<T> {
        match value {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// Ends the collection.
    ///
    /// Errors: `InvalidField` with the first violations and the number of the others.
    pub fn finish(self) -> Result<(), Error> {
        let Some(first) = self.first.first() else {
            return Ok(());
        };
        let first = FieldViolation::new(
            bounds::clipped(&first.field, bounds::MAX_NAME_BYTES),
            bounds::clipped(&first.description, bounds::MAX_TEXT_BYTES),
        );
        let message = match self.count {
            1 => format!("{}: {}", first.field, first.description),
            n => format!(
                "{}: {} (and {} more)",
                first.field,
                first.description,
                n - 1
            ),
        };
        let mut error = Error::new(
            ErrorKind::InvalidArgument,
            ErrorReason::InvalidField,
            message,
        );
        error.violations = bounds::violations(self.first, self.count);
        Err(error)
    }
}
