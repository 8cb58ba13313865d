//! Every error the mesh itself makes, in one place.

use std::collections::HashMap;
use std::time::Duration;

use mediamesh_telemetry::propagation;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::policy::defaults::{SHED_RETRY_AFTER, UNAVAILABLE_RETRY_AFTER};

/// `ErrorInfo.domain` of every error of this project.
pub const DOMAIN: &str = "mediamesh";

/// The service has no room for the call; it was not started.
pub(crate) fn load_shed(service: &str, max_in_flight: usize) -> Status {
    let limit = max_in_flight.to_string();
    build(
        Code::Unavailable,
        "LOAD_SHED",
        format!("{service} is overloaded; limit is {limit} calls in flight"),
        &[("service", service), ("limit", &limit)],
        Some(SHED_RETRY_AFTER),
    )
}

/// The call's time is up.
pub(crate) fn deadline_exceeded(path: &str) -> Status {
    let method = path.trim_start_matches('/');
    build(
        Code::DeadlineExceeded,
        "DEADLINE_EXCEEDED",
        format!("deadline of {method} passed"),
        &[("method", method)],
        None,
    )
}

/// No server of this name is registered here yet, or any more.
pub(crate) fn not_registered(service: &str) -> Status {
    build(
        Code::Unavailable,
        "SERVICE_NOT_REGISTERED",
        format!("{service} is not available in this mesh"),
        &[("service", service)],
        Some(UNAVAILABLE_RETRY_AFTER),
    )
}

/// The service is known but did not answer.
pub(crate) fn unreachable(service: &str) -> Status {
    build(
        Code::Unavailable,
        "DEPENDENCY_DOWN",
        format!("{service} cannot be reached"),
        &[("service", service)],
        Some(UNAVAILABLE_RETRY_AFTER),
    )
}

/// Something broke that the caller can do nothing about; the cause is only in the log.
pub(crate) fn internal() -> Status {
    let trace_id = propagation::current_trace_id().unwrap_or_default();
    let mut details = ErrorDetails::new();
    details.set_error_info("INTERNAL", DOMAIN, HashMap::new());
    details.set_request_info(trace_id, "");
    Status::with_error_details(Code::Internal, "internal error", details)
}

/// Nobody is behind the call.
pub(crate) fn unauthenticated(why: &str) -> Status {
    build(
        Code::Unauthenticated,
        "UNAUTHENTICATED",
        why.to_owned(),
        &[],
        None,
    )
}

/// Somebody is behind the call, but not with this right.
pub(crate) fn permission_denied(why: &str) -> Status {
    build(
        Code::PermissionDenied,
        "PERMISSION_DENIED",
        why.to_owned(),
        &[],
        None,
    )
}

fn build(
    code: Code,
    reason: &str,
    message: String,
    metadata: &[(&str, &str)],
    retry_after: Option<Duration>,
) -> Status {
    let metadata: HashMap<String, String> = metadata
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let mut details = ErrorDetails::new();
    details.set_error_info(reason, DOMAIN, metadata);
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, message, details)
}

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
