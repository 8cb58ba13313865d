//! Every error the mesh itself makes, in one place.

use std::time::Duration;

use mediamesh_proto::{Error, ErrorKind, ErrorReason};
use mediamesh_telemetry::propagation;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::identity::AuthError;
use crate::identity::token::TokenError;
use crate::policy::defaults::{MAX_MESSAGE_BYTES, SHED_RETRY_AFTER, UNAVAILABLE_RETRY_AFTER};

/// The service has no room for the call; it was not started.
pub(crate) fn load_shed(service: &str, priority: &str, refusal: &str) -> Status {
    let why = match refusal {
        "full" => "as many calls run and wait as may",
        "late" => "the call waited for its turn as long as a call may",
        "streams" => "as many streams are open as may",
        _ => "the call was made in the background and gave way",
    };
    let message = format!("{service} is overloaded: {why}");
    Error::new(ErrorKind::Overloaded, ErrorReason::LoadShed, message)
        .meta("service", service)
        .meta("priority", priority)
        .retry_after(SHED_RETRY_AFTER)
        .into()
}

/// `what` has not begun to serve; the call was not started.
pub(crate) fn starting_up(what: &str) -> Status {
    let message = format!("{what} is starting and does not serve yet");
    Error::new(ErrorKind::Overloaded, ErrorReason::StartingUp, message)
        .retry_after(UNAVAILABLE_RETRY_AFTER)
        .into()
}

/// The call's time is up.
pub(crate) fn deadline_exceeded(path: &str) -> Status {
    let method = path.trim_start_matches('/');
    let message = format!("deadline of {method} passed");
    Error::new(
        ErrorKind::DeadlineExceeded,
        ErrorReason::DeadlineExceeded,
        message,
    )
    .meta("method", method)
    .into()
}

/// The client of a stream neither read nor sent anything for `limit`.
pub(crate) fn stream_idle(limit: Duration) -> Status {
    let message = format!("the stream was idle for {} s, the limit", limit.as_secs());
    Error::new(
        ErrorKind::DeadlineExceeded,
        ErrorReason::DeadlineExceeded,
        message,
    )
    .meta("limit", limit.as_secs())
    .into()
}

/// No server of this name is registered here, and none will be.
pub(crate) fn not_registered(service: &str) -> Status {
    dependency_down(service, "is not available in this mesh")
}

/// The service is known but did not answer.
pub(crate) fn unreachable(service: &str) -> Status {
    dependency_down(service, "cannot be reached")
}

fn dependency_down(service: &str, why: &str) -> Status {
    let message = format!("{service} {why}");
    Error::new(
        ErrorKind::DependencyDown,
        ErrorReason::DependencyDown,
        message,
    )
    .meta("dependency", service)
    .retry_after(UNAVAILABLE_RETRY_AFTER)
    .into()
}

/// Every endpoint of the service has as many calls of this process in flight as it may.
pub(crate) fn endpoints_full(service: &str, max_in_flight: u32) -> Status {
    let message = format!(
        "every endpoint of {service} has {max_in_flight} calls of this process in flight, the limit"
    );
    Error::new(ErrorKind::Overloaded, ErrorReason::LoadShed, message)
        .meta("service", service)
        .meta("limit", max_in_flight)
        .retry_after(SHED_RETRY_AFTER)
        .into()
}

/// Every endpoint of the service is known to fail; nothing was sent.
pub(crate) fn circuit_open(service: &str, retry_after: Duration) -> Status {
    let message = format!("{service} fails at every endpoint; circuit breakers are open");
    Error::new(ErrorKind::DependencyDown, ErrorReason::CircuitOpen, message)
        .meta("dependency", service)
        .retry_after(retry_after)
        .into()
}

/// The body of the request could not be read to its end, or is longer than the largest message.
pub(crate) fn request_unreadable() -> Status {
    let limit = MAX_MESSAGE_BYTES;
    let message = format!("request could not be read; limit is {limit} bytes");
    Error::new(ErrorKind::InvalidArgument, ErrorReason::TooLarge, message)
        .meta("limit_bytes", limit)
        .into()
}

/// Something broke that the caller can do nothing about; the cause is only in the log.
pub(crate) fn internal() -> Status {
    let error = Error::new(ErrorKind::Internal, ErrorReason::Internal, "internal error");
    with_trace_id(&error.into())
}

/// Adds the current trace id to a status, so that its cause can be found in the log.
pub(crate) fn with_trace_id(status: &Status) -> Status {
    let mut details = status.get_error_details();
    if details.request_info().is_none() {
        details.set_request_info(propagation::current_trace_id().unwrap_or_default(), "");
    }
    Status::with_error_details_and_metadata(
        status.code(),
        status.message(),
        details,
        status.metadata().clone(),
    )
}

/// Nobody is behind the call.
pub(crate) fn unauthenticated(why: &str) -> Status {
    Error::new(
        ErrorKind::Unauthenticated,
        ErrorReason::Unauthenticated,
        why,
    )
    .into()
}

/// The credentials were good and their time is over.
pub(crate) fn credentials_expired(what: &str, ago_secs: u64) -> Status {
    let message = format!("{what} expired {ago_secs} s ago");
    Error::new(
        ErrorKind::Unauthenticated,
        ErrorReason::CredentialsExpired,
        message,
    )
    .meta("expiredSecondsAgo", ago_secs)
    .into()
}

/// The caller is unknown, or may not do what it asks for.
pub fn refused(error: &AuthError) -> Status {
    let denied = |reason| Error::new(ErrorKind::PermissionDenied, reason, error.to_string());
    match error {
        AuthError::Lookup(status) => Status::clone(status),
        AuthError::Token(TokenError::Expired { ago_secs }) => {
            credentials_expired("identity token", *ago_secs)
        }
        AuthError::Missing | AuthError::Malformed(_) | AuthError::Token(_) => {
            unauthenticated(&error.to_string())
        }
        AuthError::ScopeMissing { required, method } => denied(ErrorReason::ScopeMissing)
            .meta("requiredScope", required)
            .meta("method", method)
            .into(),
        AuthError::OperatorsOnly { path } => denied(ErrorReason::PermissionDenied)
            .meta("path", path)
            .into(),
        AuthError::MeshOnly { method } => denied(ErrorReason::PermissionDenied)
            .meta("method", method)
            .into(),
    }
}

/// A fault on purpose; it says nothing of the call.
#[cfg(feature = "fault")]
pub(crate) fn injected(code: Code) -> Status {
    Status::new(code, "injected fault")
}

/// gRPC has codes 0 to 16.
pub(crate) const CODES: usize = Code::Unauthenticated as usize + 1;

/// Returns the canonical name of a code, e.g. `NOT_FOUND`, as metrics and spans carry it.
///
/// Source: gRPC core, `doc/statuscodes.md`.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
